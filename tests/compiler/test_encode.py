"""Weight formats and narrow constants lose nothing and take no more bytes than they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks.formats import entropy, random_weights
from support.read_stream import read
from tfsparse.compiler.encode import (
    FORMATS,
    PLAIN,
    BiasForm,
    ChannelFormat,
    Encoded,
    bias_may_grow,
    channel_format,
    choices,
    encode_weighted,
    unit_of,
)
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import FullyConnected

FEW = st.sampled_from([0, 0, 0, 0, -127, 3, 64])
WEIGHTS = hnp.arrays(
    np.int8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
    elements=st.one_of(st.just(0) | st.integers(-128, 127), FEW, st.integers(-4, 3)),
)


def layer_of(weights: np.ndarray, bias: np.ndarray | None = None, multipliers: tuple = ()) -> FullyConnected:
    outputs = len(weights)
    return FullyConnected(
        name="dense1", place="", inputs=(0,), output=1, weights=weights, rows=1, input_zero=0, output_zero=0,
        bias=np.zeros(outputs, np.int32) if bias is None else bias, lowest=-128, highest=127,
        multipliers=multipliers or (Multiplier(1 << 30, -5),) * outputs,
    )  # fmt: skip


def encode(layer: FullyConnected, name: str, bias_form: BiasForm = PLAIN) -> Encoded:
    return encode_weighted(layer, name, choices(layer, [name]), bias_form)


def check(layer: FullyConnected, encoded: Encoded) -> None:
    """All comes back, and the weights take the bytes they are said to take."""
    weights, bias, multipliers, bits = read(encoded, *layer.weights.shape)
    np.testing.assert_array_equal(weights, layer.weights)
    np.testing.assert_array_equal(bias, layer.bias)
    assert multipliers == layer.multipliers
    if encoded.coding:
        form = channel_format(layer.bias, layer.multipliers)
        bits -= len(layer.bias) * (form.bias_bits + form.mantissa_bits + form.shift_bits)
        if encoded.channels.bias_form == PLAIN:
            assert encoded.alternatives[encoded.format] == -(-bits // 8) + len(encoded.coding.codebook or ())


@pytest.mark.parametrize("name", FORMATS)
@given(weights=WEIGHTS)
@settings(max_examples=60, deadline=None)
def test_every_format_round_trips(name: str, weights: np.ndarray) -> None:
    layer = layer_of(weights)
    check(layer, encode(layer, name))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("places", [(), (0,), (69_999,), (3, 60_000)], ids=str)
@pytest.mark.parametrize("value", [1, -128])
def test_gaps_longer_than_the_window(name: str, places: tuple[int, ...], value: int) -> None:
    weights = np.zeros((7, 10_000), np.int8)
    weights.reshape(-1)[list(places)] = value
    layer = layer_of(weights)
    check(layer, encode(layer, name))


MULTIPLIER = st.builds(Multiplier, st.integers(1 << 30, (1 << 31) - 1), st.integers(-31, 30))


@given(
    st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200), MULTIPLIER), min_size=1, max_size=9),
    st.sampled_from(["dense", "bitmap"]),
    st.sampled_from(["plain", "grows", "units"]),
)
@settings(deadline=None)
def test_channel_constants_round_trip(channels: list[tuple[int, Multiplier]], name: str, how: str) -> None:
    bias = np.array([bias for bias, _ in channels], np.int32)
    layer = layer_of(np.ones((len(bias), 2), np.int8), bias, tuple(multiplier for _, multiplier in channels))
    form = BiasForm(how == "grows" and bias_may_grow(layer), unit_of(layer) if how == "units" else None)
    check(layer, encode(layer, name, form))


def test_channel_constants_take_only_the_bits_they_need() -> None:
    same = (Multiplier(3 << 29, -7), Multiplier(1 << 30, -7))
    form = channel_format(np.array([-4, 3], np.int32), same)
    assert form == ChannelFormat(bias_bits=3, mantissa_bits=1, shift_bits=0, shift_base=7)
    form = channel_format(np.zeros(2, np.int32), (Multiplier(1 << 30, 2), Multiplier(1 << 30, -1)))
    assert form == ChannelFormat(bias_bits=0, mantissa_bits=0, shift_bits=2, shift_base=-2)
    far = (Multiplier(1 << 30, -7), Multiplier(1 << 30, -10))
    grows = BiasForm(grows=True)
    form = channel_format(np.array([7, -63], np.int32), far, grows)
    assert form == ChannelFormat(bias_bits=4, mantissa_bits=0, shift_bits=2, shift_base=7, bias_form=grows)
    layer = layer_of(np.ones((2, 1), np.int8), np.array([6 << 4, -7 << 7], np.int32), far)
    assert unit_of(layer) == 3
    form = channel_format(layer.bias, far, BiasForm(unit=3))
    assert (form.bias_bits, form.widest) == (4, 6)  # 6 times 16, and -7 times 128


def each(weights: np.ndarray) -> dict[str, float]:
    """Bytes for each non-zero weight in each format; constants left out."""
    return {name: size / np.count_nonzero(weights) for name, size in choices(layer_of(weights), FORMATS).sizes.items()}


@pytest.mark.parametrize("zeros", [0.5, 0.8, 0.9, 0.95])
def test_close_to_the_entropy(zeros: float) -> None:
    """Of random weights and of those that training brought down to 16 values; the bitmap needs 2.25 bytes at 90 %."""
    found = each(random_weights(zeros))
    assert min(found.values()) < entropy(zeros, 8) * 1.02
    assert each(random_weights(zeros, 16))["clusters"] < entropy(zeros, 4) * 1.03
    if zeros == 0.9:
        assert min(found.values()) < 1.6 < 1.75 < 2.2 < found["bitmap"]
        assert each(random_weights(zeros, 16))["clusters"] < 1.1


def test_values_of_few_bits_take_few_bits() -> None:
    weights = np.random.default_rng(0).integers(-4, 4, (20, 40)).astype(np.int8)
    sizes = choices(layer_of(weights), FORMATS).sizes
    assert sizes["packed"] == 300 and sizes["dense"] == 800
    assert sizes["clusters"] == 308
