"""The compiler's own view of a network: a list of layers over values, with every number a kernel needs resolved.

A value is a tensor that lives in the arena, int8 but for indices. Shapes are NHWC with a batch of 1; sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tfsparse.compiler.fixedpoint import Line, Multiplier
from tfsparse.compiler.grid import Grid


@dataclass(frozen=True)
class Value:
    """A tensor made at run time: int8, or int32 and int64 for indices (then scale 1, zero point 0)."""

    index: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    dtype: str = "int8"

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


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
    held: int = 0  # rows of the input in memory at a time, a ring; 0: all
    table: str = ""  # C name of the places of the input's rows, where these lie anywhere


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What every layer has. `place` names operator and output tensor for messages."""

    # Whether byte i of the output is written only when no input byte before i of an input as large is needed any more.
    in_order: ClassVar[bool] = False

    name: str
    place: str
    inputs: tuple[int, ...]  # indices of values
    output: int

    def constants(self) -> dict[str, np.ndarray]:
        """Constant operands of a layer without weights, by the role that names them in C."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Weighted(Layer):
    """Convolution or fully connected layer: sum of (x - input_zero) * w, plus bias, scaled per output channel.

    `weights` is int8 [outputs, taps]; a tap's place in the window is the layer's matter. `bias` is int32 [outputs].
    The multipliers' mantissas have few bits once `mantissa_offset` is taken off.
    """

    weights: np.ndarray
    bias: np.ndarray
    multipliers: tuple[Multiplier, ...]
    input_zero: int
    output_zero: int
    lowest: int
    highest: int
    mantissa_offset: int = 0

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
    together: int = 1  # rows made in one go, channel after channel: faster, and what they read is needed until then

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
    in_order = True
    pixels: int
    channels: int
    multiplier: Multiplier
    input_zero: int
    output_zero: int


@dataclass(frozen=True, kw_only=True)
class Binary(Layer):
    """Elementwise operation of two operands that broadcast; `constant` (int8) stands for operand `constant_at`."""

    in_order = True
    grid: Grid  # over the output; pointers: first and second operand
    constant: np.ndarray | None
    constant_at: int
    input_zeros: tuple[int, int]
    output_zero: int
    lowest: int
    highest: int

    def constants(self) -> dict[str, np.ndarray]:
        return {} if self.constant is None else {"constant": self.constant}


@dataclass(frozen=True, kw_only=True)
class Add(Binary):
    """Sum or difference; each operand is rescaled from its own scale at 20 extra bits."""

    kind = "add"
    input_multipliers: tuple[Multiplier, Multiplier]
    output_multiplier: Multiplier
    subtract: bool = False


@dataclass(frozen=True, kw_only=True)
class Multiply(Binary):
    """Product, rescaled once."""

    kind = "multiply"
    multiplier: Multiplier


@dataclass(frozen=True, kw_only=True)
class Rescale(Layer):
    """Elementwise change of scale and zero point, clamped: QUANTIZE from int8, and the RELU family."""

    kind = "rescale"
    in_order = True
    size: int
    multiplier: Multiplier
    input_zero: int
    output_zero: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Lookup(Layer):
    """Any function of one int8 number: `table[clip(x, first, last) - first]`, int8 [last - first + 1]."""

    kind = "lookup"
    in_order = True
    size: int
    first: int
    table: np.ndarray

    @property
    def last(self) -> int:
        return self.first + len(self.table) - 1

    def constants(self) -> dict[str, np.ndarray]:
        return {"table": self.table}


@dataclass(frozen=True, kw_only=True)
class LeakyRelu(Layer):
    """Rescaling by one factor above the zero point and by another below."""

    kind = "leaky_relu"
    in_order = True
    size: int
    above: Multiplier
    below: Multiplier
    input_zero: int
    output_zero: int


@dataclass(frozen=True, kw_only=True)
class Concatenate(Layer):
    """Inputs joined along one axis: `outer` times, `lengths[i]` bytes of each input in turn.

    `parts[i]` is a value's index or, for a constant, its elements.
    """

    kind = "concatenate"
    outer: int
    lengths: tuple[int, ...]
    parts: tuple[int | np.ndarray, ...]

    def constants(self) -> dict[str, np.ndarray]:
        return {f"constant{i}": part for i, part in enumerate(self.parts) if isinstance(part, np.ndarray)}


@dataclass(frozen=True, kw_only=True)
class Move(Layer):
    """Elements copied from places to places: TRANSPOSE, STRIDED_SLICE, SPLIT, PAD of any axis.

    `grid` walks input and output from their elements `start_in` and `start_out`; where `fill` is given, the output is
    filled with it before.
    """

    kind = "move"
    grid: Grid
    start_in: int
    start_out: int
    fill: int | None


@dataclass(frozen=True, kw_only=True)
class Gather(Layer):
    """Slices of an axis in the order of constant indices: `outer` times, for each index `inner` bytes."""

    kind = "gather"
    outer: int
    inner: int
    pitch: int  # bytes of an outer slice of the input
    indices: np.ndarray

    def constants(self) -> dict[str, np.ndarray]:
        return {"indices": self.indices.astype(np.uint16)}


@dataclass(frozen=True, kw_only=True)
class Reduce(Layer):
    """Sum over the `reduced` loops for each round of the `kept` ones, put through a line."""

    kind = "reduce"
    kept: Grid
    reduced: Grid
    line: Line


@dataclass(frozen=True, kw_only=True)
class ArgMax(Layer):
    """Index of the largest element along an axis, the first of equals, as an integer of `width` bytes."""

    kind = "arg_max"
    outer: int
    count: int
    inner: int
    width: int


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
    in_order = True
    rows: int
    depth: int
    multiplier: Multiplier
    lowest_difference: int


@dataclass(frozen=True)
class Border:
    """An input or output of the network: a value under the shape and the name that the file gives it."""

    value: int
    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """Layers in the order of execution."""

    values: dict[int, Value]
    layers: tuple[Layer, ...]
    inputs: tuple[Border, ...]
    outputs: tuple[Border, ...]
    notes: tuple[str, ...] = field(default=())  # what the C interface leaves out, for the head comment

    def border_sizes(self, borders: tuple[Border, ...]) -> tuple[int, ...]:
        """Bytes of each of the inputs or outputs."""
        return tuple(self.values[border.value].size for border in borders)
