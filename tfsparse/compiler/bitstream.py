"""The stream of bits that holds a layer's weights, and the constants of each output channel in front of its weights.

Lowest bit first, no gaps. For each stored weight: its value (two's complement, or an index into a codebook) in
`value_bits`; then, unless all weights are stored, the number of zero weights up to the next stored one, across
channels, as a Rice code: its `gap_bits` low bits, and the rest in unary, as so many zeros and a 1. Random gaps come
within 0.1 bits a weight of their entropy so; with `gap_bits` 0 it is a bitmap in other words: one bit a weight. A
reader looks at a weight and its gap in one go: both fit into WINDOW bits, as a gap too long for that is cut by a zero
weight that is stored. Where there is a `prefix` code, values have as many bits as it gives them, and none is left out.

Source: R. F. Rice, "Some practical universal noiseless coding techniques", JPL 79-22 (1979).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfsparse.compiler.prefix import PrefixCode

WINDOW = 25  # bits that a look at four bytes gives wherever they begin
_LARGEST_FIRST = (1 << 16) - 1
_LARGEST_GAP_BITS = 12


@dataclass(frozen=True)
class Coding:
    """How the weights of a layer are written. `first`: zero weights before the first stored one."""

    value_bits: int
    gap_bits: int | None  # None: all weights are stored
    codebook: tuple[int, ...] | None = None  # what the values' indices stand for
    first: int = 0
    prefix: PrefixCode | None = None  # then `value_bits` is 0

    @property
    def longest_gap(self) -> int:
        """The longest that fits into the window, with a value before it."""
        return ((WINDOW - self.value_bits - self.gap_bits) << self.gap_bits) - 1


@dataclass(frozen=True)
class Fields:
    """Unsigned numbers of some bits each: `bits[i]` is the width of `values[i]`; both int64 [N], widths at most 32."""

    values: np.ndarray
    bits: np.ndarray

    @property
    def total(self) -> int:
        return int(self.bits.sum())


def signed_bits(values: np.ndarray) -> np.ndarray:
    """Bits that each value needs in two's complement, 0 for 0: int64 of the same shape."""
    values = values.astype(np.int64)
    magnitude = np.where(values < 0, ~values, values)
    return np.where(values == 0, 0, np.frexp(magnitude.astype(np.float64))[1] + 1)


def _stored(flat: np.ndarray, coding: Coding) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the weights that are stored, and the gap behind each; a weight that cuts a long gap is one of them."""
    at = np.flatnonzero(flat)
    if (at[0] if len(at) else len(flat)) > coding.first:
        at = np.append(coding.first, at)
    gaps = np.diff(at, append=len(flat)) - 1
    longest = coding.longest_gap
    while (long := np.flatnonzero(gaps > longest)).size:
        at = np.insert(at, long + 1, at[long] + longest + 1)
        gaps = np.diff(at, append=len(flat)) - 1
    return at, gaps


def weight_fields(weights: np.ndarray, coding: Coding) -> tuple[Fields, np.ndarray]:
    """One field for each stored weight with its gap, and the index of each in the flat weights: int64 [N]."""
    flat = weights.reshape(-1).astype(np.int64)
    if coding.prefix is not None:
        return Fields(*coding.prefix.fields(flat)), np.arange(flat.size)
    at, gaps = (np.arange(flat.size), None) if coding.gap_bits is None else _stored(flat, coding)
    values = flat[at]
    if coding.codebook is not None:
        book = np.array(coding.codebook, np.int64)
        order = np.argsort(book, kind="stable")
        values = order[np.searchsorted(book[order], values)]
    values &= (1 << coding.value_bits) - 1
    bits = np.full(values.shape, coding.value_bits, np.int64)
    if gaps is not None:
        low = gaps & ((1 << coding.gap_bits) - 1)
        unary = gaps >> coding.gap_bits
        values |= (low | 1 << (coding.gap_bits + unary)) << coding.value_bits
        bits += coding.gap_bits + unary + 1
    return Fields(values, bits), at


def _first(flat: np.ndarray) -> int:
    at = np.flatnonzero(flat)
    return min(int(at[0]) if len(at) else flat.size, _LARGEST_FIRST)


def plain_coding(weights: np.ndarray, gap_bits: int | None) -> Coding:
    """Values in two's complement, as many bits as the widest needs."""
    flat = weights.reshape(-1)
    bits = max(1, int(signed_bits(flat).max(initial=0)))
    return Coding(bits, gap_bits, first=0 if gap_bits is None else _first(flat))


def codebook_coding(weights: np.ndarray, gap_bits: int | None) -> Coding:
    """Indices into a codebook of the values that occur, lowest first; 0 is one of them only where it is stored."""
    flat = weights.reshape(-1)
    first = 0 if gap_bits is None else _first(flat)

    def with_values(values: np.ndarray) -> Coding:
        book = tuple(np.unique(values).tolist()) or (0,)
        return Coding(max(1, (len(book) - 1).bit_length()), gap_bits, book, first)

    if gap_bits is None:
        return with_values(flat)
    coding = with_values(flat[flat != 0])
    at, _ = _stored(flat, coding)
    while len(found := with_values(flat[at]).codebook) != len(coding.codebook):
        # A stored zero may widen the indices, and so shorten the longest gap.
        coding = replace(coding, codebook=found, value_bits=max(1, (len(found) - 1).bit_length()))
        at, _ = _stored(flat, coding)
    return coding


def with_gaps(weights: np.ndarray, make: Callable[[np.ndarray, int | None], Coding]) -> Coding:
    """The coding of fewest bits among those with 1 gap bit or more. `make`: one of the two functions above."""
    mean = weights.size / max(1, np.count_nonzero(weights))
    middle = min(max(1, round(np.log2(max(mean, 2.0)) - 0.5)), _LARGEST_GAP_BITS)
    tried = [make(weights, bits) for bits in range(max(1, middle - 2), min(middle + 3, _LARGEST_GAP_BITS) + 1)]
    return min(tried, key=lambda coding: weight_fields(weights, coding)[0].total)


def join(parts: Sequence[tuple[Fields, np.ndarray]]) -> Fields:
    """Fields of several kinds in the order of the number that each has; of equal ones, those of earlier parts first."""
    order = np.argsort(np.concatenate([places for _, places in parts]), kind="stable")
    values = np.concatenate([fields.values for fields, _ in parts])
    return Fields(values[order], np.concatenate([fields.bits for fields, _ in parts])[order])


def write(fields: Fields) -> tuple[np.ndarray, int]:
    """The fields one after the other, uint8, and how many bytes from the first on looks at them touch."""
    values, bits = fields.values.astype(np.uint64), fields.bits
    ends = np.cumsum(bits)
    total = int(ends[-1]) if len(ends) else 0
    starts = ends - bits
    stream = np.zeros(total, np.uint8)
    for i in range(int(bits.max(initial=0))):
        inside = bits > i
        stream[starts[inside] + i] = (values[inside] >> np.uint64(i)) & np.uint64(1)
    packed = np.packbits(stream, bitorder="little")
    # A field of more than WINDOW bits is looked at twice; the second look starts 16 bits later.
    last = np.where(bits > WINDOW, starts + 16, starts).max(initial=0)
    return packed, int(last) // 8 + 4
