"""The memory plan: where in one arena each value lies, so that values that are alive together never harm each other.

Values may share bytes not only one after the other in time: a layer that works from front to back may write its
output over the part of its input that it has already used. `write_lead` tells how far below the input the output must
begin for that; the idea is known as diagonal memory optimisation.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tfsparse.compiler.layers import Convolution, Layer, Network, Pool


@dataclass(frozen=True)
class Block:
    """A buffer to be placed: alive from step `first` to step `last`, both included."""

    key: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offset of each block in the arena, and the arena's size in bytes."""

    offsets: dict[int, int]
    size: int


def write_lead(layer: Layer, in_size: int, out_size: int) -> int:
    """Bytes by which the output must begin before an input that dies here, so that no byte is overwritten before its
    last use. `out_size` (no sharing at all) where the layer reads in another order than it writes."""
    if layer.in_order:
        # A smaller operand is broadcast: read several times.
        return 0 if in_size >= out_size else out_size
    if isinstance(layer, Convolution | Pool):
        window = layer.window
        out_row = out_size // window.out_height
        in_row = in_size // window.in_height
        # While row r is written, all input from the first row of its window on is still needed.
        lead = max(
            (r + 1) * out_row - min(max(0, r * window.stride_height - window.pad_top) * in_row, in_size)
            for r in range(window.out_height)
        )
        return min(max(lead, 0), out_size)
    return out_size


def blocks_of(network: Network) -> list[Block]:
    """Lifetimes: step i is layer i; inputs are there from step 0 on, outputs stay to the end."""
    first = {border.value: 0 for border in network.inputs} | {layer.output: i for i, layer in enumerate(network.layers)}
    last = dict(first)
    for i, layer in enumerate(network.layers):
        last |= dict.fromkeys(layer.inputs, i)
    last |= {border.value: len(network.layers) for border in network.outputs}
    return [Block(key, network.values[key].size, first[key], last[key]) for key in first]


def distances_of(network: Network) -> dict[tuple[int, int], int]:
    """(lower, upper) -> bytes from start to start that suffice, where these are fewer than the size of `lower`."""
    last = {block.key: block.last for block in blocks_of(network)}
    distances = {}
    for i, layer in enumerate(network.layers):
        out_size = network.values[layer.output].size
        for value in layer.inputs:
            if last[value] == i:
                lead = write_lead(layer, network.values[value].size, out_size)
                if lead < out_size:
                    distances[layer.output, value] = lead
    return distances


def conflict(a: Block, b: Block) -> bool:
    return a.first <= b.last and b.first <= a.last


def _place(order: Sequence[Block], distances: dict[tuple[int, int], int], best: int) -> tuple[int, dict[int, int]]:
    """Put block after block where it enlarges the arena least; gives up (size `best`) once it is no better."""
    offsets: dict[int, int] = {}
    low = high = 0
    for n, block in enumerate(order):
        # Spans of offsets that `block` must not take: (from, to), both excluded.
        taken = []
        for other in order[:n]:
            if conflict(block, other):
                below = distances.get((block.key, other.key), block.size)
                above = distances.get((other.key, block.key), other.size)
                taken.append((offsets[other.key] - below, offsets[other.key] + above))
        candidates = {0, high - block.size, *itertools.chain.from_iterable(taken)}
        free = [at for at in candidates if not any(start < at < end for start, end in taken)]
        at = min(free, key=lambda at: (max(high, at + block.size) - min(low, at), abs(at), at))
        offsets[block.key] = at
        low, high = min(low, at), max(high, at + block.size)
        if high - low >= best:
            return best, {}
    return high - low, {key: at - low for key, at in offsets.items()}


def lower_bound(blocks: Sequence[Block], distances: dict[tuple[int, int], int]) -> int:
    """Bytes that no plan can do without: at each step all that lives, less what may share with the step's output."""
    most = max((block.size for block in blocks), default=0)
    size = {block.key: block.size for block in blocks}
    for step in {block.first for block in blocks}:
        alive = {block.key for block in blocks if block.first <= step <= block.last}
        sharing = {key for pair in distances for key in pair if set(pair) <= alive}
        most = max(most, sum(size[key] for key in alive - sharing) + max((size[key] for key in sharing), default=0))
    return most


def _orders(blocks: Sequence[Block], tries: int) -> Iterable[Sequence[Block]]:
    """Promising orders first, then all of them or a fixed sample: the same plan for the same network, always."""
    yield sorted(blocks, key=lambda b: (-b.size, b.first, b.key))
    yield sorted(blocks, key=lambda b: (b.first, b.last, b.key))
    yield sorted(blocks, key=lambda b: (-b.last, -b.first, b.key))
    yield sorted(blocks, key=lambda b: (-b.size * (1 + b.last - b.first), b.key))
    if len(blocks) <= 6:
        yield from itertools.permutations(blocks)
    else:
        shuffled, source = list(blocks), random.Random(0)
        for _ in range(tries):
            source.shuffle(shuffled)
            yield list(shuffled)


def plan_memory(blocks: Sequence[Block], distances: dict[tuple[int, int], int] | None = None, tries: int = 300) -> Plan:
    """The smallest plan found. Blocks alive together do not touch, or keep the distance that `distances` allows."""
    distances = distances or {}
    size, offsets = sum(block.size for block in blocks) + 1, {}
    bound = lower_bound(blocks, distances)
    # Many blocks make a try slow; large networks get fewer.
    for order in _orders(blocks, min(tries, 30_000 // max(1, len(blocks)) ** 2)):
        found, places = _place(order, distances, size)
        if places:
            size, offsets = found, places
        if size <= bound:
            break
    return Plan(offsets, size if blocks else 0)
