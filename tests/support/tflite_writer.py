"""Writes `.tflite` files operator by operator, with any shapes, scales and zero points: what no converter would make.

model = Writer()
x = model.input((1, 4, 4, 3), scale=0.1, zero=-5)
y = model.tensor((1, 4, 4, 3), scale=0.2, zero=3)
model.operator("LEAKY_RELU", [x], [y], alpha=0.1)
tflite = model.bytes(outputs=[y])
"""

from __future__ import annotations

from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "SOFTMAX": "SoftmaxOptions",
    "CONCATENATION": "ConcatenationOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "GATHER": "GatherOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "ARG_MAX": "ArgMaxOptions",
    "RESHAPE": "ReshapeOptions",
}
# Versions that take int8; those of the converter where it matters.
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "STRIDED_SLICE": 2, "LOGISTIC": 2, "TANH": 2}
_VERSIONS |= {"ADD": 2, "SUB": 2, "MUL": 2, "MEAN": 2, "SUM": 2, "SPLIT": 2, "GATHER": 2, "TRANSPOSE": 2, "PAD": 2}
_VERSIONS |= {"LEAKY_RELU": 2, "ARG_MAX": 2, "QUANTIZE": 2, "DEQUANTIZE": 2, "CONCATENATION": 2, "SOFTMAX": 2}
_VERSIONS |= {"AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "RELU": 2, "RELU6": 2}


class Writer:
    """One graph. Tensors are known by their number."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.codes: list[str] = []
        self.buffers = [schema.BufferT()]

    def tensor(
        self,
        shape: Sequence[int],
        scale: float | Sequence[float] | None = None,
        zero: int = 0,
        *,
        dtype: str = "int8",
        data: np.ndarray | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor, constant if it has data; several scales are those of the slices along `axis`."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = list(shape), _TYPES[dtype], f"t{len(self.graph.tensors)}"
        tensor.buffer = 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization.zeroPoint = np.full(len(tensor.quantization.scale), zero, np.int64)
            tensor.quantization.quantizedDimension = axis
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, shape: Sequence[int], scale: float | None, zero: int = 0, *, dtype: str = "int8") -> int:
        self.graph.inputs.append(self.tensor(shape, scale, zero, dtype=dtype))
        return self.graph.inputs[-1]

    def integers(self, values: object, dtype: str = "int32") -> int:
        """A constant list of axes, sizes or indices."""
        array = np.asarray(values, dtype)
        return self.tensor(array.shape, dtype=dtype, data=array)

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], **options: object) -> None:
        """Options by their names in the schema, in camelCase."""
        operator = schema.OperatorT()
        if kind not in self.codes:
            self.codes.append(kind)
        operator.opcodeIndex = self.codes.index(kind)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if name := _OPTIONS.get(kind):
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")()
            for key, value in options.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)

    def bytes(self, outputs: Sequence[int]) -> bytes:
        self.graph.outputs = list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers, model.description = 3, [self.graph], self.buffers, "test"
        model.operatorCodes = []
        for kind in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = _VERSIONS.get(kind, 1)
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
