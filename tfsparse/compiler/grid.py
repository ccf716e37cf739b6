"""Walks over arrays: nested loops that move some pointers, with as few loops as the strides allow."""

from __future__ import annotations

from dataclasses import dataclass

MOST_AXES = 6


@dataclass(frozen=True)
class Grid:
    """Loops, innermost first: how often each goes round, and by how many elements it moves each pointer.

    counts: [axes]; strides: [pointers][axes].
    """

    counts: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        """Elements of the innermost loop."""
        return self.counts[0] if self.counts else 1

    def step(self, pointer: int) -> int:
        """By how much the innermost loop moves a pointer."""
        return self.strides[pointer][0] if self.counts else 0

    def jumps(self, first: int = 1) -> list[tuple[int, tuple[int, ...]]]:
        """(count, move of each pointer) of the loops from number `first` on.

        The moves are those from the last place of the inner loops to the first place of the next round; the loops
        before `first` leave the pointers where they were.
        """
        rows = []
        for k in range(first, len(self.counts)):
            back = [sum((self.counts[j] - 1) * stride[j] for j in range(first, k)) for stride in self.strides]
            rows.append((self.counts[k], tuple(s[k] - b for s, b in zip(self.strides, back, strict=True))))
        return rows


def strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next along each axis of a contiguous array."""
    strides, size = [], 1
    for n in reversed(shape):
        strides.append(size)
        size *= n
    return tuple(reversed(strides))


def grid(counts: tuple[int, ...], *strides: tuple[int, ...]) -> Grid:
    """The grid of loops given outermost first: loops of one round are left out, and two become one where all pointers
    go on from the end of the inner as if there were no end."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for k in reversed(range(len(counts))):
        if counts[k] == 1:
            continue
        moves = tuple(stride[k] for stride in strides)
        if axes and all(move == axes[-1][0] * inner for move, inner in zip(moves, axes[-1][1], strict=True)):
            axes[-1] = (axes[-1][0] * counts[k], axes[-1][1])
        else:
            axes.append((counts[k], moves))
    return Grid(
        tuple(count for count, _ in axes),
        tuple(tuple(moves[pointer] for _, moves in axes) for pointer in range(len(strides))),
    )


def broadcast(shape: tuple[int, ...], *operands: tuple[int, ...]) -> Grid | None:
    """The grid over `shape` that reads operands as NumPy broadcasts them; None where one does not fit."""
    strides = []
    for operand in operands:
        padded = (1,) * (len(shape) - len(operand)) + operand
        if len(padded) != len(shape) or any(n not in (1, whole) for n, whole in zip(padded, shape, strict=True)):
            return None
        own = strides_of(padded)
        strides.append(tuple(0 if n == 1 else stride for n, stride in zip(padded, own, strict=True)))
    return grid(shape, *strides)
