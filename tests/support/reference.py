"""TFLite's reference kernels on the bytes that a compiled model takes and gives."""

from __future__ import annotations

import numpy as np

from tfsparse.compiler import CompiledModel, Port
from tfsparse.compiler.reader import read_model


def _to_tensor(q: np.ndarray, port: Port, border: dict) -> np.ndarray:
    """int8 numbers as the file's own tensor takes them; float borders are crossed exactly."""
    if border["dtype"] is np.float32:
        q = (q.astype(np.float32) - np.float32(port.zero_point)) * np.float32(port.scale)
    elif border["dtype"] is np.uint8:
        q = (q.astype(np.int16) + 128).astype(np.uint8)
    return q.reshape(border["shape"])


def _to_bytes(values: np.ndarray, port: Port) -> np.ndarray:
    """What the file's tensor holds as the compiled model gives it: int8 numbers, or indices as bytes."""
    if values.dtype == np.float32:
        values = (np.round(values / np.float32(port.scale)) + port.zero_point).astype(np.int8)
    elif values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128).astype(np.int8)
    return np.frombuffer(values.tobytes(), np.int8)


def reference_bytes(tflite: bytes, model: CompiledModel, inputs: np.ndarray) -> np.ndarray:
    """int8 [N, input_size], inputs one after the other -> int8 [N, output_size], outputs one after the other."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The reference kernel of SUM reads int8 numbers as unsigned; the default one does what is meant. Other default
    # kernels may round otherwise than the reference: SUM is to be tested alone.
    has_sum = any(operator.kind == "SUM" for operator in read_model(tflite).operators)
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if has_sum else OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=tflite, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    sources, results = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for sample in inputs:
        start = 0
        for port, border in zip(model.inputs, sources, strict=True):
            part = sample[start : start + port.size]
            interpreter.set_tensor(border["index"], _to_tensor(part, port, border))
            start += port.size
        interpreter.invoke()
        parts = zip(model.outputs, results, strict=True)
        found.append(np.concatenate([_to_bytes(interpreter.get_tensor(r["index"]), port) for port, r in parts]))
    return np.array(found)
