"""The memory plan: checked against a simulation that knows nothing of how the plan was found."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tfsparse.compiler.layers import Convolution, Pool, Window
from tfsparse.compiler.schedule import Block, conflict, lower_bound, plan_memory, write_lead


@st.composite
def some_blocks(draw: st.DrawFn) -> list[Block]:
    spans = draw(
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(1, 500)), min_size=1, max_size=12)
    )
    return [Block(key, size, first, first + length) for key, (first, length, size) in enumerate(spans)]


@given(some_blocks())
def test_no_two_live_blocks_overlap(blocks: list[Block]) -> None:
    plan = plan_memory(blocks, tries=20)
    for a, b in itertools.combinations(blocks, 2):
        if conflict(a, b):
            below = plan.offsets[a.key] + a.size <= plan.offsets[b.key]
            assert below or plan.offsets[b.key] + b.size <= plan.offsets[a.key]
    assert min(plan.offsets.values()) == 0
    assert plan.size == max(plan.offsets[block.key] + block.size for block in blocks)
    assert plan.size >= lower_bound(blocks, {})


@given(some_blocks())
def test_the_plan_is_the_same_every_time(blocks: list[Block]) -> None:
    assert plan_memory(blocks, tries=20) == plan_memory(list(blocks), tries=20)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=8))
def test_a_chain_needs_its_largest_neighbours_only(sizes: list[int]) -> None:
    blocks = [Block(i, size, max(0, i - 1), i) for i, size in enumerate(sizes)]
    assert plan_memory(blocks).size == max(a + b for a, b in itertools.pairwise(sizes))


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=8), st.integers(1, 300))
def test_distances_are_kept(links: list[tuple[int, int]], first: int) -> None:
    """A chain in which each block may begin `lead` below the one before it, while that is still alive."""
    sizes = [first, *(size for size, _ in links)]
    blocks = [Block(i, size, max(0, i - 1), i) for i, size in enumerate(sizes)]
    distances = {(i + 1, i): min(lead, size) for i, (size, lead) in enumerate(links)}
    plan = plan_memory(blocks, distances)
    for (lower, upper), lead in distances.items():
        low, high = plan.offsets[lower], plan.offsets[upper]
        assert low + lead <= high or high + sizes[upper] <= low
    assert plan.size <= max(sizes[i] + sizes[i + 1] for i in range(len(links)))
    assert plan.size >= lower_bound(blocks, distances)


@st.composite
def some_windows(draw: st.DrawFn) -> Window:
    height, kernel, stride = draw(st.integers(1, 12)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    dilation = draw(st.integers(1, 3))
    extent = (kernel - 1) * dilation + 1
    if draw(st.booleans()) or extent > height:
        out = -(-height // stride)
        pad = max(0, (out - 1) * stride + extent - height) // 2
    else:
        out, pad = (height - extent) // stride + 1, 0
    return Window(height, 4, out, 4, kernel, 1, stride, 1, dilation, 1, pad, 0)


@settings(max_examples=300)
@given(some_windows(), st.integers(1, 5), st.integers(1, 5))
def test_writing_behind_the_lead_destroys_nothing(window: Window, in_channels: int, out_channels: int) -> None:
    """Simulate a layer row by row on the bytes of one arena: no input byte may be gone when a row reads it."""
    pool = Pool(
        name="p", place="", inputs=(0,), output=1, kind="max_pool", window=window, channels=in_channels,
        lowest=-128, highest=127,
    )  # fmt: skip
    assert not isinstance(pool, Convolution)
    in_row, out_row = window.in_width * in_channels, window.out_width * out_channels
    in_size, out_size = window.in_height * in_row, window.out_height * out_row
    lead = write_lead(pool, in_size, out_size)
    assert 0 <= lead <= out_size
    written: set[int] = set()
    for row in range(window.out_height):
        # While a row is computed its own bytes are written, so they count as gone before any of it is read.
        written.update(range(row * out_row, (row + 1) * out_row))
        for tap in range(window.kernel_height):
            y = row * window.stride_height - window.pad_top + tap * window.dilation_height
            if 0 <= y < window.in_height:
                assert written.isdisjoint(range(lead + y * in_row, lead + (y + 1) * in_row))
