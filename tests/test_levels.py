"""Weights on few levels: what training rounds stays rounded, through folding, to the bits in the compiled model."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsparse.build import folded_weights, training_model
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.levels import channel_axes, rounded, top_level
from tfsparse.network import WEIGHTED, network_of
from tfsparse.rung import Rung
from tfsparse.train import train
from tfsparse_datasets import load

CANDIDATE = Candidate(
    (Block((Layer("plain", 8, 3),), "stride", 2), Block((Layer("separable", 8, 3),), residual=True)),
    head="depthwise",
    dense=(12,),
)


def on_levels(kernel: np.ndarray, bits: int, axis: int, tolerance: float = 1e-3) -> bool:
    """Whether all weights lie on their channel's levels, to a fraction of a step."""
    moved = np.moveaxis(kernel, axis, -1).reshape(-1, kernel.shape[axis])
    step = np.abs(moved).max(axis=0) / top_level(bits)
    places = moved / np.where(step > 0, step, 1)
    return bool(np.all(np.abs(places - np.rint(places)) < tolerance))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from((2, 3, 4, 5, 6, 8)), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_rounding_is_the_nearest_level_and_keeps_zeros(bits, seed, axis):
    rng = np.random.default_rng(seed)
    kernel = (rng.normal(size=(3, 2, 4, 5)) * (rng.random((3, 2, 4, 5)) < 0.7)).astype(np.float32)
    found = rounded(tf.constant(kernel), bits, axis).numpy()
    assert on_levels(found, bits, axis)
    assert np.all(found[kernel == 0] == 0)
    largest = np.abs(kernel).max(axis=tuple(i for i in range(4) if i != axis), keepdims=True)
    assert np.all(np.abs(found - kernel) <= largest / top_level(bits) / 2 * (1 + 1e-4))


def test_the_gradient_passes_as_if_nothing_were_rounded():
    kernel = tf.constant(np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = tf.reduce_sum(rounded(kernel, 3, 1) * tf.range(24.0)[:, None][:4])
    assert np.allclose(tape.gradient(loss, kernel), np.broadcast_to(np.arange(4.0)[:, None], (4, 6)))


def test_every_kernel_has_the_axis_of_its_outputs():
    network = network_of(CANDIDATE, (8, 8, 1), 10)
    model = training_model(network, variational=True)
    axes = channel_axes(model)
    for op in network.ops:
        if op.kind in WEIGHTED:
            kernel = model.get_layer(op.name).kernel
            assert kernel.shape[axes[id(kernel)]] == network.kernel_shape(op)[-1]


@pytest.mark.parametrize("pruning", ("none", "unstructured", "structured"))
def test_trained_weights_lie_on_levels_when_they_are_folded(pruning):
    digits = load("digits")
    network = network_of(CANDIDATE, (8, 8, 1), 10)
    training = Training(learning_rate=0.03, pruning=pruning, weight_bits=4, weight_decay=1e-2)
    parts = (digits.train.images, digits.train.labels, digits.validation.images, digits.validation.labels)
    trained = train(network, training, *parts, rung=Rung(30_000), seed=1)
    assert trained.val_accuracy > 0.8
    for name, weights in trained.weights.items():
        assert on_levels(weights.kernel, 4, weights.kernel.ndim - 1, tolerance=1e-2), name


def test_full_bits_round_nothing():
    network = network_of(CANDIDATE, (8, 8, 1), 10)
    folded = folded_weights(network, training_model(network, variational=False))
    assert not all(on_levels(weights.kernel, 4, weights.kernel.ndim - 1) for weights in folded.values())
