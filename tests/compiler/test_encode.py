"""Weight formats and narrow constants lose nothing and take no more bytes than they must."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsparse.compiler.encode import (
    ChannelFormat,
    bitmap,
    dense,
    encode,
    pack_channels,
    unpack_bitmap,
    unpack_channels,
)
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import FullyConnected

WEIGHTS = hnp.arrays(
    np.int8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
    elements=st.just(0) | st.integers(-128, 127),
)


def layer_of(weights: np.ndarray, bias: np.ndarray | None = None) -> FullyConnected:
    outputs = len(weights)
    return FullyConnected(
        name="dense1", place="", inputs=(0,), output=1, weights=weights, rows=1, input_zero=0, output_zero=0,
        bias=np.zeros(outputs, np.int32) if bias is None else bias, lowest=-128, highest=127,
        multipliers=(Multiplier(1 << 30, -5),) * outputs,
    )  # fmt: skip


@given(WEIGHTS)
def test_bitmap_round_trip(weights: np.ndarray) -> None:
    values, bits = bitmap(weights)
    assert 0 not in values.values
    assert bits.size == -(-weights.size // 8)
    np.testing.assert_array_equal(unpack_bitmap(values.values, bits.values, weights.size), weights.reshape(-1))


@given(WEIGHTS)
def test_the_smaller_format_is_chosen_by_exact_bytes(weights: np.ndarray) -> None:
    encoded = encode(layer_of(weights))
    size = sum(table.size for table in encoded.tables if table.role in ("weights", "bitmap"))
    assert size == min(weights.size, np.count_nonzero(weights) + -(-weights.size // 8))
    if encoded.format == "dense":
        np.testing.assert_array_equal(dense(weights)[0].values, weights.reshape(-1))


MULTIPLIER = st.builds(Multiplier, st.integers(1 << 30, (1 << 31) - 1), st.integers(-31, 30))


@given(
    st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200), MULTIPLIER), min_size=1, max_size=9)
)
def test_channel_constants_round_trip(channels: list[tuple[int, Multiplier]]) -> None:
    bias = np.array([bias for bias, _ in channels], np.int32)
    multipliers = tuple(multiplier for _, multiplier in channels)
    packed, form = pack_channels(bias, multipliers)
    assert packed.size == -(-len(channels) * (form.bias_bits + form.mantissa_bits + form.shift_bits) // 8)
    again, found = unpack_channels(packed, form, len(channels))
    np.testing.assert_array_equal(again, bias)
    assert found == multipliers


def test_channel_constants_take_only_the_bits_they_need() -> None:
    same = (Multiplier(3 << 29, -7), Multiplier(1 << 30, -7))
    _, form = pack_channels(np.array([-4, 3], np.int32), same)
    assert form == ChannelFormat(bias_bits=3, mantissa_bits=1, shift_bits=0, shift_base=7)
    _, form = pack_channels(np.zeros(2, np.int32), (Multiplier(1 << 30, 2), Multiplier(1 << 30, -1)))
    assert form == ChannelFormat(bias_bits=0, mantissa_bits=0, shift_bits=2, shift_base=-2)


def test_no_bytes_for_constants_that_say_nothing() -> None:
    assert encode(layer_of(np.ones((3, 4), np.int8))).table("constants") is None
