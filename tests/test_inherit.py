"""What a child inherits: the parent's function where that can be, overlapping weights elsewhere."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from support.candidates import candidates
from tfsparse.build import training_model
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.errors import UserError
from tfsparse.inherit import TrainedWeights, aligned, inherit, layer_states
from tfsparse.layers import DENSE, set_phase, weight_layers
from tfsparse.morphism import neighbour
from tfsparse.network import Infeasible, network_of
from tfsparse.rewrite import channel_ids, needed_channels
from tfsparse.sensor import LUMA
from tfsparse.space import DesignSpace

FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
SHAPE, CLASSES = (12, 12, 2), 3
PLAIN = Candidate(
    (Block((Layer("plain", 4, 3),)), Block((Layer("separable", 4, 3), Layer("plain", 4, 3)), residual=True)),
    head="average",
)


def parent_of(candidate, shape=SHAPE, seed=0, zeros=0.0):
    """A model with weights as if trained (normalisation and biases are not at their first values), and its record."""
    network = network_of(candidate, shape, CLASSES)
    keras.utils.set_random_seed(seed)
    model = training_model(network, variational=True)
    set_phase(model, DENSE)
    rng = np.random.default_rng(seed)
    for layer in weight_layers(model):
        layer.kernel.assign(layer.kernel * (rng.random(layer.kernel.shape) >= zeros))
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
    return model, TrainedWeights.of(candidate, shape, CLASSES, layer_states(network, model))


def child_of(weights, candidate, shape=SHAPE, images=None, seed=99):
    network = network_of(candidate, shape, CLASSES)
    keras.utils.set_random_seed(seed)
    model = training_model(network, variational=True)
    inherit(weights, candidate, network, model, images)
    return model


def images_of(shape=SHAPE, seed=5, count=6):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def assert_preserved(parent, child, calibrated=True, shape=SHAPE):
    model, weights = parent_of(parent, shape)
    images = images_of(shape)
    heir = child_of(weights, child, shape, images if calibrated else None)
    np.testing.assert_allclose(heir(images), model(images), atol=1e-5, rtol=1e-4)


def changed_layer(candidate, at, number, **changes):
    block = candidate.blocks[at]
    layers = list(block.layers)
    layers[number] = replace(layers[number], **changes)
    blocks = list(candidate.blocks)
    blocks[at] = replace(block, layers=tuple(layers))
    return replace(candidate, blocks=tuple(blocks))


def without_infeasible(*some):
    for candidate in some:
        try:
            network_of(candidate, SHAPE, CLASSES).shapes  # noqa: B018 - raises
        except Infeasible:
            assume(False)


@FEW
@given(candidates(), st.booleans(), st.integers(0, 9), st.sampled_from(["filters", "kernel"]), st.integers(1, 3))
def test_wider_layers_and_larger_kernels_change_no_output(parent, calibrated, place, what, more):
    layers = [(b, n) for b, block in enumerate(parent.blocks) for n in range(len(block.layers))]
    at, number = layers[place % len(layers)]
    child = changed_layer(parent, at, number, **{what: getattr(parent.blocks[at].layers[number], what) + more})
    without_infeasible(parent, child)
    # A convolutional shortcut that the wider block no longer needs has nowhere to put its weights.
    shortcuts = [
        {op.name for op in network_of(one, SHAPE, CLASSES).ops if "shortcut" in op.name} for one in (parent, child)
    ]
    assume(shortcuts[0] <= shortcuts[1])
    assert_preserved(parent, child, calibrated)


@FEW
@given(candidates(), st.booleans(), st.integers(0, 9), st.sampled_from(["plain", "separable"]))
def test_an_added_layer_or_residual_block_changes_no_output(parent, calibrated, place, convolution):
    at = place % len(parent.blocks)
    block = parent.blocks[at]
    added = Layer(convolution, block.layers[-1].filters, 3)
    with_block = replace(
        parent, blocks=(*parent.blocks[: at + 1], Block((added,), residual=True), *parent.blocks[at + 1 :])
    )
    without_infeasible(parent, with_block)
    assert_preserved(parent, with_block, calibrated)
    if len(block.layers) < 2:
        return
    # Between two layers: behind the last of a residual block there was no ReLU, and a stride would move.
    added = replace(added, filters=block.layers[0].filters)
    layers = (block.layers[0], added, *block.layers[1:])
    with_layer = replace(parent, blocks=(*parent.blocks[:at], replace(block, layers=layers), *parent.blocks[at + 1 :]))
    assert_preserved(parent, with_layer, calibrated)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("convolution", ["plain", "separable"])
def test_an_added_layer_takes_over_the_stride(kernel, convolution):
    block = Block((Layer("plain", 4, kernel),), "stride", 2)
    longer = replace(block, layers=(*block.layers, Layer(convolution, 4, 3)))
    assert_preserved(Candidate((block,)), Candidate((longer,)))


@FEW
@given(candidates(), st.booleans(), st.sampled_from(["average", "flatten", "depthwise"]), st.booleans())
def test_scales_and_heads_that_can_do_what_the_average_did(parent, calibrated, head, multi_scale):
    parent = replace(parent, head="average", multi_scale=False)
    child = replace(parent, head=head, multi_scale=multi_scale)
    without_infeasible(parent, child)
    assert_preserved(parent, child, calibrated)


@FEW
@given(candidates(), st.booleans(), st.integers(0, 9), st.integers(1, 5))
def test_wider_and_added_dense_layers_change_no_output(parent, calibrated, place, more):
    without_infeasible(parent)
    if parent.dense:
        at = place % len(parent.dense)
        dense = (*parent.dense[:at], parent.dense[at] + more, *parent.dense[at + 1 :])
        assert_preserved(parent, replace(parent, dense=dense), calibrated)
    if len(parent.dense) < 2:
        network = network_of(parent, SHAPE, CLASSES)
        features = network.shapes[network.output.inputs[0]][0]
        assert_preserved(parent, replace(parent, dense=(*parent.dense, features + more)), calibrated)


def test_a_new_shortcut_starts_at_zero():
    """Where shapes change, the shortcut is a convolution, which can; an identity adds what it adds."""
    block = Block((Layer("plain", 6, 3), Layer("plain", 5, 3)), "stride", 2)
    assert_preserved(Candidate((block,)), Candidate((replace(block, residual=False),)))
    child = Candidate((replace(block, residual=True),))
    assert_preserved(Candidate((block,)), child)


def test_grey_children_of_colour_parents_and_back():
    colour, grey = replace(PLAIN, grey=False), replace(PLAIN, grey=True)
    shape = (12, 12, 3)
    images = images_of(shape)
    luma = (images @ LUMA)[..., None]
    model, weights = parent_of(colour, shape)
    np.testing.assert_allclose(
        child_of(weights, grey, shape)(luma), model(np.repeat(luma, 3, axis=-1)), atol=1e-5, rtol=1e-4
    )
    model, weights = parent_of(grey, shape)
    np.testing.assert_allclose(child_of(weights, colour, shape)(images), model(luma), atol=1e-5, rtol=1e-4)


def test_new_layers_do_in_training_what_they_do_at_inference():
    """In training, normalisation goes by the batch: new layers must not lose their inputs' means and scales there."""
    model, weights = parent_of(PLAIN)
    images = images_of(count=200)
    for _ in range(60):  # until the running figures are those of the images
        model(images, training=True)
    weights = TrainedWeights.of(PLAIN, SHAPE, CLASSES, layer_states(network_of(PLAIN, SHAPE, CLASSES), model))
    longer = replace(PLAIN.blocks[0], layers=(*PLAIN.blocks[0].layers, Layer("separable", 4, 3)))
    child = child_of(weights, replace(PLAIN, blocks=(longer, *PLAIN.blocks[1:])), images=images)
    before = model(images).numpy()
    np.testing.assert_allclose(child(images, training=True), before, atol=0.05 * before.std())


def test_overlapping_slices_are_copied_where_nothing_is_preserved():
    _, weights = parent_of(PLAIN)
    child = changed_layer(changed_layer(PLAIN, 0, 0, filters=3), 1, 1, kernel=2)
    model = child_of(weights, child)
    mine, theirs = model.get_layer("b1_l1_conv").kernel.numpy(), weights.layers["b1_l1_conv"].kernel
    np.testing.assert_array_equal(mine, theirs[..., :3])
    mine, theirs = model.get_layer("b2_l2_conv").kernel.numpy(), weights.layers["b2_l2_conv"].kernel
    np.testing.assert_array_equal(mine, theirs[1:, 1:])
    # Another kind of convolution starts anew, and the rest of the block does not.
    model = child_of(weights, changed_layer(PLAIN, 1, 0, convolution="plain"))
    np.testing.assert_array_equal(model.get_layer("b2_l2_conv").kernel, weights.layers["b2_l2_conv"].kernel)


def test_blocks_are_found_again_behind_a_new_or_lost_one():
    first, second = Block((Layer("plain", 4, 3),)), Block((Layer("plain", 6, 5),), "max", 2)
    new = Block((Layer("separable", 4, 3),), residual=True)
    _, weights = parent_of(Candidate((first, second)))
    model = child_of(weights, Candidate((first, new, second)))
    np.testing.assert_array_equal(model.get_layer("b3_l1_conv").kernel, weights.layers["b2_l1_conv"].kernel)
    _, weights = parent_of(Candidate((first, new, second)))
    model = child_of(weights, Candidate((first, second)))
    np.testing.assert_array_equal(model.get_layer("b2_l1_conv").kernel, weights.layers["b3_l1_conv"].kernel)


def test_alignment_keeps_order_and_prefers_the_likest():
    same = lambda a, b: float(a == b)  # noqa: E731
    assert aligned("abd", "abcd", same) == [(0, 0), (1, 1), (2, 3)]
    assert aligned("axb", "ab", same) == [(0, 0), (1, None), (2, 1)]
    assert aligned("", "ab", same) == []
    assert aligned("ab", "", same) == [(0, None), (1, None)]


def test_dead_channels_grow_back_unread():
    """A pruned parent's function is kept, and none of its child's weights is stuck between zeros."""
    candidate = Candidate((Block((Layer("plain", 8, 3),)), Block((Layer("separable", 8, 3),), residual=True)))
    model, weights = parent_of(candidate, zeros=0.5)
    network = network_of(candidate, SHAPE, CLASSES)
    layers = {name: replace(state, kernel=state.kernel.copy()) for name, state in weights.layers.items()}
    for name in ("b1_l1_conv", "b2_l1_pointwise"):
        layers[name].kernel[..., 2:5] = 0
    layers["b2_l1_depthwise"].kernel[..., 2:5] = 0
    layers["b2_l1_pointwise"].kernel[..., 2:5, :] = 0
    layers["logits"].kernel.reshape(12, 12, 8, 3)[:, :, 2:5] = 0
    weights = replace(weights, layers=layers)
    assert not needed_channels(network, layers, channel_ids(network))[channel_ids(network)["b2_add"]][2:5].any()
    for name in layers:
        layer = model.get_layer(name)
        layer.kernel.assign(np.reshape(layers[name].kernel, layer.kernel.shape))
    child = child_of(weights, candidate, images=images_of())
    np.testing.assert_allclose(child(images_of()), model(images_of()), atol=1e-5, rtol=1e-4)
    for name in ("b1_l1_conv", "b2_l1_depthwise", "b2_l1_pointwise"):
        kernel = child.get_layer(name).kernel.numpy().reshape(-1, 8)
        assert kernel[:, 2:5].any(axis=0).all(), name
    # What was zero in a living channel stays zero, until training moves it.
    first = child.get_layer("b1_l1_conv").kernel.numpy()
    np.testing.assert_array_equal(first[..., 5:], layers["b1_l1_conv"].kernel[..., 5:])


@FEW
@given(candidates(), st.integers(0, 2**20))
def test_any_morph_can_inherit(parent, seed):
    space = DesignSpace(SHAPE, CLASSES)
    rng = np.random.default_rng(seed)
    parent = space.canonical(parent)
    without_infeasible(parent)
    child = parent
    for _ in range(3):
        child = neighbour(space, child, rng).candidate
    without_infeasible(child)
    _, weights = parent_of(parent, zeros=0.3)
    images = images_of()
    assert np.isfinite(child_of(weights, child, images=images)(images)).all()


def test_weights_are_stored_in_a_few_kilobytes():
    _, weights = parent_of(PLAIN, zeros=0.8)
    data = weights.to_bytes()
    assert len(data) < 6000
    again = TrainedWeights.from_bytes(data)
    assert (again.candidate, again.image_shape, again.classes) == (PLAIN, SHAPE, CLASSES)
    for name, state in weights.layers.items():
        for key, value in vars(state).items():
            np.testing.assert_array_equal(getattr(again.layers[name], key), value)
    for broken in (b"", data[:200], b"PK" + data[5:]):
        with pytest.raises(UserError, match="no trained weights"):
            TrainedWeights.from_bytes(broken)
