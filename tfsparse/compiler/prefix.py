"""A prefix code of weights that the layers of a model share: frequent values take fewer bits.

Weights that were trained on few levels lie around zero about as a normal distribution does, so that packed ones waste
a sixth of their bits. One code serves all layers, as each brings a table that the reader looks codes up in: 2^n bytes
for codes of at most n bits. Values outside LARGEST, and there is one code for all of them, follow theirs as a byte.

Source: D. A. Huffman, "A method for the construction of minimum-redundancy codes", Proc. IRE 40 (1952); of limited
length by L. L. Larmore and D. S. Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", JACM 37
(1990).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LARGEST = (-16, 15)  # values that an entry of the table has room for, beside a code's length
LONGEST = 7  # bits of a code
ESCAPE = -17  # stands for all other values, which take a byte more


@dataclass(frozen=True)
class PrefixCode:
    """`lengths[i]` bits say `values[i]`; values ascending, ESCAPE the first of them where it is needed."""

    values: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def says(self, weights: np.ndarray) -> bool:
        """Whether there is a code for each of these."""
        return set(self.values).issuperset(np.unique(_symbols(weights)).tolist())

    @property
    def has_escape(self) -> bool:
        return ESCAPE in self.values

    @cached_property
    def _codes(self) -> tuple[int, ...]:
        """Canonical ones, of equal lengths in the order of the values; their first bit is the lowest."""
        codes, code, before = dict[int, int](), 0, 0
        for length, i in sorted((length, i) for i, length in enumerate(self.lengths)):
            code <<= length - before
            codes[i] = int(f"{code:0{length}b}"[::-1], 2)
            code, before = code + 1, length
        return tuple(codes[i] for i in range(len(self.values)))

    def fields(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bits that say each of int64 [N] weights, as numbers, and how many these are: int64 [N]."""
        symbols = _symbols(weights)
        at = np.searchsorted(self.values, symbols)
        codes, lengths = np.array(self._codes, np.int64)[at], np.array(self.lengths, np.int64)[at]
        escaped = symbols == ESCAPE
        return codes | np.where(escaped, (weights & 0xFF) << lengths, 0), lengths + 8 * escaped

    @cached_property
    def table(self) -> np.ndarray:
        """int8 [2**longest], by the next bits of the stream: eight times the value, plus the code's length; of ESCAPE
        eight times the length alone."""
        table = np.zeros(1 << self.longest, np.int8)
        for value, length, code in zip(self.values, self.lengths, self._codes, strict=True):
            table[code :: 1 << length] = 8 * length if value == ESCAPE else 8 * value + length
        return table


def _symbols(weights: np.ndarray) -> np.ndarray:
    return np.where((weights < LARGEST[0]) | (weights > LARGEST[1]), ESCAPE, weights)


def code_lengths(counts: Sequence[int], longest: int) -> tuple[int, ...]:
    """Bits of each code of the shortest prefix code of at most `longest` bits; there are at most 2**longest counts."""
    if len(counts) == 1:
        return (1,)
    leaves = sorted((count, (i,)) for i, count in enumerate(counts))
    merged = leaves
    for _ in range(longest - 1):
        pairs = zip(merged[::2], merged[1::2], strict=False)
        merged = sorted([*leaves, *((a + b, (*i, *j)) for (a, i), (b, j) in pairs)])
    lengths = [0] * len(counts)
    for _, symbols in merged[: 2 * len(counts) - 2]:
        for i in symbols:
            lengths[i] += 1
    return tuple(lengths)


def _code(weights: np.ndarray) -> PrefixCode:
    """Of fewest bytes for the int64 [N] weights, its table included."""
    values, counts = np.unique(_symbols(weights), return_counts=True)
    shortest = max(1, (len(values) - 1).bit_length())
    codes = [
        PrefixCode(tuple(values.tolist()), code_lengths(counts.tolist(), longest))
        for longest in range(shortest, LONGEST + 1)
    ]
    return min(codes, key=lambda code: (counts * code.lengths).sum() / 8 + code.table.size)


def prefix_code(layers: Sequence[np.ndarray], others: Sequence[int]) -> PrefixCode | None:
    """The code for those of the layers' weights, int8 arrays, that it says in fewer bytes than their `others`; None
    where it saves nothing, or no more than its table takes."""
    flat = [weights.reshape(-1).astype(np.int64) for weights in layers]
    chosen = list(range(len(flat)))
    while chosen:
        code = _code(np.concatenate([flat[i] for i in chosen]))
        sizes = {i: -(-int(code.fields(flat[i])[1].sum()) // 8) for i in chosen}
        fewer = [i for i in chosen if sizes[i] < others[i]]
        if fewer == chosen:
            saved = sum(others[i] - sizes[i] for i in chosen)
            return code if saved > code.table.size else None
        chosen = fewer
    return None


def only_code(layers: Sequence[np.ndarray]) -> PrefixCode:
    """The code for all these weights, whatever they would take otherwise."""
    return _code(np.concatenate([weights.reshape(-1) for weights in layers]).astype(np.int64))
