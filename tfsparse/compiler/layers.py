"""The compiler's own view of a network: a list of layers over values, with every number a kernel needs resolved.

A value is an int8 tensor that lives in the arena. Shapes are NHWC with a batch of 1; sizes are elements = bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier


@dataclass(frozen=True)
class Value:
    """An int8 tensor made at run time."""

    index: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Window:
    """How a window slides: input and output maps, window, strides, dilation, and zeros before the first pixel."""

    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    pad_top: int = 0
    pad_left: int = 0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What every layer has. `place` names operator and output tensor for messages."""

    name: str
    place: str
    inputs: tuple[int, ...]  # indices of values
    output: int


@dataclass(frozen=True, kw_only=True)
class Weighted(Layer):
    """Convolution or fully connected layer: sum of (x - input_zero) * w, plus bias, scaled per output channel.

    `weights` is int8 [outputs, taps]; a tap's place in the window is the layer's matter. `bias` is int32 [outputs].
    """

    weights: np.ndarray
    bias: np.ndarray
    multipliers: tuple[Multiplier, ...]
    input_zero: int
    output_zero: int
    lowest: int
    highest: int

    @property
    def nnz(self) -> int:
        return int(np.count_nonzero(self.weights))

    def sum_bounds(self) -> np.ndarray:
        """The largest magnitude of each output channel's sum over all inputs, bias included: int64 [outputs]."""
        largest = max(127 - self.input_zero, 128 + self.input_zero)
        return np.abs(self.bias.astype(np.int64)) + largest * np.abs(self.weights.astype(np.int64)).sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class Convolution(Weighted):
    """2-D convolution, grouped: output channel o sees input channels [o // per_group * run, ... + run).

    A depthwise convolution has run 1 and per_group = depth multiplier. Taps are ordered (row, column, channel).
    """

    window: Window
    in_channels: int
    out_channels: int
    run: int
    per_group: int

    @property
    def kind(self) -> str:
        return "depthwise" if self.run == 1 and self.in_channels > 1 else "conv"


@dataclass(frozen=True, kw_only=True)
class FullyConnected(Weighted):
    """`rows` vectors of `weights.shape[1]` elements, each times the weight matrix."""

    kind = "dense"
    rows: int


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
    """Average (over the pixels inside the map) or maximum of a window, per channel, clamped."""

    kind: str  # "average_pool" | "max_pool"
    window: Window
    channels: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Mean(Layer):
    """Mean over all pixels, per channel. `multiplier` holds the division by their number, too."""

    kind = "mean"
    pixels: int
    channels: int
    multiplier: Multiplier
    input_zero: int
    output_zero: int


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Sum of two operands, each rescaled from its own scale at 20 extra bits.

    The second has `size` elements and is added `repeats` times along the first; it may be a constant (int8 [size]).
    """

    kind = "add"
    size: int
    repeats: int
    constant: np.ndarray | None
    input_zeros: tuple[int, int]
    input_multipliers: tuple[Multiplier, Multiplier]
    output_multiplier: Multiplier
    output_zero: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Rescale(Layer):
    """Elementwise change of scale and zero point, clamped: QUANTIZE from int8, and the RELU family."""

    kind = "rescale"
    size: int
    multiplier: Multiplier
    input_zero: int
    output_zero: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Concatenate(Layer):
    """Inputs joined along one axis: `outer` times, `lengths[i]` bytes of each input in turn."""

    kind = "concatenate"
    outer: int
    lengths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Pad(Layer):
    """A map of rows x width x channels with `fill` around it."""

    kind = "pad"
    rows: int
    width: int
    channels: int
    top: int
    bottom: int
    left: int
    right: int
    fill: int


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Softmax over the last axis, `rows` times; the arithmetic is gemmlowp's fixed point."""

    kind = "softmax"
    rows: int
    depth: int
    multiplier: Multiplier
    lowest_difference: int


@dataclass(frozen=True)
class Network:
    """Layers in the order of execution."""

    values: dict[int, Value]
    layers: tuple[Layer, ...]
    input: int
    output: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())  # what the C interface leaves out, for the head comment
