"""The memory plan and the order of rows: checked against a replay that knows nothing of how they were found."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.grid import Grid
from tfsparse.compiler.layers import Add, Border, Convolution, Layer, Network, Pool, Value, Window
from tfsparse.compiler.rows import Flow, channelwise, height_of, row_work, simulate, window_work
from tfsparse.compiler.schedule import Block, Plan, place, plan_flow, plan_network, plan_rows

CHANNELS = 2


@st.composite
def some_blocks(draw: st.DrawFn) -> list[Block]:
    spans = draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(1, 500)), min_size=1, max_size=12)
    )
    return [Block(key, size, first, first + length) for key, (first, length, size) in enumerate(spans)]


def apart(blocks: list[Block]) -> dict[tuple[int, int], int]:
    """Distances that keep blocks alive together from touching."""
    pairs = itertools.permutations(blocks, 2)
    return {(a.key, b.key): a.size for a, b in pairs if a.first <= b.last and b.first <= a.last}


@settings(deadline=None)
@given(some_blocks())
def test_no_two_live_blocks_overlap(blocks: list[Block]) -> None:
    distances = apart(blocks)
    plan = place(blocks, distances, tries=20)
    sizes = {block.key: block.size for block in blocks}
    for a, b in distances:
        below = plan.offsets[a] + sizes[a] <= plan.offsets[b]
        assert below or plan.offsets[b] + sizes[b] <= plan.offsets[a]
    assert min(plan.offsets.values()) == 0
    assert plan.size == max(plan.offsets[block.key] + block.size for block in blocks)


@settings(deadline=None)
@given(some_blocks())
def test_the_plan_is_the_same_every_time(blocks: list[Block]) -> None:
    assert place(blocks, apart(blocks), tries=20) == place(list(blocks), apart(blocks), tries=20)


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), min_size=2, max_size=8))
def test_a_chain_needs_its_largest_neighbours_only(sizes: list[int]) -> None:
    blocks = [Block(i, size, max(0, i - 1), i) for i, size in enumerate(sizes)]
    assert place(blocks, apart(blocks)).size == max(a + b for a, b in itertools.pairwise(sizes))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(-50, 300)), min_size=1, max_size=8), st.integers(1, 300))
def test_distances_are_kept(links: list[tuple[int, int]], first: int) -> None:
    """A chain in which each block may begin `lead` below the one before it, while that is still alive."""
    sizes = [first, *(size for size, _ in links)]
    blocks = [Block(i, size, max(0, i - 1), i) for i, size in enumerate(sizes)]
    leads = {(i + 1, i): min(lead, size) for i, (size, lead) in enumerate(links)}
    plan = place(blocks, apart(blocks) | leads)
    for (lower, upper), lead in leads.items():
        low, high = plan.offsets[lower], plan.offsets[upper]
        assert low + lead <= high or high + sizes[upper] <= low
    assert plan.size <= max(sizes[i] + sizes[i + 1] for i in range(len(links)))


def pool(i: int, source: int, window: Window) -> Pool:
    return Pool(
        name=f"p{i}", place="", inputs=(source,), output=i, kind="max_pool", window=window, channels=CHANNELS,
        lowest=-128, highest=127,
    )  # fmt: skip


def depthwise(i: int, source: int, window: Window) -> Convolution:
    taps, one = window.kernel_height * window.kernel_width, Multiplier(1 << 30, 0)
    return Convolution(
        name=f"c{i}", place="", inputs=(source,), output=i, weights=np.ones((CHANNELS, taps), np.int8),
        bias=np.zeros(CHANNELS, np.int32), multipliers=(one,) * CHANNELS, input_zero=0, output_zero=0, lowest=-128,
        highest=127, window=window, in_channels=CHANNELS, out_channels=CHANNELS, run=1, per_group=1,
    )  # fmt: skip


def add(i: int, sources: tuple[int, int], size: int) -> Add:
    one = Multiplier(1 << 30, 0)
    return Add(
        name=f"a{i}", place="", inputs=sources, output=i, grid=Grid((size,), ((1,), (1,))), constant=None,
        constant_at=1, input_zeros=(0, 0), input_multipliers=(one, one), output_multiplier=one, output_zero=0,
        lowest=-128, highest=127,
    )  # fmt: skip


@st.composite
def some_networks(draw: st.DrawFn) -> Network:
    """Windows one after the other over maps of two channels, with sums of a map and one made of it here and there."""
    height, width = draw(st.integers(2, 14)), draw(st.integers(1, 5))
    values = [Value(0, "x", (1, height, width, CHANNELS), 1.0, 0)]
    layers: list[Layer] = []
    for i in range(1, draw(st.integers(1, 7)) + 1):
        before = [v.index for v in values[:-1] if v.shape == values[-1].shape]
        if before and draw(st.booleans()):
            other = draw(st.sampled_from(before))
            layers.append(add(i, draw(st.permutations([other, i - 1])), values[-1].size))
            values.append(Value(i, "", values[-1].shape, 1.0, 0))
            continue
        height = values[-1].shape[1]
        kernel, stride, dilation = draw(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)))
        if draw(st.booleans()):
            kernel, stride = 3, 1
        extent = (kernel - 1) * dilation + 1
        if draw(st.booleans()) or extent > height:
            out = -(-height // stride)
            pad = max(0, (out - 1) * stride + extent - height) // 2
        else:
            out, pad = (height - extent) // stride + 1, 0
        make = draw(st.sampled_from([pool, depthwise, depthwise]))
        layers.append(make(i, i - 1, Window(height, width, out, width, kernel, 1, stride, 1, dilation, 1, pad, 0)))
        values.append(Value(i, "", (1, out, width, CHANNELS), 1.0, 0))
    last = values[-1]
    return Network(
        values={v.index: v for v in values}, layers=tuple(layers), inputs=(Border(0, "x", values[0].shape),),
        outputs=(Border(last.index, "y", last.shape),),
    )  # fmt: skip


ALL = slice(None)


class Replay:
    """Runs a plan on an arena whose bytes know what they are, as the C code does: by counts of rows and the table."""

    def __init__(self, flow: Flow, plan: Plan) -> None:
        self.flow, self.plan, self.arena = flow, plan, [None] * plan.size

    def row(self, value: int, row: int) -> range:
        size = self.flow.row_size(value)
        if table := self.flow.tables.get(value):
            return range(self.plan.tables[table][row], self.plan.tables[table][row] + size)
        at = self.plan.offsets[value] + row % self.flow.held[value] * size
        return range(at, at + size)

    def write(self, value: int, row: int, part: slice = ALL) -> None:
        for n, at in list(enumerate(self.row(value, row)))[part]:
            self.arena[at] = (value, row, n)

    def check(self, value: int, row: int, part: slice = ALL) -> None:
        for n, at in list(enumerate(self.row(value, row)))[part]:
            assert self.arena[at] == (value, row, n), f"row {row} of value {value} is gone"

    def make(self, i: int, row: int) -> None:
        """Row `row` of layer i: where it works byte by byte, reading and writing go hand in hand."""
        layer, network = self.flow.network.layers[i], self.flow.network
        if isinstance(layer, Add):
            for n in range(self.flow.row_size(layer.output)):
                for value in layer.inputs:
                    assert self.arena[self.row(value, row)[n]] == (value, row, n)
                self.arena[self.row(layer.output, row)[n]] = (layer.output, row, n)
            return
        work, (value,) = window_work(layer), layer.inputs
        # Channel after channel where these do not mix. Bytes count as gone before anything is read for them; only where
        # the kernel reads all that it needs of a channel first they do not.
        parts = [slice(c, None, CHANNELS) for c in range(CHANNELS)] if channelwise(layer) else [slice(None)]
        for part in parts:
            if not channelwise(layer):
                self.write(layer.output, row)
            for y in range(*work.reads(row)):
                assert 0 <= y < height_of(network, value)
                self.check(value, y, part)
            self.write(layer.output, row, part)

    def feed(self, rows: range) -> None:
        for row in rows:
            self.write(self.flow.input, row)

    def run(self) -> None:
        flow, layers = self.flow, self.flow.network.layers
        if not flow.entries:
            self.feed(range(flow.input_rows))
            for i, layer in enumerate(layers):
                for row in range(height_of(flow.network, layer.output)):
                    self.make(i, row)
        made = [0] * (len(layers) + 1)
        for fed in range(flow.input_rows) if flow.entries else ():
            if flow.fed:
                self.feed(range(fed, fed + 1))
            elif fed == 0:
                self.feed(range(flow.input_rows))
            made[0] = fed + 1 if flow.fed else flow.input_rows
            while True:
                for i in reversed(range(len(layers))):
                    e = flow.entries[i]
                    row = made[i + 1]
                    if row < e.rows and made[e.source] >= min(e.in_rows, row * e.stride + e.first):
                        break
                else:
                    break
                for r in [row] if i in flow.streamed else range(height_of(flow.network, layers[i].output)):
                    self.make(i, r)
                made[i + 1] += 1
        output = flow.network.outputs[0].value
        for row in range(height_of(flow.network, output)):
            self.check(output, row)


@settings(max_examples=300, deadline=None)
@given(some_networks(), st.booleans(), st.data())
def test_no_living_byte_is_overwritten(network: Network, fed: bool, data: st.DataObject) -> None:
    can = [i for i, layer in enumerate(network.layers) if row_work(network, layer) is not None]
    streamed = frozenset(data.draw(st.lists(st.sampled_from(can)))) if can else frozenset()
    flow = simulate(network, streamed, fed)
    assume(flow is not None)
    plan = plan_flow(flow, tries=20)
    assert plan.size >= flow.bound
    Replay(flow, plan).run()


@settings(max_examples=100, deadline=None)
@given(some_networks(), st.booleans())
def test_rows_that_lie_anywhere(network: Network, fed: bool) -> None:
    """No living byte is overwritten, and little more memory is taken than is alive at a time."""
    found = plan_rows(network, fed)
    assume(found is not None)
    flow, plan = found
    assert flow.peak <= plan.size <= max(1.05 * flow.peak, flow.peak + 3 * max(map(flow.row_size, flow.spans)))
    Replay(flow, plan).run()


@settings(max_examples=100, deadline=None)
@given(some_networks(), st.booleans())
def test_streaming_never_costs_memory(network: Network, fed: bool) -> None:
    flow, plan = plan_network(network, "balanced", fed)
    plain = plan_flow(simulate(network))
    assert plan.size <= plain.size
    Replay(flow, plan).run()
    assert plan_network(network, "balanced", fed) == (flow, plan)


def test_rows_of_a_deep_chain_need_far_less_than_its_maps() -> None:
    """Six 3x3 windows over 28 rows: three rows of each map instead of two whole maps."""
    window = Window(28, 28, 28, 28, 3, 3, pad_top=1, pad_left=1)
    values = {i: Value(i, "", (1, 28, 28, 1), 1.0, 0) for i in range(7)}
    last = Window(28, 28, 2, 28, 14, 1, stride_height=14)
    values[7] = Value(7, "", (1, 2, 28, 1), 1.0, 0)
    layers = (*(pool(i, i - 1, window) for i in range(1, 7)), pool(7, 6, last))
    network = Network(values, layers, (Border(0, "x", (1, 28, 28, 1)),), (Border(7, "y", (1, 2, 28, 1)),))
    assert plan_flow(simulate(network)).size >= 28 * 28
    assert plan_network(network, fed=True)[1].size <= (6 * 3 + 14 + 2) * 28
