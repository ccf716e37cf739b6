"""Rows: how layers work row by row, in which order rows are made, and what of each value is alive at each step.

A streamed layer makes its next output row as soon as the rows of its input are there; the deepest layer that can work
goes first. Of a value that only streamed layers read, no more rows are held than are needed at a time: a ring. All
other layers are whole: they run once, when their input is complete.

The C code (runtime/tfs_flow.h) decides with one comparison a layer; `simulate` makes the same decisions here, and what
it sees is the memory plan's ground: which bytes of which values are alive together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tfsparse.compiler.layers import (
    Binary,
    Border,
    Concatenate,
    Convolution,
    Layer,
    LeakyRelu,
    Lookup,
    Network,
    Pool,
    Rescale,
)

LARGEST_BLOCK = 16  # pixels of a row that kernels of convolutions compute together
LARGEST_COUNT = 255  # rows, strides and layers that the C code's table holds


@dataclass(frozen=True)
class RowWork:
    """A layer row by row: row r reads input rows r * stride - pad to that + extent - 1, those that there are."""

    rows: int
    in_rows: int
    stride: int = 1
    pad: int = 0
    extent: int = 1

    def reads(self, row: int) -> tuple[int, int]:
        """Input rows [from, to) that output row `row` needs."""
        first = row * self.stride - self.pad
        return min(max(first, 0), self.in_rows), max(0, min(first + self.extent, self.in_rows))

    @property
    def fits(self) -> bool:
        """Whether the C code's table holds it."""
        largest = max(self.rows, self.in_rows, self.stride)
        return largest <= LARGEST_COUNT and -128 <= self.extent - self.pad <= 127


@dataclass(frozen=True)
class FlowEntry:
    """One line of the C code's table: the layer makes row r when `source` has min(in_rows, r * stride + first) rows.

    `source` counts from 0, the network's input; layer i is source i + 1.
    """

    source: int
    rows: int
    in_rows: int
    stride: int
    first: int


def height_of(network: Network, value: int) -> int:
    """Rows of a value: of a map its height, else 1."""
    shape = network.values[value].shape
    return shape[1] if len(shape) == 4 else 1


def window_work(layer: Convolution | Pool) -> RowWork:
    w = layer.window
    extent = (w.kernel_height - 1) * w.dilation_height + 1
    return RowWork(w.out_height, w.in_height, w.stride_height, w.pad_top, extent)


def row_work(network: Network, layer: Layer) -> RowWork | None:
    """How a layer can be streamed; None where it cannot."""
    rows, sizes = height_of(network, layer.output), [network.values[i].size for i in (*layer.inputs, layer.output)]
    heights = {height_of(network, i) for i in layer.inputs}
    if isinstance(layer, Convolution | Pool):
        work = window_work(layer)
        if (work.rows, work.in_rows) != (rows, *heights):
            return None
    elif isinstance(layer, Binary | Rescale | Lookup | LeakyRelu):
        if isinstance(layer, Binary) and (layer.constant is not None or layer.grid.jumps()):
            return None
        work = RowWork(rows, rows)
        if heights != {rows} or len(set(sizes)) != 1:
            return None
    elif isinstance(layer, Concatenate):
        shape = network.values[layer.output].shape
        work = RowWork(rows, rows)
        if heights != {rows} or layer.constants() or len(shape) != 4 or layer.outer != shape[1] * shape[2]:
            return None
    else:
        return None
    return work if rows > 1 and work.fits else None


def in_place(layer: Layer, value: int, network: Network, row: bool = False) -> bool:
    """Whether the layer may write its output, or `row` of it, over this input, byte for byte or further in front."""
    # A smaller operand is broadcast: read several times.
    if layer.in_order:
        return network.values[value].size >= network.values[layer.output].size
    return row and channelwise(layer)


def channelwise(layer: Layer) -> bool:
    """Whether a row of the output may lie over a row of the input that dies with it: each channel is computed from
    the same channel of the input alone, and a row of it is all read before any of it is written."""
    if not isinstance(layer, Convolution):
        return False
    return layer.run == layer.per_group == 1 and layer.window.out_width <= LARGEST_BLOCK


def regroup_pointwise(layer: Layer) -> Layer:
    """A 1x1 convolution sees no neighbours: as a whole layer it may cut its pixels into rows that suit the kernel."""
    if not isinstance(layer, Convolution):
        return layer
    w = layer.window
    pixels = w.out_height * w.out_width
    # The largest divisor that is at most 8: a row of such a length is computed as one block.
    width = max(n for n in range(1, 9) if pixels % n == 0)
    if (w.in_height, w.in_width, w.kernel_height, w.kernel_width) != (w.out_height, w.out_width, 1, 1):
        return layer
    if max(w.stride_height, w.stride_width) > 1 or max(w.pad_top, w.pad_left) > 0:
        return layer
    # Longer rows also keep more of the input alive while one is written: only short ones are worth that.
    if w.out_width >= 8 or width <= w.out_width:
        return layer
    rows = pixels // width
    return replace(layer, window=replace(w, in_height=rows, out_height=rows, in_width=width, out_width=width))


@dataclass(frozen=True)
class Step:
    """One row of one layer (layer -1: a row of the input comes in), or all of a layer that does not work by rows."""

    layer: int
    output: int
    live: dict[int, tuple[int, int]]  # value -> bytes [from, to) of it that are alive
    written: tuple[int, int]  # bytes [from, to) of the output that the step makes
    last_read: dict[int, int]  # value -> bytes in front of this one are not needed after the step


@dataclass(frozen=True)
class Flow:
    """Which layers are streamed, and what follows from that. Keys of the dictionaries are values."""

    network: Network  # whole layers regrouped
    streamed: frozenset[int]  # indices of layers
    fed: bool  # the input comes row by row
    entries: tuple[FlowEntry, ...]
    held: dict[int, int]  # rows that are in memory at a time
    sizes: dict[int, int]  # bytes of them
    spans: dict[int, tuple[int, int]]  # first and last step at which something of it is alive
    distances: dict[tuple[int, int], int]  # (a, b): b must begin so many bytes behind a, or a b's distance behind b
    bound: int  # bytes alive at a time, whole rings counted: no plan of rings needs less
    peak: int  # bytes alive at a time, row by row: no plan at all needs less
    steps: tuple[Step, ...] = field(compare=False, repr=False)
    over: bool = False  # rows of `channelwise` layers may lie over rows of their input that die with them
    tables: dict[int, str] = field(default_factory=dict)  # C name of the places of a value's rows, if they have some

    @property
    def input(self) -> int:
        return self.network.inputs[0].value

    @property
    def input_rows(self) -> int:
        return height_of(self.network, self.input)

    def row_size(self, value: int) -> int:
        return self.network.values[value].size // height_of(self.network, value)

    def is_ring(self, value: int) -> bool:
        return self.held[value] < height_of(self.network, value)

    def with_tables(self, tables: dict[int, str]) -> Flow:
        """The same for a plan of slots.py, without rings. tables: C names of the places of rows, by value."""
        layers = tuple(
            replace(layer, window=replace(layer.window, held=0, table=tables.get(layer.inputs[0], "")))
            if isinstance(layer, Convolution | Pool)
            else layer
            for layer in self.network.layers
        )
        held = {value: height_of(self.network, value) for value in self.held}
        sizes = {value: self.network.values[value].size for value in self.held}
        network = replace(self.network, layers=layers)
        return replace(self, network=network, held=held, sizes=sizes, over=True, tables=tables)


class _Simulation:
    """A run of all layers. Without `keep` no steps are recorded, only the peak is."""

    def __init__(self, network: Network, streamed: frozenset[int], fed: bool, *, keep: bool = True) -> None:
        self.network, self.streamed, self.fed, self.keep = network, streamed, fed, keep
        self.size = {key: network.values[key].size for key in _places(network)}
        self.works = [row_work(network, layer) if i in streamed else None for i, layer in enumerate(network.layers)]
        self.inputs = [border.value for border in network.inputs]
        self.outputs = {border.value for border in network.outputs}
        self.place = _places(network)
        self.pitch = {v: self.size[v] // height_of(network, v) for v in self.place}
        self.readers: dict[int, list[int]] = {key: [] for key in self.place}
        for i, layer in enumerate(network.layers):
            for value in set(layer.inputs):
                self.readers[value].append(i)
        self.needed = {(value, i): 0 for value, readers in self.readers.items() for i in readers}
        self.made = dict.fromkeys(self.place, 0)  # bytes
        self.low = {v: self.lowest(v) for v in self.place}
        self.alive = self.peak = 0  # bytes, now and at most
        self.steps: list[Step] = []

    def lowest(self, value: int) -> int:
        """The first byte of a value that is still to be read."""
        if value in self.outputs:
            return 0
        return min((self.needed[value, i] for i in self.readers[value]), default=self.size[value])

    def record(self, layer: int, output: int, upto: int, last_read: dict[int, int]) -> None:
        begun = self.made[output]
        self.made[output] = upto
        if self.keep:
            live = {v: (low, made) for v, made in self.made.items() if (low := self.low[v]) < made}
            live.setdefault(output, (begun, upto))
            self.steps.append(Step(layer, output, live, (begun, upto), last_read))
        during, shared = self.alive + upto - begun, 0
        self.alive += max(0, upto - max(begun, self.low[output]))
        for value, end in last_read.items():
            self.needed[value, layer] = end
            before, self.low[value] = self.low[value], self.lowest(value)
            dying = min(self.made[value], self.low[value]) - min(self.made[value], before)
            if dying and in_place(self.network.layers[layer], value, self.network, row=self.works[layer] is not None):
                shared = max(shared, min(upto - begun, dying))
            self.alive -= dying
        self.peak = max(self.peak, during - shared)

    def run_row(self, i: int, row: int) -> None:
        layer, work, pitch = self.network.layers[i], self.works[i], self.pitch
        following = work.reads(row + 1)[0] if row + 1 < work.rows else work.in_rows
        self.record(i, layer.output, (row + 1) * pitch[layer.output], {v: following * pitch[v] for v in layer.inputs})

    def run_whole(self, i: int) -> None:
        layer, out = self.network.layers[i], self.size[self.network.layers[i].output]
        if isinstance(layer, Convolution | Pool):
            work = window_work(layer)
            value = layer.inputs[0]
            in_row, out_row = self.size[value] // work.in_rows, out // work.rows
            together = layer.together if isinstance(layer, Convolution) else 1
            for end in (*range(together, work.rows, together), work.rows):
                following = work.reads(end)[0] if end < work.rows else work.in_rows
                self.record(i, layer.output, end * out_row, {value: following * in_row})
        else:
            self.record(i, layer.output, out, {value: self.size[value] for value in layer.inputs})

    def entry(self, i: int, source: int, start: int = 0) -> FlowEntry:
        """`start`: the first layer of the segment; where it is past the source, all layers before it are waited for."""
        work, place = self.works[i], self.place[source]
        rows = work.rows if work else 1
        if place <= start and start:
            before = self.works[start - 1]
            made = before.rows if before else 1
            return FlowEntry(start, rows, made, 0, made)
        if place and not self.works[place - 1]:
            return FlowEntry(place, rows, 1, 0, 1)  # made all at once
        if work is None:
            height = height_of(self.network, source)
            return FlowEntry(place, 1, height, 0, height)
        return FlowEntry(place, rows, work.in_rows, work.stride, work.extent - work.pad)

    def complete(self, i: int, row: int) -> bool:
        """Whether all that row `row` of layer i reads has been made."""
        layer, work = self.network.layers[i], self.works[i]
        for value in layer.inputs:
            to = work.reads(row)[1] * self.pitch[value] if work else self.size[value]
            if self.made[value] < to:
                return False
        return True

    def run(self, entries: list[FlowEntry], *, there: bool = False) -> int | None:
        """Run all rows in the C code's order; the first layer for which its single comparison is not enough, None where
        it is for all.

        `there`: every input is complete, whatever its height.
        """
        counts = [0] * (len(entries) + 1)
        rows_in = height_of(self.network, self.inputs[0])
        feeds: Iterator[int] = iter(range(1, rows_in + 1) if self.fed else (rows_in,))
        while True:
            for i in reversed(range(len(entries))):
                e = entries[i]
                row = counts[i + 1]
                if row < e.rows and counts[e.source] >= min(e.in_rows, row * e.stride + e.first):
                    if not self.complete(i, row):
                        return i
                    if self.works[i]:
                        self.run_row(i, row)
                    else:
                        self.run_whole(i)
                    counts[i + 1] += 1
                    break
            else:
                count = next(feeds, None)
                if count is None:
                    return next((i for i, e in enumerate(entries) if counts[i + 1] < e.rows), None)
                for value in self.inputs:
                    self.record(-1, value, self.size[value] * count // rows_in, {})
                counts[0] = 1 << 16 if there else count


def _places(network: Network) -> dict[int, int]:
    """Value -> its number in the C code's count of rows: inputs 0, the output of layer i i + 1."""
    inputs = dict.fromkeys((border.value for border in network.inputs), 0)
    return inputs | {layer.output: i + 1 for i, layer in enumerate(network.layers)}


def _streamed_run(
    network: Network, streamed: frozenset[int], fed: bool, starts: Sequence[int], *, keep: bool, there: bool = False
) -> tuple[_Simulation, list[FlowEntry]] | None:
    """A run of all rows and the table that it followed; None where the C code's way to choose the next row does not
    carry the network.

    A layer waits for the rows of one of its inputs: the last made, or, where others come later still (a shortcut that
    has a convolution of its own overtakes the block beside it), the next before it. `starts[i]`: the first layer of the
    segment in which layer i is; what was made before is there.
    """
    order = _places(network)
    inputs = [
        sorted({v for v in layer.inputs if order[v] > start} or set(layer.inputs), key=lambda v: order[v], reverse=True)
        for layer, start in zip(network.layers, starts, strict=True)
    ]
    while True:
        run = _Simulation(network, streamed, fed, keep=keep)
        entries = [run.entry(i, own[0], starts[i]) for i, own in enumerate(inputs)]
        if max(len(entries), *(max(e.rows, e.in_rows, e.first) for e in entries)) > LARGEST_COUNT:
            return None
        stuck = run.run(entries, there=there)
        if stuck is None:
            return run, entries
        if len(inputs[stuck]) == 1:
            return None
        del inputs[stuck][0]


def row_layers(network: Network) -> frozenset[int]:
    """The layers that can be streamed."""
    return frozenset(i for i, layer in enumerate(network.layers) if row_work(network, layer) is not None)


def simulate(
    network: Network,
    streamed: frozenset[int] = frozenset(),
    fed: bool = False,
    breaks: Sequence[int] = (),
    most: int | None = None,
) -> Flow | None:
    """The flow with these layers streamed; None where the C code's way to choose the next row does not carry it.

    breaks: layers that begin a segment, which waits for all layers before it. most: bytes alive at a time beyond which
    the flow is of no use; None then, too.
    """
    layers = tuple(layer if i in streamed else regroup_pointwise(layer) for i, layer in enumerate(network.layers))
    network = replace(network, layers=layers)
    if fed and len(network.inputs) > 1:
        return None
    if not streamed and not fed:
        return _flow(_run_whole(network), ())
    starts = [max((b for b in breaks if b <= i), default=0) for i in range(len(layers))]
    # Too much memory is found out without the steps in half the time.
    found = _streamed_run(network, streamed, fed, starts, keep=most is None)
    if found is None or (most is not None and found[0].peak > most):
        return None
    run, entries = found
    if most is not None:
        run = _Simulation(network, streamed, fed)
        run.run(entries)
    return _flow(run, tuple(entries))


def _run_whole(network: Network, keep: bool = True) -> _Simulation:
    """All layers one after the other."""
    run = _Simulation(network, frozenset(), False, keep=keep)
    for value in run.inputs:
        run.record(-1, value, run.size[value], {})
    for i in range(len(network.layers)):
        run.run_whole(i)
    return run


def whole_peak(network: Network) -> int:
    """The most bytes alive at a time where nothing is streamed."""
    layers = tuple(map(regroup_pointwise, network.layers))
    return _run_whole(replace(network, layers=layers), keep=False).peak


def segment_peak(network: Network, start: int, end: int, fed: bool) -> int | None:
    """The most bytes alive while layers [start, end) are streamed as far as they can be, everything before them made;
    None where they cannot be run."""
    made = {border.value for border in network.inputs} | {layer.output for layer in network.layers[:start]}
    outputs = {border.value for border in network.outputs}
    later = {value for layer in network.layers[end:] for value in layer.inputs} | outputs
    layers = network.layers[start:end]
    read = {value for layer in layers for value in layer.inputs}
    inside = {layer.output for layer in layers}

    def borders(values: Iterable[int]) -> tuple[Border, ...]:
        return tuple(Border(value, "", ()) for value in sorted(values))

    part = replace(
        network, layers=layers, inputs=borders(made & (read | later)), outputs=borders((made | inside) & later)
    )
    streamed, fed = row_layers(part), fed and start == 0
    found = _streamed_run(part, streamed, fed, [0] * len(layers), keep=False, there=not fed)
    return found and found[0].peak


def _flow(run: _Simulation, entries: tuple[FlowEntry, ...]) -> Flow:
    network = run.network
    pitch = {v: run.size[v] // height_of(network, v) for v in run.place}
    held = dict.fromkeys(run.place, 1)
    for step in run.steps:
        for v, (low, high) in step.live.items():
            held[v] = max(held[v], -(-high // pitch[v]) - low // pitch[v])
    sizes = {v: held[v] * pitch[v] for v in held}

    def places(v: int, low: int, high: int) -> tuple[int, int]:
        """Where bytes [low, high) of a value lie in the memory that holds it."""
        if sizes[v] == run.size[v]:
            return low, high
        first, last = low // pitch[v] % held[v], (high - 1) // pitch[v] % held[v]
        return (first * pitch[v], (last + 1) * pitch[v]) if first <= last else (0, sizes[v])

    spans: dict[int, tuple[int, int]] = {}
    distances: dict[tuple[int, int], int] = {}
    bound = 0
    for t, step in enumerate(run.steps):
        at = {v: places(v, *span) for v, span in step.live.items()}
        layer = network.layers[step.layer] if step.layer >= 0 else None
        output = step.output
        made = places(output, *step.written)
        shared = 0
        for v in at:
            spans[v] = (spans.get(v, (t, t))[0], t)
        for a, (_, end) in at.items():
            for b, (start, upto) in at.items():
                if a == b:
                    continue
                distance = end - start
                if a == output and b in step.last_read and in_place(layer, b, network):
                    # The row read is the first that lives of the input, and the row made the last of the output.
                    read = step.written[0] * run.size[b] // run.size[output]
                    first = step.live[b][0] == read and start == places(b, read, read + 1)[0]
                    if first and made[1] == end and _dies(run, step, b, t):
                        distance = made[0] - start
                        shared = max(shared, min(made[1] - made[0], upto - start))
                distances[a, b] = max(distance, distances.get((a, b), distance))
        bound = max(bound, sum(end - start for start, end in at.values()) - shared)
    layers = tuple(
        replace(layer, window=replace(layer.window, held=held[layer.inputs[0]]))
        if i in run.streamed and isinstance(layer, Convolution | Pool)
        else layer
        for i, layer in enumerate(network.layers)
    )
    network = replace(network, layers=layers)
    return Flow(
        network, run.streamed, run.fed, entries, held, sizes, spans, distances, bound, run.peak, tuple(run.steps)
    )


def _dies(run: _Simulation, step: Step, value: int, t: int) -> bool:
    """Whether what the step reads of a value is not read again."""
    following = next((later.live[value] for later in run.steps[t + 1 : t + 2] if value in later.live), None)
    return following is None or following[0] >= step.last_read[value]
