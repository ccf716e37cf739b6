"""The memory plan: what is streamed, and where in one arena each value lies, so that no living byte is overwritten.

Values may share bytes not only one after the other in time: a layer that works from front to back may write its
output over the part of its input that it has already used. `rows.simulate` sees which bytes are alive together and
says how far apart values must begin; the idea is known as diagonal memory optimisation.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tfsparse.compiler.layers import Network
from tfsparse.compiler.rows import Flow, height_of, row_layers, row_work, segment_peak, simulate, whole_peak
from tfsparse.compiler.slots import place_rows

# Bytes of RAM that streaming must save at least: it takes some 250 bytes of flash, and a row at a time is slower.
_WORTH_STREAMING = {"size": 64, "balanced": 64}
_FLOW_STACK = 40  # bytes of stack, about, that making row after row takes
_LARGEST_SEARCH = 16  # layers up to which every stretch of layers is tried
_LARGEST_SPLIT, _MOST_ROWS = 48, 600  # layers and rows of all maps up to which rows may lie anywhere
_LONGEST_SEGMENT = 16  # layers
_WORTH_TABLES = 32  # bytes of RAM that places for single rows must save at least


@dataclass(frozen=True)
class Block:
    """A buffer to be placed: alive from step `first` to step `last`, both included."""

    key: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Offset of each block in the arena, the arena's size in bytes, and where rows lie that are not evenly spaced."""

    offsets: dict[int, int]
    size: int
    tables: dict[str, tuple[int, ...]] = field(default_factory=dict)  # by C name: where rows lie, see slots.py


def _place(order: Sequence[Block], distances: dict[tuple[int, int], int], best: int) -> tuple[int, dict[int, int]]:
    """Put block after block where it enlarges the arena least; gives up (size `best`) once it is no better."""
    offsets: dict[int, int] = {}
    low = high = 0
    for n, block in enumerate(order):
        # Spans of offsets that `block` must not take: (from, to), both excluded.
        taken = [
            (offsets[other.key] - distances[block.key, other.key], offsets[other.key] + distances[other.key, block.key])
            for other in order[:n]
            if (block.key, other.key) in distances
        ]
        candidates = {0, high - block.size, *itertools.chain.from_iterable(taken)}
        free = [at for at in candidates if not any(start < at < end for start, end in taken)]
        at = min(free, key=lambda at: (max(high, at + block.size) - min(low, at), abs(at), at))
        offsets[block.key] = at
        low, high = min(low, at), max(high, at + block.size)
        if high - low >= best:
            return best, {}
    return high - low, {key: at - low for key, at in offsets.items()}


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


def place(blocks: Sequence[Block], distances: dict[tuple[int, int], int], bound: int = 0, tries: int = 300) -> Plan:
    """The smallest plan found; it stops at `bound`, which none can do without.

    Of two blocks a and b that `distances` names, b begins distances[a, b] bytes behind a or more, or a begins
    distances[b, a] behind b or more. Others may lie anywhere.
    """
    size, offsets = sum(block.size for block in blocks) + 1, {}
    # Many blocks make a try slow; large networks get fewer.
    for order in _orders(blocks, min(tries, 30_000 // max(1, len(blocks)) ** 2)):
        found, places = _place(order, distances, size)
        if places:
            size, offsets = found, places
        if size <= bound:
            break
    return Plan(offsets, size if blocks else 0)


def plan_flow(flow: Flow, tries: int = 300) -> Plan:
    blocks = [Block(key, flow.sizes[key], *span) for key, span in flow.spans.items()]
    return place(blocks, flow.distances, flow.bound, tries)


def can_be_fed(network: Network) -> bool:
    """Whether the input can come row by row."""
    one = len(network.inputs) == len(network.outputs) == 1
    return one and height_of(network, network.inputs[0].value) > 1 and simulate(network, fed=True) is not None


def _stretches(network: Network, fed: bool) -> Iterator[frozenset[int]]:
    """Sets of layers to stream: stretches that can be streamed from one end to the other, the first ones first."""
    count = len(network.layers)
    can = [row_work(network, layer) is not None for layer in network.layers]
    for start in range(count if count <= _LARGEST_SEARCH and not fed else 1):
        for end in range(start, count):
            if not can[end]:
                break
            if end > start or fed:  # a single layer between whole values gains nothing
                yield frozenset(range(start, end + 1))


def _segments(network: Network, fed: bool) -> tuple[int, tuple[int, ...]] | None:
    """The fewest bytes alive at a time, and the layers with which segments begin that achieve it.

    Within a segment rows are streamed, and the next one waits until it is done. By dynamic programming, as segments do
    not see each other.

    None where there are too many layers or rows, or some layer cannot be run so.
    """
    count = len(network.layers)
    if count > _LARGEST_SPLIT or sum(height_of(network, layer.output) for layer in network.layers) > _MOST_ROWS:
        return None
    # For the layers in front of each: most bytes alive, the segments' peaks added up, and where segments begin.
    best: list[tuple[int, int, tuple[int, ...]] | None] = [(0, 0, ()), *[None] * count]
    for end in range(1, count + 1):
        for start in range(max(0, end - _LONGEST_SEGMENT), end):
            before = best[start]
            if before is None or (best[end] is not None and before[0] > best[end][0]):
                continue
            peak = segment_peak(network, start, end, fed)
            if peak is None:
                continue
            found = (max(before[0], peak), before[1] + peak, (*before[2], start))
            best[end] = found if best[end] is None else min(best[end], found)
    return (best[count][0], best[count][2]) if best[count] else None


def plan_rows(network: Network, fed: bool, most: int | None = None) -> tuple[Flow, Plan] | None:
    """A plan in which rows lie anywhere; None where there is none, or none of at most `most` bytes."""
    streamed = row_layers(network)
    peak, breaks = (_segments(network, fed) if streamed or fed else None) or (0, None)
    if most is not None and peak > most:
        return None
    flow = None if breaks is None else simulate(network, streamed, fed, breaks)
    if flow is None:
        return None
    slots = place_rows(flow)
    names: dict[tuple[int, ...], str] = {}
    makers = {layer.output: layer.name for layer in network.layers}
    for value, rows in slots.rows.items():
        names.setdefault(rows, f"rows_of_{makers.get(value, 'input')}")
    tables = {value: names[rows] for value, rows in slots.rows.items()}
    return flow.with_tables(tables), Plan(slots.offsets, slots.size, {tables[v]: slots.rows[v] for v in tables})


def _with_together(network: Network, together: dict[int, int]) -> Network:
    parts = [replace(x, together=together[i]) if i in together else x for i, x in enumerate(network.layers)]
    return replace(network, layers=tuple(parts))


def _counts(rows: int) -> Iterator[int]:
    """How many rows to make together, the best first: all, or equal parts of at least two."""
    for parts in range(1, rows):
        count = -(-rows // parts)
        if count < 2:
            break
        yield count


def plan_together(flow: Flow, plan: Plan, optimize: str, layers: Sequence[int]) -> tuple[Flow, Plan]:
    """The same, of a network that is not streamed, with some convolutions making as many rows together as cost no
    memory, or, for speed, half the arena; layers: their indices. It is faster, as some kernels make each
    channel of those rows before the next one."""
    room = plan.size + (plan.size // 2 if optimize == "speed" else 0)
    # A plan may need more than what lives at a time: then what is chosen must keep further below.
    for most in sorted({room, (plan.size + room) // 2, plan.size}, reverse=True):
        chosen: dict[int, int] = {}
        for i in layers:
            for rows in _counts(flow.network.layers[i].window.out_height):
                if whole_peak(_with_together(flow.network, chosen | {i: rows})) <= most:
                    chosen[i] = rows
                    break
        better = simulate(_with_together(flow.network, chosen))
        found = plan_flow(better)
        if chosen and found.size <= room:
            return better, found
    return flow, plan


def plan_network(network: Network, optimize: str = "balanced", fed: bool = False) -> tuple[Flow, Plan]:
    """What to stream, and where all values lie. fed: the input comes row by row.

    For speed nothing is streamed unless it is fed: a row at a time takes two to three times the instructions.
    """
    plain = simulate(network, fed=fed)
    best, best_plan = plain, plan_flow(plain)
    if optimize == "speed" and not fed:
        return best, best_plan
    cost = best_plan.size - (0 if fed else _WORTH_STREAMING[optimize])
    extra = _FLOW_STACK + len(network.layers) + 1
    found = (simulate(network, streamed, fed, most=cost - extra * (not fed)) for streamed in _stretches(network, fed))
    flows = [flow for flow in found if flow is not None]
    for flow in sorted(flows, key=lambda flow: (flow.bound, len(flow.streamed)))[:12]:
        if flow.bound + extra * (not fed) >= cost:
            break
        plan = plan_flow(flow, tries=60)
        if plan.size + extra * (not fed) < cost:
            best, best_plan, cost = flow, plan, plan.size + extra * (not fed)
    if best is not plain:
        best_plan = plan_flow(best)
        cost = best_plan.size + extra * (not fed)
    # A table of places costs flash.
    most = cost - extra * (not fed) - _WORTH_TABLES
    rows = plan_rows(network, fed, most)
    if rows is not None and rows[1].size <= most:
        return rows
    return best, best_plan
