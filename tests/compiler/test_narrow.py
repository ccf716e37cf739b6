"""Narrow multipliers: the same output for every sum that can occur, checked sum by sum with the plain formulas."""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsparse.compiler.fixedpoint import Multiplier, scale, scale_once
from tfsparse.compiler.layers import Convolution, FullyConnected, Window
from tfsparse.compiler.narrow import (
    OFFSETS,
    mantissa_interval,
    narrow_mantissa,
    narrow_multiplier,
    roundest,
    settle_dead_channels,
)

MULTIPLIERS = st.builds(Multiplier, st.integers(1 << 30, (1 << 31) - 1), st.integers(-14, 4))


def trailing_zeros(x: int) -> int:
    return (x & -x).bit_length() - 1


@given(st.integers(1, 1 << 31), st.integers(0, 1 << 20))
def test_roundest(low: int, span: int) -> None:
    found = roundest(low, low + span)
    assert low <= found <= low + span
    zeros = trailing_zeros(found)
    assert (low + span) >> (zeros + 1) == (low - 1) >> (zeros + 1)  # no multiple of twice as much in between


@settings(max_examples=150, deadline=None)
@given(
    MULTIPLIERS,
    st.integers(-4000, 4000),
    st.integers(0, 5000),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.booleans(),
)
def test_no_sum_in_reach_changes(by: Multiplier, least: int, span: int, zero: int, lowest: int, once: bool) -> None:
    outputs = (lowest - zero, 127 - zero)
    narrow = narrow_multiplier(by, (least, least + span), outputs, once)
    assert narrow.shift == by.shift
    assert trailing_zeros(narrow.mantissa) >= trailing_zeros(by.mantissa)
    formula = scale_once if once else scale
    for x in range(least, least + span + 1):
        old, new = (min(max(formula(x, m), outputs[0]), outputs[1]) for m in (by, narrow))
        assert old == new, x


@settings(max_examples=60, deadline=None)
@given(MULTIPLIERS, st.integers(-4000, 4000), st.integers(0, 3000), st.sampled_from(OFFSETS), st.booleans())
def test_an_offset_changes_no_sum_either(by: Multiplier, least: int, span: int, offset: int, once: bool) -> None:
    reach, outputs = (least, least + span), (-128, 127)
    interval, shift = mantissa_interval(by, reach, outputs, once)
    mantissa = narrow_mantissa(interval, offset)
    if mantissa is None:
        assert interval[1] - offset < 1 << 30
        return
    assert mantissa - offset >= 1 << 30
    formula = scale_once if once else scale
    for x in range(reach[0], reach[1] + 1):
        old, new = (min(max(formula(x, m), -128), 127) for m in (by, Multiplier(mantissa, shift)))
        assert old == new, x


def test_it_saves_bits() -> None:
    """Sums of some thousands need nothing like 31 bits."""
    narrow = narrow_multiplier(Multiplier(1_394_797_102, -6), (-3000, 3000), (-128, 127), once=False)
    assert trailing_zeros(narrow.mantissa) >= 8


@given(st.integers(-(2**29), 2**29), st.integers(-30, 2), st.integers(-128, 127), st.booleans())
def test_dead_channels_keep_their_output(bias: int, shift: int, zero: int, once: bool) -> None:
    kind = partial(FullyConnected, rows=1)
    window = Window(1, 1, 1, 1, 1, 1)
    if not once:
        kind = partial(Convolution, window=window, in_channels=2, out_channels=2, run=2, per_group=2)
    layer = kind(
        name="x", place="", inputs=(0,), output=1, weights=np.array([[0, 0], [3, -4]], np.int8),
        bias=np.array([bias, 7], np.int32), multipliers=(Multiplier(1_394_797_102, shift), Multiplier(1 << 30, -9)),
        input_zero=-3, output_zero=zero, lowest=-128, highest=127,
    )  # fmt: skip
    formula = scale_once if once else scale
    settled = settle_dead_channels(layer)
    before, after = (min(max(formula(int(x.bias[0]), x.multipliers[0]) + zero, -128), 127) for x in (layer, settled))
    assert before == after
    assert settled.multipliers == (Multiplier(1 << 30, -9), Multiplier(1 << 30, -9))
    assert abs(int(settled.bias[0])) <= 255 << 10 and settled.bias[1] == 7
