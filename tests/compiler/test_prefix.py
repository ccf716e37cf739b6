"""Prefix codes are as short as they can be, and a model's layers share one where that pays for its table."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.reference import reference_bytes
from support.run_c import GCC, run_on
from support.weighted import network
from tfsparse.compiler import build_program, compile_model
from tfsparse.compiler.prefix import LONGEST, PrefixCode, code_lengths, only_code, prefix_code


def huffman_bits(counts: list[int]) -> int:
    """Of the shortest code without a limit: the sum of all merged counts."""
    heap, total = sorted(counts), 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def decoded(code: PrefixCode, weights: np.ndarray) -> list[int]:
    """What the table says of the fields' bits, one after the other."""
    values, bits = code.fields(weights)
    stream, at, found = 0, 0, []
    for value, width in zip(values.tolist(), bits.tolist(), strict=True):
        stream |= value << at
        at += width
    while len(found) < len(weights):
        value, length = divmod(int(code.table[stream & (len(code.table) - 1)]), 8)
        if length == 0:
            stream, length = stream >> value, 8
            value = (stream & 0xFF ^ 0x80) - 0x80
        found.append(value)
        stream >>= length
    assert stream == 0
    return found


@given(st.lists(st.integers(-16, 15) | st.integers(-3, 3) | st.integers(-128, 127), min_size=1, max_size=400))
@settings(deadline=None)
def test_codes_come_back_and_fill_the_table(values: list[int]) -> None:
    weights = np.array(values, np.int64)
    code = only_code([weights.astype(np.int8)])
    assert decoded(code, weights) == values
    assert max(code.lengths) <= LONGEST
    assert code.has_escape == any(value < -16 or value > 15 for value in values)
    assert len(code.values) == 1 or sum(2.0**-length for length in code.lengths) == 1


COUNTS = st.lists(st.integers(1, 60), min_size=2, max_size=17)


@given(COUNTS)
@settings(deadline=None)
def test_as_short_as_huffmans_where_the_limit_allows(counts: list[int]) -> None:
    assert np.dot(counts, code_lengths(counts, len(counts))) == huffman_bits(counts)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.integers(0, 1))
@settings(deadline=None, max_examples=40)
def test_no_code_of_limited_length_is_shorter(counts: list[int], spare: int) -> None:
    longest = (len(counts) - 1).bit_length() + spare
    lengths = code_lengths(counts, longest)
    assert max(lengths) <= longest
    possible = itertools.product(range(1, longest + 1), repeat=len(counts))
    codes = [each for each in possible if sum(2.0**-length for length in each) <= 1]
    assert np.dot(counts, lengths) == min(np.dot(counts, each) for each in codes)


def levels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights on seven levels, as a normal distribution's largest magnitude sets them."""
    weights = rng.normal(0, 1, shape)
    return np.rint(3 * weights / np.abs(weights).max(axis=1, keepdims=True)).astype(np.int8)


def test_close_to_the_entropy() -> None:
    weights = levels(np.random.default_rng(0), (30, 60))
    share = np.unique(weights, return_counts=True)[1] / weights.size
    entropy = float(-(share * np.log2(share)).sum() * weights.size / 8)
    code = prefix_code([weights], [weights.size * 3 // 8])
    size = code.fields(weights.reshape(-1).astype(np.int64))[1].sum() / 8
    assert size < 1.04 * entropy and size + len(code.table) < 0.85 * weights.size * 3 / 8


def test_no_code_where_it_does_not_pay() -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(-4, 4, (20, 40)).astype(np.int8)  # as random as three bits are
    assert prefix_code([flat], [300]) is None
    few = levels(rng, (2, 20))
    assert prefix_code([few], [15]) is None  # too few to pay for any table
    many = levels(rng, (20, 60))
    together = prefix_code([many, flat], [450, 300])
    assert together == prefix_code([many], [450])  # what another layer brings would make codes longer
    assert not together.says(flat) and together.says(many)


def test_layers_share_a_table() -> None:
    program = build_program(network("seven levels", size=24), "x", "size", formats=["prefix"])
    encoded = list(program.encoded.values())
    assert len(encoded) == 4 and len({each.coding.prefix for each in encoded}) == 1
    held = [table for each in encoded if (table := each.table("prefix")) is not None]
    assert len(held) == 1 and held[0].size == 1 << encoded[0].coding.prefix.longest
    streams = sum(each.table("stream").size for each in encoded)
    assert sum(each.payload for each in encoded) == streams + held[0].size


@pytest.mark.parametrize("optimize", ["size", "balanced"])
def test_levels_of_a_network_get_a_code(optimize: str, tmp_path) -> None:
    """On the host byte for byte what TFLite computes; and a good part smaller than without."""
    if reason := GCC.missing():
        pytest.skip(reason)
    tflite = network("seven levels", size=40)
    model = compile_model(tflite, tmp_path / "model", optimize=optimize)
    assert {"prefix"} <= {layer.format for layer in model.layers if layer.weights}
    others = ["dense", "packed", "bitmap", "gaps", "clusters"]
    without = compile_model(tflite, tmp_path / "without", optimize=optimize, formats=others)
    assert model.payload < 0.92 * without.payload
    inputs = np.random.default_rng(0).integers(-128, 128, (4, *model.input_shape)).astype(np.int8)
    found = run_on(GCC, [model], [inputs], tmp_path / "run")[0]
    wanted = reference_bytes(tflite, model, inputs.reshape(4, -1))
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
