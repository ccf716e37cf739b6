"""The layer graph: shapes and costs by hand, and by Keras for every kind of candidate."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from support.candidates import candidates
from tfsparse.build import inference_model, training_model
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.network import WEIGHTED, Infeasible, network_of
from tfsparse.rewrite import OpWeights
from tfsparse.space import DesignSpace


def test_shapes_costs_and_bound_by_hand():
    block = Block((Layer("plain", 4, 3),), downsampling="max", factor=2, residual=True)
    network = network_of(Candidate((block,), dense=(5,)), (8, 8, 1), classes=3)
    assert {name: network.shapes[name] for name in ("b1_l1_conv", "b1_shortcut", "b1_pool", "d1", "logits")} == {
        "b1_l1_conv": (8, 8, 4),
        "b1_shortcut": (8, 8, 4),
        "b1_pool": (4, 4, 4),
        "d1": (5,),
        "logits": (3,),
    }
    assert network.weight_count == 3 * 3 * 4 + 4 + 64 * 5 + 5 * 3
    assert network.macs == 64 * (36 + 4) + 64 * 5 + 5 * 3
    assert network.memory_bound == 2 * 8 * 8 * 4  # the addition, written over one of its operands


def test_grey_and_multi_scale():
    blocks = (Block((Layer("separable", 4, 3),), factor=2), Block((Layer("cut", 6, 3, 0.5),), factor=2))
    network = network_of(Candidate(blocks, grey=True, multi_scale=True, head="average"), (16, 16, 3), classes=2)
    assert network.input_shape == (16, 16, 1)
    assert network.shapes["scales"] == (4 + 6,)
    assert network.shapes["b2_l1_cut"] == (8, 8, 2)


def test_a_pool_larger_than_its_map_is_infeasible_with_its_place():
    blocks = tuple(Block((Layer("plain", 2, 1),), "average", 3) for _ in range(3))
    with pytest.raises(Infeasible, match="b2_pool: a window of 3 does not fit a map of 2"):
        network_of(Candidate(blocks), (8, 8, 1), classes=2)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(candidates())
def test_keras_agrees_about_shapes_and_weights(candidate):
    try:
        network = network_of(candidate, (10, 14, 2), classes=3)
    except Infeasible:
        return
    weights = {
        op.name: OpWeights(np.zeros(network.kernel_shape(op)), np.zeros(network.kernel_shape(op)[-1]))
        for op in network.ops
        if op.kind in WEIGHTED
    }
    model = inference_model(network, weights, every_tensor=True)
    assert {name: tuple(tensor.shape[1:]) for name, tensor in model.output.items()} == network.shapes
    assert model.count_params() == network.weight_count + sum(w.bias.size for w in weights.values())


@pytest.mark.slow
def test_every_candidate_of_the_space_builds_or_says_why_not():
    """500 random candidates: each has a training model that gives logits, or is infeasible with its reason."""
    space = DesignSpace((12, 12, 3), classes=4)
    rng = np.random.default_rng(0)
    built = 0
    for _ in range(500):
        candidate = space.sample(rng)
        try:
            network = network_of(candidate, space.input_shape, space.classes)
        except Infeasible as error:
            assert str(error)
            continue
        model = training_model(network, variational=candidate.training.pruning != "none")
        assert model.output_shape == (None, 4)
        built += 1
    assert built > 250
