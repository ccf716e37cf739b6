"""What lowering an operator needs: the tensors of the model, the values made so far, and errors that name the place."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier, quantize_multiplier
from tfsparse.compiler.layers import Layer, Value, Window
from tfsparse.compiler.reader import Operator, Options, Tensor, TFLiteModel
from tfsparse.errors import UserError

_STEMS = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
    "AVERAGE_POOL_2D": "average_pool",
    "MAX_POOL_2D": "max_pool",
    "RELU6": "relu6_",
    "RELU_N1_TO_1": "relu1_",
}

_LARGEST_SIDE = 0xFFFF  # what the descriptors of the C code hold
_LARGEST_VALUE = 1 << 26


class Lowering:
    """One pass over a model's operators: the state of it, and what the operators' functions need of the model."""

    def __init__(self, model: TFLiteModel) -> None:
        self.model = model
        self.values: dict[int, Value] = {}
        self.alias: dict[int, int] = {}  # tensor -> value that holds its bytes
        self.floats: dict[int, Tensor] = {}  # float tensor -> the int8 tensor that it dequantises
        self.layers: list[Layer] = []
        self.notes: list[str] = []
        self.count: Counter[str] = Counter()  # layers named so far, by kind
        self.operator: Operator | None = None

    # -- errors and access -------------------------------------------------------------------------------------------

    def refuse(self, reason: str) -> UserError:
        operator = self.operator
        name = self.model.tensors[operator.outputs[0]].name if operator.outputs else "no output"
        return UserError(
            f"cannot compile operator {operator.kind} (number {operator.index}, output '{name}'): {reason}"
        )

    def place(self) -> str:
        return f"{self.operator.kind} {self.operator.index}"

    def tensor(self, index: int) -> Tensor:
        """Input number `index` of the current operator."""
        if index >= len(self.operator.inputs) or self.operator.inputs[index] < 0:
            raise self.refuse(f"input {index} is missing; export the model again")
        return self.model.tensors[self.operator.inputs[index]]

    def optional(self, index: int) -> Tensor | None:
        present = index < len(self.operator.inputs) and self.operator.inputs[index] >= 0
        return self.tensor(index) if present else None

    def output(self) -> Tensor:
        """The only output of the current operator."""
        if len(self.operator.outputs) != 1:
            raise self.refuse(f"it has {len(self.operator.outputs)} outputs; only one is supported")
        return self.model.tensors[self.operator.outputs[0]]

    def activation_quantization(self, tensor: Tensor, *, uint8: bool = False) -> tuple[np.float32, int]:
        """(scale, zero point) of an int8 tensor quantised as a whole.

        With `uint8` it may be uint8, too: it is held as the int8 numbers 128 below, and so is its zero point.
        """
        lift = 128 if uint8 and tensor.dtype == "uint8" else 0
        if tensor.dtype != "int8" and not lift:
            raise self.refuse(f"tensor '{tensor.name}' is {tensor.dtype}; convert the model to full int8")
        q = tensor.quantization
        if q is None or len(q.scale) != 1 or not q.scale[0] > 0 or not -128 <= q.zero_point[0] - lift <= 127:
            raise self.refuse(f"tensor '{tensor.name}' has no usable int8 scale; convert the model to full int8")
        return q.scale[0], int(q.zero_point[0]) - lift

    def constant(self, tensor: Tensor, what: str, dtypes: tuple[str, ...]) -> np.ndarray:
        if tensor.sparse:
            raise self.refuse(f"{what} are stored in TFLite's sparse encoding; export them as plain tensors")
        if tensor.data is None or tensor.dtype not in dtypes:
            raise self.refuse(f"{what} must be a constant of type {' or '.join(dtypes)}")
        return tensor.data

    def source(self, index: int, *, uint8: bool = False) -> tuple[int, np.float32, int]:
        """(value, scale, zero point) of run-time input `index` of the current operator."""
        tensor = self.tensor(index)
        scale, zero = self.activation_quantization(tensor, uint8=uint8)
        if tensor.index not in self.alias:
            reason = "is a constant" if tensor.data is not None else "is read before it is made"
            raise self.refuse(f"its input '{tensor.name}' {reason}, which is not supported here")
        return self.alias[tensor.index], scale, zero

    def define(self, tensor: Tensor, *, indices: bool = False, uint8: bool = False) -> int:
        """A new value for an output tensor: int8, or the integers of `indices`."""
        scale, zero = (1.0, 0) if indices else self.activation_quantization(tensor, uint8=uint8)
        if tensor.index in self.alias or tensor.index in self.floats or tensor.data is not None:
            raise self.refuse(f"its output '{tensor.name}' is already defined; export the model again")
        self._check_size(tensor)
        dtype = tensor.dtype if indices else "int8"
        self.values[tensor.index] = Value(tensor.index, tensor.name, tensor.shape, float(scale), zero, dtype)
        self.alias[tensor.index] = tensor.index
        return tensor.index

    def define_input(self, tensor: Tensor) -> int:
        """The value that the caller of the network fills."""
        self.operator = Operator(0, "INPUT", (), (tensor.index,), Options())
        return self.define(tensor, uint8=True)

    def share(self, tensor: Tensor, value: int) -> None:
        """Let an output tensor be another name of a value's bytes."""
        if tensor.index in self.alias or tensor.index in self.floats or tensor.data is not None:
            raise self.refuse(f"its output '{tensor.name}' is already defined; export the model again")
        self._check_size(tensor)
        self.alias[tensor.index] = value

    def _check_size(self, tensor: Tensor) -> None:
        if 0 in tensor.shape:
            raise self.refuse(f"its output has the shape {tensor.shape}, which holds nothing")
        if max(tensor.shape, default=1) > _LARGEST_SIDE or math.prod(tensor.shape) > _LARGEST_VALUE:
            raise self.refuse(f"its output of shape {tensor.shape} is beyond any microcontroller; use a smaller model")

    def dequantize(self, tensor: Tensor, origin: Tensor) -> None:
        """Let a float tensor stand for the int8 tensor `origin`."""
        if tensor.index in self.alias or tensor.index in self.floats or tensor.data is not None:
            raise self.refuse(f"its output '{tensor.name}' is already defined; export the model again")
        self.floats[tensor.index] = origin

    def integers(self, index: int, what: str) -> np.ndarray:
        """A constant list of indices, axes or sizes, one-dimensional."""
        return self.constant(self.tensor(index), what, ("int32", "int64")).reshape(-1)

    def expect_shape(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != tuple(shape):
            raise self.refuse(f"its output should have shape {tuple(shape)} but the file says {tensor.shape}")

    def image(self, tensor: Tensor) -> tuple[int, int, int]:
        """(height, width, channels) of a single image."""
        if len(tensor.shape) != 4 or tensor.shape[0] != 1 or 0 in tensor.shape:
            raise self.refuse(
                f"tensor '{tensor.name}' has shape {tensor.shape}; one image [1, height, width, channels] is needed"
            )
        return tensor.shape[1], tensor.shape[2], tensor.shape[3]

    # -- shared numbers ----------------------------------------------------------------------------------------------

    def clamp(self, activation: str, scale: np.float32, zero: int) -> tuple[int, int]:
        """Lowest and highest output of a fused activation (TFLite's CalculateActivationRangeQuantized, float32)."""

        def quantized(real: float) -> int:
            # std::round in float32: half away from zero.
            x = np.clip(np.float32(real) / scale, -1e6, 1e6)
            return zero + int(np.trunc(x + np.copysign(np.float32(0.5), x)))

        if activation == "NONE":
            return -128, 127
        if activation == "RELU":
            return max(-128, zero), 127
        if activation == "RELU6":
            return max(-128, zero), min(127, quantized(6.0))
        if activation == "RELU_N1_TO_1":
            return max(-128, quantized(-1.0)), min(127, quantized(1.0))
        raise self.refuse(f"the fused activation {activation} is not supported")

    def multiplier(self, real: float) -> Multiplier:
        """`real` in fixed point, for a kernel whose shifts reach from -31 to 30."""
        if not 0 <= real < 1 << 30:
            raise self.refuse(f"its scales differ by a factor of {real:g}; convert the model again")
        return quantize_multiplier(real)

    def window(self, image: Tensor, kernel: tuple[int, int], channels: int) -> Window:
        """Resolve padding as TFLite does: SAME puts the odd zero behind; check the stated output shape."""
        options = self.operator.options
        sizes, outs, pads = self.image(image)[:2], [], []
        for size, k, stride, dilation in zip(sizes, kernel, options.stride, options.dilation, strict=True):
            if not (0 < k < 256 and 0 < stride < 256 and 0 < dilation < 256):
                raise self.refuse(f"window {k}, stride {stride} or dilation {dilation} is outside 1..255")
            extent = (k - 1) * dilation + 1
            out = -(-size // stride) if options.padding == "SAME" else -(-(size - extent + 1) // stride)
            if out < 1:
                raise self.refuse(f"a window of {extent} does not fit into {size} pixels")
            outs.append(out)
            # VALID has padding too: none in front, as out was cut to fit.
            pads.append(max(0, (out - 1) * stride + extent - size) // 2 if options.padding == "SAME" else 0)
        if max(pads) > 127 or max(sizes) > 32767:
            raise self.refuse(f"an image of {sizes} with padding {pads} is too large")
        self.expect_shape(self.output(), (1, *outs, channels))
        return Window(*sizes, *outs, *kernel, *options.stride, *options.dilation, *pads)

    def weighted(self, weights: Tensor, channel_axis: int) -> dict[str, object]:
        """The fields that convolutions and fully connected layers share, apart from the weights' order."""
        value, input_scale, input_zero = self.source(0)
        output = self.output()
        output_scale, output_zero = self.activation_quantization(output)
        q = weights.quantization
        channels = weights.shape[channel_axis]
        if q is None or np.any(q.zero_point != 0):
            raise self.refuse("its weights have no symmetric scale (zero point 0)")
        if len(q.scale) not in (1, channels) or (len(q.scale) > 1 and q.dimension != channel_axis):
            raise self.refuse(f"its weights have {len(q.scale)} scales for {channels} output channels")
        scales = np.repeat(q.scale, channels) if len(q.scale) == 1 else q.scale
        real = np.float64(input_scale) * scales.astype(np.float64) / np.float64(output_scale)
        bias_tensor = self.optional(2)
        bias = np.zeros(channels, np.int32)
        if bias_tensor is not None:
            bias = self.constant(bias_tensor, "its biases", ("int32",)).reshape(-1)
            if len(bias) != channels:
                raise self.refuse(f"it has {len(bias)} biases for {channels} output channels")
        taps = weights.data.size // channels
        if taps * 255 * 128 + int(np.abs(bias.astype(np.int64)).max()) >= 1 << 31:
            raise self.refuse(f"{taps} weights for one output may overflow a 32-bit sum")
        lowest, highest = self.clamp(self.operator.options.activation, output_scale, output_zero)
        return {
            "name": self.name(),
            "place": self.place(),
            "inputs": (value,),
            "output": self.define(output),
            "bias": bias,
            "multipliers": tuple(self.multiplier(float(x)) for x in real),
            "input_zero": input_zero,
            "output_zero": output_zero,
            "lowest": lowest,
            "highest": highest,
        }

    def name(self) -> str:
        """A name for the current operator's layer: what it is, numbered from 1; an identifier in C."""
        stem = _STEMS.get(self.operator.kind, self.operator.kind.lower())
        self.count[stem] += 1
        return f"{stem}{self.count[stem]}"
