"""Constant tables of a layer: the weights in the format that takes fewest bytes; biases and multipliers in few bits.

Everything is lossless. A table is an array of the generated C; `payload` is the sum of their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import Layer, Weighted


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
    alternatives: Mapping[str, int] = field(default_factory=dict)  # bytes of the weights in each format considered

    @property
    def payload(self) -> int:
        return sum(table.size for table in self.tables)

    @property
    def constants(self) -> int:
        """Bytes of the packed biases, multipliers and shifts; 0 where there are none."""
        table = self.table("constants")
        return table.size if table else 0

    def table(self, role: str) -> Table | None:
        return next((table for table in self.tables if table.role == role), None)


def dense(weights: np.ndarray) -> tuple[Table, ...]:
    return (Table("weights", weights.astype(np.int8).reshape(-1)),)


def bitmap(weights: np.ndarray) -> tuple[Table, ...]:
    """One bit a weight in stream order, lowest bit first, 1 where it is not zero; and the non-zero weights."""
    flat = weights.astype(np.int8).reshape(-1)
    return Table("weights", flat[flat != 0]), Table("bitmap", np.packbits(flat != 0, bitorder="little"))


def unpack_bitmap(values: np.ndarray, bits: np.ndarray, count: int) -> np.ndarray:
    """The inverse of `bitmap`: int8 [count]."""
    flat = np.zeros(count, np.int8)
    flat[np.unpackbits(bits, count=count, bitorder="little").astype(bool)] = values
    return flat


@dataclass(frozen=True)
class ChannelFormat:
    """How the constants of a layer's output channels are packed, lowest bit first and without gaps.

    For each channel in turn: a bias (two's complement), the `mantissa_bits` highest bits of the multiplier's mantissa
    behind its leading 1, and its right shift less `shift_base`.
    """

    bias_bits: int
    mantissa_bits: int
    shift_bits: int
    shift_base: int


def _signed_bits(values: np.ndarray) -> int:
    """Bits that hold all values in two's complement; 0 if all are zero."""
    values = values.astype(np.int64)
    widest = int(np.where(values < 0, ~values, values).max(initial=0))
    return widest.bit_length() + 1 if np.any(values) else 0


def _trailing_zeros(x: int) -> int:
    return (x & -x).bit_length() - 1


def pack_channels(bias: np.ndarray, multipliers: Sequence[Multiplier]) -> tuple[np.ndarray, ChannelFormat]:
    """The packed constants, uint8, and their format. bias: int32 [channels]; mantissas in [2**30, 2**31)."""
    right = [-m.shift for m in multipliers]
    form = ChannelFormat(
        bias_bits=_signed_bits(bias),
        mantissa_bits=30 - min(_trailing_zeros(m.mantissa) for m in multipliers),
        shift_bits=(max(right) - min(right)).bit_length(),
        shift_base=min(right),
    )
    stream = position = 0
    for value, multiplier in zip(bias.tolist(), multipliers, strict=True):
        fields = (
            (value, form.bias_bits),
            (multiplier.mantissa - (1 << 30) >> 30 - form.mantissa_bits, form.mantissa_bits),
            (-multiplier.shift - form.shift_base, form.shift_bits),
        )
        for field, bits in fields:
            stream |= (field & ((1 << bits) - 1)) << position
            position += bits
    return np.frombuffer(stream.to_bytes(-(-position // 8), "little"), np.uint8), form


def unpack_channels(packed: np.ndarray, form: ChannelFormat, count: int) -> tuple[np.ndarray, tuple[Multiplier, ...]]:
    """The inverse of `pack_channels`, as the C code does it."""
    stream = int.from_bytes(packed.tobytes(), "little")

    def take(bits: int) -> int:
        nonlocal stream
        field, stream = stream & ((1 << bits) - 1), stream >> bits
        return field

    bias, multipliers = [], []
    for _ in range(count):
        value = take(form.bias_bits)
        bias.append(value - (1 << form.bias_bits) if form.bias_bits and value >> (form.bias_bits - 1) else value)
        mantissa = (1 << 30) + (take(form.mantissa_bits) << (30 - form.mantissa_bits))
        multipliers.append(Multiplier(mantissa, -(form.shift_base + take(form.shift_bits))))
    return np.array(bias, np.int32), tuple(multipliers)


_WEIGHT_FORMATS = {"dense": dense, "bitmap": bitmap}
FORMATS = tuple(_WEIGHT_FORMATS)


def _encode_weighted(layer: Weighted, formats: Sequence[str]) -> Encoded:
    """All tables of a layer. Its weights are in stream order already: [outputs, taps]."""
    choices = {name: _WEIGHT_FORMATS[name](layer.weights) for name in formats}
    sizes = {name: sum(table.size for table in tables) for name, tables in choices.items()}
    name = min(sizes, key=sizes.get)
    constants, channels = pack_channels(layer.bias, layer.multipliers)
    tables = (*choices[name], Table("constants", constants))
    kept = tuple(table for table in tables if table.size)  # C has no arrays of no elements
    return Encoded(name, kept, channels, sizes)


def encode(layer: Layer, formats: Sequence[str] = FORMATS) -> Encoded | None:
    """The constant tables of a layer, its weights in the smallest of the formats; None where it has none."""
    if isinstance(layer, Weighted):
        return _encode_weighted(layer, formats)
    tables = tuple(Table(role, values.reshape(-1)) for role, values in layer.constants().items())
    return Encoded("constant", tables) if tables else None
