"""The fused batch normalisation against Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsparse.layers import FusedBatchNormalization


@pytest.mark.parametrize("shape", [(64, 5), (16, 4, 3, 5)])
def test_equals_keras_but_for_the_unbiased_variance(shape):
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(1, 2, shape), tf.float32)
    pull = tf.constant(rng.normal(size=shape), tf.float32)
    layers = keras.layers.BatchNormalization(momentum=0.5), FusedBatchNormalization(momentum=0.5)
    gradients, outputs = [], []
    for layer in layers:
        layer.build((None, *shape[1:]))
        layer.gamma.assign(np.linspace(0.5, 2, 5))
        layer.beta.assign(np.linspace(-1, 1, 5))
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            out = layer(inputs, training=True)
            loss = tf.reduce_sum(out * pull)
        outputs.append(out)
        gradients.append(tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value]))
    np.testing.assert_allclose(*outputs, atol=1e-5)
    for theirs, ours in zip(*gradients, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3)
    theirs, ours = layers
    np.testing.assert_allclose(theirs.moving_mean, ours.moving_mean, atol=1e-5)
    count = np.prod(shape[:-1])
    biased = theirs.moving_variance.numpy() - 0.5
    np.testing.assert_allclose(ours.moving_variance.numpy() - 0.5, biased * count / (count - 1), rtol=1e-4)
    ours.moving_variance.assign(theirs.moving_variance.value)
    np.testing.assert_allclose(theirs(inputs), ours(inputs), atol=1e-5)


def test_round_trip_of_the_configuration():
    layer = FusedBatchNormalization(momentum=0.7, epsilon=1e-2)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is FusedBatchNormalization and again.get_config() == layer.get_config()
