"""Training and pruning of whole networks: what is pruned is really gone, and little accuracy with it."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.candidates import candidates
from tfsparse.build import folded_weights, inference_model, training_model
from tfsparse.candidate import PRUNINGS, Block, Candidate, Layer, Training
from tfsparse.groups import group_members
from tfsparse.layers import group_scales, weight_layers
from tfsparse.network import WEIGHTED, Infeasible, network_of
from tfsparse.rewrite import compact, nonzero
from tfsparse.rung import Rung
from tfsparse.train import PHASES, _kl_share, train
from tfsparse_datasets import load

WIDE = Candidate(
    (
        Block((Layer("plain", 12, 3),)),
        Block((Layer("separable", 12, 3),), residual=True),
        Block((Layer("plain", 24, 3),), "max", 2),
    ),
    dense=(32,),
)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def trained(digits, candidate, training, samples, seed=0):
    network = network_of(candidate, (8, 8, 1), 10)
    parts = (digits.train.images, digits.train.labels, digits.validation.images, digits.validation.labels)
    return network, train(network, training, *parts, rung=Rung(samples), seed=seed)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(candidates(), st.integers(0, 99))
def test_compacted_networks_compute_what_the_masked_model_does(candidate, seed):
    """Random candidates, random scales and weights pruned: the smaller network's outputs are the training model's."""
    try:
        network = network_of(candidate, (12, 12, 2), 3)
        network.shapes  # noqa: B018 - raises where there are none
    except Infeasible:
        return
    keras.utils.set_random_seed(seed)
    model = training_model(network, variational=True, scaled=True)
    assert {layer.name for layer in group_scales(model)} == set(group_members(network))
    rng = np.random.default_rng(seed)
    for layer in group_scales(model) + weight_layers(model):
        share = 0.5 if layer in group_scales(model) else 0.1
        layer.kernel.assign(layer.kernel * rng.uniform(0.5, 2, layer.kernel.shape))
        layer.freeze_with(rng.random(layer.kernel.shape) > share)
    for variable in model.non_trainable_variables:
        if "moving" in variable.name:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    images = rng.random((5, 12, 12, 2), np.float32)
    weights = folded_weights(network, model)
    smaller, kept = compact(network, weights)
    expected = model(images).numpy()
    np.testing.assert_allclose(inference_model(smaller, kept)(images), expected, atol=1e-5, rtol=1e-4)
    assert nonzero(kept) <= nonzero(weights) < network.weight_count or network.weight_count < 40
    assert smaller.memory_bound <= network.memory_bound
    assert smaller.macs <= network.macs


def test_dead_groups_shrink_shapes_memory_and_macs():
    """Half of every layer's channels, those tied by the residual block included, and inputs of the dense layer."""
    network = network_of(WIDE, (8, 8, 1), 10)
    keras.utils.set_random_seed(0)
    model = training_model(network, variational=False, scaled=True)
    for layer in group_scales(model):
        layer.freeze_with(np.arange(layer.kernel.shape[0]) % 2)
    smaller, kept = compact(network, folded_weights(network, model))
    assert smaller.shapes["b1_l1_conv"][-1] == smaller.shapes["b2_add"][-1] == 6
    assert smaller.shapes["b3_l1_conv"][-1] == 12 and smaller.shapes["d1"] == (16,)
    assert smaller.memory_bound <= 0.55 * network.memory_bound
    assert smaller.macs < 0.4 * network.macs
    assert nonzero(kept) < 0.3 * network.weight_count
    images = np.random.default_rng(0).random((9, 8, 8, 1), np.float32)
    np.testing.assert_allclose(inference_model(smaller, kept)(images), model(images), atol=1e-5)


def test_every_kind_of_pruning_has_phases():
    assert set(PHASES) == set(PRUNINGS)
    for phases in PHASES.values():
        assert sum(share for _, share in phases) == pytest.approx(1)


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_a_short_training_learns_and_gives_the_network_it_was_judged_by(digits, pruning):
    _, result = trained(digits, WIDE, Training(pruning=pruning), 6000)
    logits = np.asarray(inference_model(result.network, result.weights)(digits.validation.images / np.float32(255)))
    assert np.mean(logits.argmax(-1) == digits.validation.labels) == pytest.approx(result.val_accuracy, abs=1e-9)
    assert result.val_accuracy > 0.5
    assert set(result.weights) == {op.name for op in result.network.ops if op.kind in WEIGHTED}


@pytest.mark.slow
def test_structured_pruning_removes_channels_at_little_loss(digits):
    network, dense = trained(digits, WIDE, Training(), 30_000)
    _, structured = trained(digits, WIDE, Training(pruning="structured", kl_weight=2.0), 60_000)
    assert structured.val_accuracy > dense.val_accuracy - 0.025
    channels = {name: (shape[-1], structured.network.shapes[name][-1]) for name, shape in network.shapes.items()}
    assert sum(now for _, now in channels.values()) < 0.75 * sum(was for was, _ in channels.values()), channels
    assert structured.network.memory_bound < network.memory_bound
    assert structured.network.macs < 0.6 * network.macs
    _, both = trained(digits, WIDE, Training(pruning="both", kl_weight=2.0), 60_000)
    assert nonzero(both.weights) < 0.5 * nonzero(structured.weights)
    assert both.val_accuracy > dense.val_accuracy - 0.035


@pytest.mark.slow
def test_unstructured_pruning_reaches_nine_zeros_in_ten_at_little_loss(digits):
    candidate = Candidate((Block((Layer("plain", 12, 3),), "max", 2), Block((Layer("plain", 24, 3),))), dense=(32,))
    network, result = trained(digits, candidate, Training(pruning="unstructured"), 60_000)
    assert nonzero(result.weights) < 0.12 * network.weight_count
    assert result.val_accuracy > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("pruning", ["unstructured", "structured"])
def test_a_short_training_on_hard_data_keeps_what_it_learnt(digits, pruning):
    """Two classes of digits, three labels in ten wrong: the data's evidence is less than the weights' KL."""
    labels = digits.train.labels < 5
    labels = np.where(np.random.default_rng(0).random(len(labels)) < 0.3, ~labels, labels).astype(np.int64)
    parts = (digits.train.images, labels, digits.validation.images, (digits.validation.labels < 5).astype(np.int64))
    network = network_of(WIDE, (8, 8, 1), 2)
    found = train(network, Training(pruning=pruning), *parts, rung=Rung(20_000), seed=0)
    assert found.val_accuracy > 0.8
    assert 0.1 * network.weight_count < nonzero(found.weights) <= network.weight_count


def test_the_kl_counts_for_as_much_as_was_learnt():
    balanced, lopsided = np.arange(4000) % 2, (np.arange(4000) % 10 == 0).astype(int)
    # 100,000 images shown count as 2,500.
    assert _kl_share(np.log(2) - 0.3, balanced, 100_000) == pytest.approx(0.5**1.5)
    assert _kl_share(np.log(2) - 0.3, balanced, 1e9) == pytest.approx(0.8**1.5)
    # Always the commonest class: nothing was learnt, whatever its share.
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert _kl_share(entropy, lopsided, 100_000) == pytest.approx(0.0, abs=1e-12)
    assert _kl_share(2.0, lopsided, 100_000) == 0.0
    assert _kl_share(0.2, np.arange(4000) % 10, 60_000) == 1.0
