"""Scales of groups: their posterior, KL and gradients, and that a pruned group is really gone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsparse.layers import (
    GroupScale,
    KLWeight,
    TrainingContext,
    VariationalDense,
    freeze,
    group_scales,
    kl_divergence,
    sparsity,
    training_context,
    variational_layers,
    weight_layers,
)

SHAPES = [(5,), (3, 4, 5)]


def built(shape, **keywords):
    keras.utils.set_random_seed(0)
    layer = GroupScale(**keywords)
    layer.build((None, *shape))
    rng = np.random.default_rng(1)
    layer.kernel.assign(rng.normal(1, 0.3, shape[-1]))
    layer.log_sigma2.assign(rng.uniform(-5, 1, shape[-1]))
    return layer


@pytest.mark.parametrize("shape", SHAPES)
def test_a_scale_is_drawn_for_each_image_and_channel(shape):
    """Outputs over inputs are the scales: equal at all positions, and normal with the posterior's moments."""
    layer, draws = built(shape), 4000
    scales = layer(tf.ones((draws, *shape)), training=True).numpy().reshape(draws, -1, shape[-1])
    assert np.ptp(scales, axis=1).max() < 1e-6
    deviation = np.exp(layer.log_sigma2.numpy() / 2)
    np.testing.assert_allclose(scales[:, 0].mean(0), layer.kernel, atol=(5 * deviation / np.sqrt(draws)).max())
    np.testing.assert_allclose(scales[:, 0].std(0), deviation, rtol=0.06)
    assert abs(np.corrcoef(scales[:, 0].T) - np.eye(shape[-1])).max() < 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_at_inference_it_is_the_masked_mean(shape):
    layer = built(shape, threshold=-1.0)
    inputs = np.random.default_rng(2).normal(size=(4, *shape)).astype(np.float32)
    expected = inputs * layer.kernel.numpy() * layer.mask().numpy()
    assert 0 < layer.mask().numpy().sum() < shape[-1]
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-6)
    freeze_mask = layer.mask().numpy()
    layer.freeze()
    np.testing.assert_allclose(layer(inputs, training=True), expected, rtol=1e-6)
    np.testing.assert_array_equal(layer.kernel.numpy() != 0, freeze_mask)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_match_finite_differences(shape):
    layer = built(shape, group_size=7.0, dtype="float64")
    layer.kl_weight = KLWeight(0.1)
    rng = np.random.default_rng(3)
    inputs = tf.Variable(rng.normal(size=(2, *shape)))
    noise, pull = rng.normal(size=(2, *[1] * (len(shape) - 1), shape[-1])), rng.normal(size=(2, *shape))

    def loss():
        with training_context(TrainingContext(noise=lambda like: tf.constant(noise))):
            outputs = layer(inputs, training=True)
        return tf.reduce_sum(pull * tf.tanh(outputs)) + tf.cast(layer.losses[0], tf.float64)

    variables = [layer.kernel.value, layer.log_sigma2.value, inputs]
    with tf.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        start = variable.numpy()
        for place in rng.choice(start.size, 5, replace=False):
            nudge = 1e-5 * (np.arange(start.size) == place).reshape(start.shape)
            variable.assign(start + nudge)
            above = loss().numpy()
            variable.assign(start - nudge)
            below = loss().numpy()
            variable.assign(start)
            assert gradient.numpy().flat[place] == pytest.approx((above - below) / 2e-5, rel=1e-5, abs=1e-6)


def test_its_kl_counts_by_the_groups_size():
    one, seven = built((5,)), built((5,), group_size=7.0)
    assert float(seven.kl()) == pytest.approx(7 * float(one.kl()), rel=1e-6)
    # Not the mean's size but alpha decides: scales that are twice as large and as noisy have the same divergence.
    before = float(one.kl())
    one.kernel.assign(2 * one.kernel)
    one.log_sigma2.assign(one.log_sigma2 + 2 * np.log(2))
    assert float(one.kl()) == pytest.approx(before, rel=1e-5)


def test_a_model_tells_scales_and_weights_apart():
    image = keras.Input((4,))
    model = keras.Model(image, VariationalDense(3)(GroupScale(group_size=2.0)(image)))
    assert [type(layer) for layer in variational_layers(model)] == [GroupScale, VariationalDense]
    assert group_scales(model) + weight_layers(model) == variational_layers(model)
    assert float(kl_divergence(model)) == pytest.approx(sum(float(layer.kl()) for layer in variational_layers(model)))
    group_scales(model)[0].log_sigma2.assign([9.0] * 4)
    assert sparsity(model) == 0
    freeze(model)
    assert not np.asarray(group_scales(model)[0].kernel).any()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    image = keras.Input((3, 3, 2))
    model = keras.Model(image, GroupScale(group_size=3.5, threshold=1.0)(image))
    model.layers[1].log_sigma2.assign([-3.0, 5.0])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.layers[1].group_size, loaded.layers[1].kl_factor) == (3.5, 3.5)
    np.testing.assert_array_equal(loaded(np.ones((1, 3, 3, 2))), model(np.ones((1, 3, 3, 2))))
    with pytest.raises(ValueError, match="no bias"):
        GroupScale(use_bias=True)
