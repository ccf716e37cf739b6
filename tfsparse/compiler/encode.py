"""Constant tables of a layer: its weights in one of FORMATS; biases and multipliers in few bits.

Everything is lossless. A table is an array of the generated C; `payload` is the sum of their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tfsparse.compiler.bitstream import (
    Coding,
    Fields,
    codebook_coding,
    join,
    plain_coding,
    signed_bits,
    weight_fields,
    with_gaps,
    write,
)
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import Convolution, Layer, Weighted
from tfsparse.compiler.narrow import mantissa_bits
from tfsparse.compiler.prefix import PrefixCode, only_code, prefix_code

_MOST_ZEROS = 30  # that a bias may end with beside what is stored: a shift by more is none in C


@dataclass(frozen=True)
class Table:
    """One constant array: `role` names it, `values` has the C type's dtype."""

    role: str
    values: np.ndarray

    @property
    def size(self) -> int:
        return self.values.nbytes


@dataclass(frozen=True)
class Encoded:
    """`format` of the weights (one of FORMATS; "constant" for a plain operand) and all tables of one layer."""

    format: str
    tables: tuple[Table, ...]
    channels: ChannelFormat | None = None  # of layers with weights
    coding: Coding | None = None  # of weights in a stream
    alternatives: Mapping[str, int] = field(default_factory=dict)  # bytes of the weights in each format considered
    reach: int = 0  # bytes from the stream's first that a reader touches

    @property
    def payload(self) -> int:
        return sum(table.size for table in self.tables)

    @property
    def constants(self) -> int:
        """Bytes of the packed biases, multipliers and shifts, and what the reader needs behind the stream."""
        return self.payload - self.alternatives[self.format] if self.alternatives else 0

    def table(self, role: str) -> Table | None:
        return next((table for table in self.tables if table.role == role), None)


@dataclass(frozen=True)
class BiasForm:
    """How biases are written, as the same bias is a larger number the smaller the channel's weights are.

    `grows`: in as many more bits as the channel's right shift is above the layer's least. `unit`: as multiples of
    2**(shift - unit), where that is more than 1 (see `unit_of`); None: as they are.
    """

    grows: bool = False
    unit: int | None = None

    def stored(self, bias: np.ndarray, right: np.ndarray) -> np.ndarray:
        """What stands for int32 [channels] biases whose channels have these right shifts: int64."""
        return bias.astype(np.int64) >> (0 if self.unit is None else np.maximum(0, right - self.unit))


PLAIN = BiasForm()


@dataclass(frozen=True)
class ChannelFormat:
    """How the constants of a layer's output channels are packed.

    For each channel in turn: its right shift less `shift_base`; its bias (two's complement) in `bias_form`; and the
    `mantissa_bits` highest bits, behind its leading 1, of the multiplier's mantissa less `mantissa_offset`.
    """

    bias_bits: int
    mantissa_bits: int
    shift_bits: int
    shift_base: int
    bias_form: BiasForm = PLAIN
    mantissa_offset: int = 0

    @property
    def widest(self) -> int:
        """Bits of the widest of what is read at once: shift and bias, or the mantissa."""
        grown = (1 << self.shift_bits) - 1 if self.bias_form.grows else 0
        return max(self.shift_bits + self.bias_bits + grown, self.mantissa_bits)


def channel_format(
    bias: np.ndarray, multipliers: Sequence[Multiplier], bias_form: BiasForm = PLAIN, mantissa_offset: int = 0
) -> ChannelFormat:
    """The narrowest fields for these. bias: int32 [channels]; mantissas less the offset in [2**30, 2**31)."""
    right = right_shifts(multipliers)
    needed = signed_bits(bias_form.stored(bias, right)) - (right - right.min() if bias_form.grows else 0)
    return ChannelFormat(
        bias_bits=max(0, int(needed.max())),
        mantissa_bits=mantissa_bits([m.mantissa for m in multipliers], mantissa_offset),
        shift_bits=int(right.max() - right.min()).bit_length(),
        shift_base=int(right.min()),
        bias_form=bias_form,
        mantissa_offset=mantissa_offset,
    )


def right_shifts(multipliers: Sequence[Multiplier]) -> np.ndarray:
    return np.array([-m.shift for m in multipliers], np.int64)


def unit_of(layer: Weighted) -> int:
    """The least `BiasForm.unit` of which all biases are whole multiples: few where `tfsparse.shorten` rounded them."""
    right = right_shifts(layer.multipliers)
    units = [
        r + 1 - (bias & -bias).bit_length() for bias, r in zip(layer.bias.tolist(), right.tolist(), strict=True) if bias
    ]
    return max([*units, int(right.max()) - _MOST_ZEROS])


def channel_fields(bias: np.ndarray, multipliers: Sequence[Multiplier], form: ChannelFormat) -> Fields:
    """Three fields a channel, in the order of the stream."""
    right = right_shifts(multipliers)
    shifts, stored = right - form.shift_base, form.bias_form.stored(bias, right)
    bias_bits = form.bias_bits + (shifts if form.bias_form.grows else 0 * shifts)
    first = (1 << 30) + form.mantissa_offset
    mantissas = np.array([m.mantissa - first >> 30 - form.mantissa_bits for m in multipliers], np.int64)
    values = np.stack([shifts, stored & ((1 << bias_bits) - 1), mantissas], axis=1)
    bits = np.stack(
        [np.full_like(shifts, form.shift_bits), bias_bits, np.full_like(shifts, form.mantissa_bits)], axis=1
    )
    return Fields(values.reshape(-1), bits.reshape(-1))


def bias_may_grow(layer: Weighted) -> bool:
    """Whether no bias field gets wider than 32 bits so."""
    form = channel_format(layer.bias, layer.multipliers, BiasForm(grows=True), layer.mantissa_offset)
    return form.bias_bits + (1 << form.shift_bits) - 1 <= 32


def _clusters(weights: np.ndarray) -> Coding:
    """The smallest coding with a codebook."""
    codings = [codebook_coding(weights, None), codebook_coding(weights, 0), with_gaps(weights, codebook_coding)]
    return min(codings, key=lambda coding: _bytes(weights, coding))


_CODINGS = {
    "packed": lambda weights: plain_coding(weights, None),
    "bitmap": lambda weights: plain_coding(weights, 0),
    "gaps": lambda weights: with_gaps(weights, plain_coding),
    "clusters": _clusters,
}
FORMATS = ("dense", *_CODINGS, "prefix")
"""What weights may be written as. All of them are lossless.

dense: a byte each, for one kernel with zeros between; packed: each in as many bits as the widest needs; bitmap: the
non-zero ones in as many bits, and a bit for each weight; gaps: the non-zero ones, and a Rice code of the zeros between;
clusters: indices into a codebook of the values that occur, with the places told in whichever of these ways is smallest;
prefix: each in a code of the model's own that says frequent values in few bits.
"""


def _bytes(weights: np.ndarray, coding: Coding) -> int:
    """What the weights take in a stream, and their codebook."""
    return -(-weight_fields(weights, coding)[0].total // 8) + len(coding.codebook or ())


def has_dense_kernel(layer: Weighted) -> bool:
    """Whether a kernel takes the layer's weights as plain bytes: grouped convolutions have none."""
    return not isinstance(layer, Convolution) or layer.run in (1, layer.in_channels)


@dataclass(frozen=True)
class Choices:
    """What a layer's weights take in each format: `codings` of those that are streams, and bytes of all, but for the
    table of a prefix code, which layers share."""

    codings: Mapping[str, Coding]
    sizes: Mapping[str, int]


def stream_order(layer: Weighted) -> np.ndarray:
    """The weights as streams have them, [outputs, taps]: of a convolution, column after column of the window."""
    if not isinstance(layer, Convolution):
        return layer.weights
    window = layer.weights.reshape(len(layer.weights), layer.window.kernel_height, layer.window.kernel_width, -1)
    return window.transpose(0, 2, 1, 3).reshape(layer.weights.shape)


def choices(layer: Weighted, formats: Sequence[str]) -> Choices:
    """Of the formats given those that a model's only layer with weights may have."""
    return network_choices([layer], formats)[0]


def network_choices(layers: Sequence[Weighted], formats: Sequence[str]) -> list[Choices]:
    """Of the formats given those that each layer may have; where there is none of them, "packed".

    A prefix code is left out where it would not save its table, unless nothing else is allowed."""
    found = [_own_choices(layer, [name for name in formats if name != "prefix"]) for layer in layers]
    if "prefix" not in formats:
        code = None
    elif set(formats) == {"prefix"}:
        code = only_code([layer.weights for layer in layers]) if layers else None
    else:
        others = [
            min(each.sizes.values(), default=layer.weights.size) for layer, each in zip(layers, found, strict=True)
        ]
        code = prefix_code([layer.weights for layer in layers], others)
    return [_with_prefix(layer, each, code) for layer, each in zip(layers, found, strict=True)]


def _own_choices(layer: Weighted, formats: Sequence[str]) -> Choices:
    names = [name for name in formats if name != "dense" or has_dense_kernel(layer)]
    weights = stream_order(layer)
    codings = {name: _CODINGS[name](weights) for name in names if name != "dense"}
    sizes = {name: _bytes(weights, codings[name]) if name in codings else weights.size for name in names}
    return Choices(codings, sizes)


def _with_prefix(layer: Weighted, found: Choices, code: PrefixCode | None) -> Choices:
    if code is not None and code.says(layer.weights):
        coding = Coding(0, None, prefix=code)
        return Choices({**found.codings, "prefix": coding}, {**found.sizes, "prefix": _bytes(layer.weights, coding)})
    return found if found.sizes else _own_choices(layer, ["packed"])


def padded_rows(layer: Convolution) -> np.ndarray:
    """The weights with zeros behind each row of the window, up to a multiple of four taps: [outputs, taps]."""
    rows = layer.weights.reshape(len(layer.weights), layer.window.kernel_height, -1)
    return np.pad(rows, ((0, 0), (0, 0), (0, -rows.shape[2] % 4))).reshape(len(rows), -1)


def encode_weighted(
    layer: Weighted, format: str, found: Choices, bias_form: BiasForm = PLAIN, padded: bool = False
) -> Encoded:
    """All tables of a layer. padded: stored weights of a convolution as `padded_rows` has them."""
    channels = channel_format(layer.bias, layer.multipliers, bias_form, layer.mantissa_offset)
    outputs, taps = layer.weights.shape
    parts = [(channel_fields(layer.bias, layer.multipliers, channels), np.repeat(np.arange(outputs), 3))]
    coding, sizes = found.codings.get(format), found.sizes
    tables = []
    if coding is None:
        weights = padded_rows(layer) if padded else layer.weights
        tables.append(Table("weights", weights.astype(np.int8).reshape(-1)))
        sizes = {**sizes, format: weights.size}
    else:
        fields, at = weight_fields(stream_order(layer), coding)
        parts.append((fields, at // taps))
        if coding.codebook is not None:
            tables.append(Table("codebook", np.array(coding.codebook, np.int8)))
    stream, reach = write(join(parts))
    tables.append(Table("stream", stream))
    return Encoded(format, tuple(tables), channels, coding, sizes, reach)


def with_prefix_table(layers: Sequence[Encoded]) -> list[Encoded]:
    """The same; the first layer that has the prefix code brings its table."""
    layers = list(layers)
    for i, layer in enumerate(layers):
        if layer.coding is not None and layer.coding.prefix is not None:
            table = Table("prefix", layer.coding.prefix.table)
            layers[i] = replace(layer, tables=(table, *layer.tables))
            break
    return layers


def pad_streams(layers: Sequence[Encoded]) -> list[Encoded]:
    """The same, with as many bytes behind the last one's stream as looks at them touch, when they lie side by side."""
    end = reach = 0
    for layer in layers:
        reach = max(reach, end + layer.reach)
        end += layer.table("stream").size
    if reach <= end:
        return list(layers)
    *before, last = layers
    padded = Table("stream", np.append(last.table("stream").values, np.zeros(reach - end, np.uint8)))
    return [*before, replace(last, tables=(*last.tables[:-1], padded))]


def encode_plain(layer: Layer) -> Encoded | None:
    """The constant operands of a layer without weights; None where it has none."""
    tables = tuple(Table(role, values.reshape(-1)) for role, values in layer.constants().items())
    return Encoded("constant", tables) if tables else None
