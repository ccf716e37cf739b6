"""The rewrites change no output: random candidates, randomly pruned, before and after."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.candidates import candidates
from tfsparse.build import channel_ranges, inference_model
from tfsparse.network import WEIGHTED, Infeasible, Network, Op, network_of
from tfsparse.rewrite import OpWeights, centre, compact, equalise, nonzero

SHAPE = (12, 12, 2)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def pruned_weights(network: Network, seed: int, sparsity: float) -> dict[str, OpWeights]:
    """Random weights of which `sparsity` are zero, with whole channels and units among them."""
    rng = np.random.default_rng(seed)
    weights = {}
    for op in network.ops:
        if op.kind in WEIGHTED:
            shape = network.kernel_shape(op)
            kernel = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
            kernel *= rng.random(shape) >= sparsity
            kernel[..., rng.random(shape[-1]) < sparsity / 2] = 0
            if op.kind != "depthwise":
                kernel[..., rng.random(shape[-2]) < sparsity / 2, :] = 0
            bias = rng.normal(size=shape[-1]) * (rng.random(shape[-1]) < 0.7)
            weights[op.name] = OpWeights(kernel.astype(np.float32), bias.astype(np.float32))
    return weights


def logits(network: Network, weights: dict[str, OpWeights], images: np.ndarray) -> np.ndarray:
    return np.asarray(inference_model(network, weights)(images))


def build(candidate, seed: int, sparsity: float):
    try:
        network = network_of(candidate, SHAPE, classes=3)
    except Infeasible:
        return None
    images = np.random.default_rng(seed).random((4, *SHAPE), dtype=np.float32)
    return network, pruned_weights(network, seed, sparsity), images


@FEW
@given(candidates(), st.integers(0, 99), st.sampled_from([0.0, 0.5, 0.9]))
def test_compaction_changes_no_output_and_only_removes(candidate, seed, sparsity):
    if (built := build(candidate, seed, sparsity)) is None:
        return
    network, weights, images = built
    smaller, kept = compact(network, weights)
    np.testing.assert_allclose(logits(smaller, kept, images), logits(network, weights, images), atol=1e-5, rtol=1e-5)
    assert nonzero(kept) <= nonzero(weights)
    assert smaller.weight_count <= network.weight_count
    assert smaller.memory_bound <= network.memory_bound


@FEW
@given(candidates(), st.integers(0, 99), st.sampled_from([0.5, 1.0]))
def test_centring_and_equalising_change_no_output(candidate, seed, strength):
    if (built := build(candidate, seed, 0.5)) is None:
        return
    network, weights, images = built
    before = logits(network, weights, images)
    centred = centre(network, weights, channel_ranges(network, weights, images))
    np.testing.assert_allclose(logits(network, centred, images), before, atol=2e-5, rtol=1e-4)
    equal = equalise(network, centred, channel_ranges(network, centred, images), strength)
    np.testing.assert_allclose(logits(network, equal, images), before, atol=2e-5, rtol=1e-4)
    for name, w in weights.items():
        assert np.array_equal(equal[name].kernel == 0, w.kernel == 0), "a pruned weight came back"


def chain(*ops: Op) -> Network:
    named = [Op("image", "input"), *ops]
    return Network(tuple(named), (8, 8, 1))


def test_compaction_removes_an_unread_channel_and_all_that_fed_it():
    network = chain(
        Op("a", "conv", ("image",), channels=4, kernel=(3, 3), activation="relu"),
        Op("b", "depthwise", ("a",), kernel=(3, 3)),
        Op("c", "flatten", ("b",)),
        Op("logits", "dense", ("c",), channels=2),
    )
    weights = pruned_weights(network, seed=1, sparsity=0.0)
    weights["logits"].kernel.reshape(8, 8, 4, 2)[:, :, 2] = 0
    smaller, kept = compact(network, weights)
    assert [smaller.shapes[name][-1] for name in ("a", "b", "c")] == [3, 3, 192]
    assert kept["a"].kernel.shape == (3, 3, 1, 3)
    assert kept["logits"].kernel.shape == (192, 2)


def test_compaction_drops_taps_that_only_see_padding():
    network = chain(
        Op("small", "average_pool", ("image",), kernel=(8, 8), stride=8, padding="valid"),
        Op("a", "conv", ("small",), channels=2, kernel=(5, 5)),
        Op("c", "flatten", ("a",)),
        Op("logits", "dense", ("c",), channels=2),
    )
    _, kept = compact(network, pruned_weights(network, seed=1, sparsity=0.0))
    assert np.count_nonzero(kept["a"].kernel) <= 2


def test_equalising_brings_unequal_channels_together():
    network = chain(
        Op("a", "conv", ("image",), channels=3, activation="relu"),
        Op("b", "depthwise", ("a",), kernel=(3, 3)),
        Op("c", "flatten", ("b",)),
        Op("logits", "dense", ("c",), channels=2),
    )
    weights = pruned_weights(network, seed=3, sparsity=0.0)
    weights["a"] = OpWeights(np.array([[[[1.0, 0.01, 30.0]]]], np.float32), np.zeros(3, np.float32))
    images = np.random.default_rng(0).random((16, 8, 8, 1), dtype=np.float32)
    equal = equalise(network, weights, channel_ranges(network, weights, images))
    assert channel_ranges(network, equal, images).high["a"] == pytest.approx([1, 1, 1], rel=1e-3)
