"""Weight formats and narrow constants lose nothing and take no more bytes than they must."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsparse.compiler.encode import bitmap, dense, encode, narrowest, unpack_bitmap
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


@given(hnp.arrays(np.int32, st.integers(1, 30), elements=st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200)))
def test_narrow_integers_are_the_same_and_as_narrow_as_can_be(values: np.ndarray) -> None:
    narrow = narrowest(values)
    np.testing.assert_array_equal(narrow, values)
    half = {2: np.int8, 4: np.int16}.get(narrow.itemsize)
    assert half is None or values.min() < np.iinfo(half).min or values.max() > np.iinfo(half).max


def test_no_bytes_for_biases_that_are_all_zero() -> None:
    weights = np.ones((3, 4), np.int8)
    assert encode(layer_of(weights)).table("bias") is None
    assert encode(layer_of(weights, np.array([0, 0, 5], np.int32))).table("bias").size == 3
