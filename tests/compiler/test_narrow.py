"""Narrow multipliers: the same output for every sum that can occur, checked sum by sum with the plain formulas."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tfsparse.compiler.fixedpoint import Multiplier, scale, scale_once
from tfsparse.compiler.narrow import narrow_multiplier, roundest

MULTIPLIERS = st.builds(Multiplier, st.integers(1 << 30, (1 << 31) - 1), st.integers(-14, 0))


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


def test_it_saves_bits() -> None:
    """Sums of some thousands need nothing like 31 bits."""
    narrow = narrow_multiplier(Multiplier(1_394_797_102, -6), (-3000, 3000), (-128, 127), once=False)
    assert trailing_zeros(narrow.mantissa) >= 8
