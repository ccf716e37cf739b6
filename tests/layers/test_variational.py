"""The variational layers: what they draw, what they infer, and what stays zero."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsparse.layers import (
    KLWeight,
    TrainingContext,
    VariationalConv2D,
    VariationalDense,
    VariationalDepthwiseConv2D,
    freeze,
    kl_divergence,
    set_kl_weight,
    set_phase,
    sparsity,
    start_noise,
    training_context,
    variational_layers,
)

CASES = {
    "dense": (lambda **kw: VariationalDense(5, **kw), (7,)),
    "dense without bias": (lambda **kw: VariationalDense(5, use_bias=False, **kw), (7,)),
    "conv valid": (lambda **kw: VariationalConv2D(4, 3, **kw), (6, 5, 3)),
    "conv same stride": (lambda **kw: VariationalConv2D(4, (2, 3), strides=2, padding="same", **kw), (7, 5, 3)),
    "depthwise": (lambda **kw: VariationalDepthwiseConv2D(3, **kw), (6, 5, 3)),
    "depthwise same stride": (
        lambda **kw: VariationalDepthwiseConv2D(3, 2, "same", depth_multiplier=2, use_bias=False, **kw),
        (7, 6, 2),
    ),
}
PLAIN = {
    "dense": lambda: keras.layers.Dense(5),
    "dense without bias": lambda: keras.layers.Dense(5, use_bias=False),
    "conv valid": lambda: keras.layers.Conv2D(4, 3),
    "conv same stride": lambda: keras.layers.Conv2D(4, (2, 3), strides=2, padding="same"),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3),
    "depthwise same stride": lambda: keras.layers.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, use_bias=False),
}


def built(case, seed=0, spread=2.0, **arguments):
    """A layer with random means, biases and variances, log alpha on both sides of 3; and inputs, some of them zero."""
    make, shape = CASES[case]
    layer = make(**arguments)
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    layer.kernel.assign(rng.normal(0, 0.5, layer.kernel.shape))
    layer.log_sigma2.assign(rng.normal(-2, spread, layer.kernel.shape))
    if layer.use_bias:
        layer.bias.assign(rng.normal(0, 0.5, layer.bias.shape))
    inputs = np.maximum(rng.normal(0.2, 1, (3, *shape)), 0)
    return layer, tf.constant(inputs, layer.compute_dtype)


@pytest.mark.parametrize("case", CASES)
def test_inference_is_the_plain_layer_with_masked_means(case):
    layer, inputs = built(case)
    mask = layer.mask().numpy()
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask, (layer.log_alpha.numpy() <= 3))
    np.testing.assert_array_equal(layer.effective_kernel().numpy()[mask == 0], 0)
    plain = PLAIN[case]()
    plain.build(inputs.shape)
    plain.set_weights([layer.kernel * mask, layer.bias] if layer.use_bias else [layer.kernel * mask])
    np.testing.assert_allclose(layer(inputs), plain(inputs), atol=1e-5)
    assert layer.compute_output_shape((3, *inputs.shape[1:])) == tuple(plain(inputs).shape)
    # Dense phase: every mean counts, training or not.
    layer.set_phase("dense")
    plain.set_weights([layer.kernel, layer.bias] if layer.use_bias else [layer.kernel])
    np.testing.assert_allclose(layer(inputs, training=True), plain(inputs), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_local_reparametrisation_has_the_moments_of_sampled_weights(case):
    layer, inputs = built(case, spread=0.5)
    draws = 3000
    # Every row of a batch has noise of its own: the inputs repeated are as many draws.
    keras.utils.set_random_seed(3)
    outputs = layer(tf.concat([inputs] * draws, axis=0), training=True).numpy()
    outputs = outputs.reshape(draws, len(inputs), *outputs.shape[1:])
    rng = np.random.default_rng(4)
    kernel, deviation = layer.kernel.numpy(), np.exp(layer.log_sigma2.numpy() / 2)
    linear = tf.function(lambda kernel: layer.linear(inputs, kernel))
    bias = layer.bias.numpy() if layer.use_bias else 0
    kernels = kernel + deviation * rng.normal(size=(draws, *kernel.shape)).astype(np.float32)
    truth = np.stack([linear(tf.constant(kernel)) for kernel in kernels]) + bias
    spread = truth.std(axis=0)
    # Five standard errors of each estimate, over a few hundred outputs; outputs without any input have no noise.
    np.testing.assert_array_less(np.abs(outputs.mean(0) - truth.mean(0)), 5 * spread * np.sqrt(2 / draws) + 1e-4)
    np.testing.assert_array_less(np.abs(outputs.std(0) - spread), 5 * spread / np.sqrt(draws) + 2e-4)
    assert spread.max() > 0.3


@pytest.mark.parametrize("case", CASES)
def test_gradients_match_finite_differences(case):
    layer, inputs = built(case, dtype="float64", spread=0.5)
    layer.kl_weight = KLWeight(0.1)
    rng = np.random.default_rng(5)
    shape = (3, *layer.compute_output_shape(inputs.shape)[1:])
    noise, pull = tf.constant(rng.normal(size=shape)), tf.constant(rng.normal(size=shape))
    inputs = tf.Variable(inputs + 0.1)

    def loss():
        with training_context(TrainingContext(noise=lambda like: noise)):
            outputs = layer(inputs, training=True)
        return tf.reduce_sum(pull * tf.tanh(outputs)) + tf.cast(layer.losses[0], tf.float64)

    variables = [weight.value for weight in layer.trainable_weights] + [inputs]
    assert len(variables) == (4 if layer.use_bias else 3)
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, variables)
    step = 1e-5
    for variable, gradient in zip(variables, gradients, strict=True):
        start = variable.numpy()
        for flat in rng.choice(start.size, min(12, start.size), replace=False):
            nudge = np.zeros(start.size)
            nudge[flat] = step
            nudge = nudge.reshape(start.shape)
            variable.assign(start + nudge)
            above = loss().numpy()
            variable.assign(start - nudge)
            below = loss().numpy()
            variable.assign(start)
            assert gradient.numpy().flat[flat] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-6)


def test_no_gradient_explodes_where_all_inputs_are_zero():
    layer, inputs = built("conv valid")
    inputs = tf.Variable(tf.zeros_like(inputs))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs, training=True) ** 2)
    for gradient in tape.gradient(loss, [weight.value for weight in layer.trainable_weights] + [inputs]):
        assert np.isfinite(gradient).all()


def test_kl_weight_changes_the_loss_without_retracing():
    layer, inputs = built("dense")
    weight = KLWeight(0.0)
    layer.kl_weight = weight
    traces = []

    @tf.function
    def losses():
        traces.append(1)
        layer(inputs, training=True)
        return tf.add_n(layer.losses)

    assert losses().numpy() == 0
    weight.assign(0.25)
    assert losses().numpy() == pytest.approx(0.25 * layer.kl().numpy(), rel=1e-5)
    assert len(traces) == 1


def test_layers_leave_the_kl_to_the_loop_that_says_so():
    layer, inputs = built("dense")
    layer.kl_weight = KLWeight(1.0)
    with training_context(TrainingContext(layers_add_kl=False)):
        layer(inputs, training=True)
    assert layer.losses == []


def test_not_prunable_is_an_ordinary_layer():
    make, shape = CASES["conv valid"]
    layer = make(prunable=False)
    layer.build((None, *shape))
    assert [weight.name for weight in layer.weights] == ["kernel", "bias"]
    inputs = tf.ones((2, *shape))
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs))
    assert layer.kl() == 0 and layer.mask().numpy().all()
    layer.freeze()
    assert layer.phase == "dense"
    with pytest.raises(ValueError, match="prunable"):
        layer.set_phase("variational")
    with pytest.raises(ValueError, match="prunable"):
        _ = layer.log_alpha


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="phase"):
        VariationalDense(3, phase="sparse")
    with pytest.raises(ValueError, match="freeze"):
        VariationalDense(3).set_phase("frozen")
    with pytest.raises(ValueError, match="padding"):
        VariationalConv2D(3, 3, padding="causal")
    with pytest.raises(ValueError, match="strides"):
        VariationalDepthwiseConv2D(3, (1, 2))


def network(seed=0):
    """A small network of all three layers, log alpha spread around the threshold."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1))
    x = VariationalConv2D(4, 3, activation="relu", name="conv")(image)
    x = VariationalDepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(image, VariationalDense(3, name="dense")(x))
    rng = np.random.default_rng(seed)
    for layer in variational_layers(model):
        layer.log_sigma2.assign(rng.normal(-1.5, 2, layer.kernel.shape))
    return model


OPTIMISERS = {
    "adam": lambda: keras.optimizers.Adam(0.05),
    "adamw": lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
}


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_frozen_zeros_stay_exactly_zero(optimiser):
    model = network()
    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(64, 8, 8, 1)).astype("f"), rng.integers(0, 3, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = OPTIMISERS[optimiser]()
    # The optimiser gathers momentum on all weights before some of them are pruned under it.
    model.compile(optimizer=optimizer, loss=loss)
    model.fit(images, labels, epochs=1, batch_size=16, verbose=0)
    freeze(model, lambda layer: 2.0 if layer.name == "dense" else 3.0)
    masks = {layer.name: layer.mask().numpy() for layer in variational_layers(model)}
    assert all(0 < mask.sum() < mask.size for mask in masks.values())
    before = {layer.name: layer.kernel.numpy() for layer in variational_layers(model)}
    variances = {layer.name: layer.log_sigma2.numpy() for layer in variational_layers(model)}
    model.train_function = None
    model.fit(images, labels, epochs=3, batch_size=16, verbose=0)
    for layer in variational_layers(model):
        kernel = layer.kernel.numpy()
        np.testing.assert_array_equal(kernel[masks[layer.name] == 0], 0)
        np.testing.assert_array_equal(layer.mask().numpy(), masks[layer.name])
        np.testing.assert_array_equal(layer.log_sigma2.numpy(), variances[layer.name])
        assert np.abs(kernel - before[layer.name]).max() > 1e-3
        assert layer.threshold == (2.0 if layer.name == "dense" else 3.0)
    np.testing.assert_allclose(model(images, training=True), model(images), atol=1e-6)
    kept = sum(mask.sum() for mask in masks.values()) / sum(mask.size for mask in masks.values())
    assert sparsity(model) == pytest.approx(1 - kept)


def test_freezing_a_dense_layer_keeps_its_zeros():
    layer, _ = built("dense")
    layer.set_phase("dense")
    kernel = layer.kernel.numpy()
    kernel[0] = 0
    layer.kernel.assign(kernel)
    layer.freeze()
    np.testing.assert_array_equal(layer.mask().numpy(), kernel != 0)


def test_freeze_with_a_given_mask():
    layer, _ = built("dense")
    mask = np.eye(7, 5, dtype="f")
    layer.freeze_with(mask)
    np.testing.assert_array_equal(layer.kernel.numpy() != 0, mask)


@pytest.mark.parametrize("phase", ["dense", "variational", "frozen"])
def test_saved_and_loaded_it_is_the_same(phase, tmp_path):
    model = network()
    if phase == "frozen":
        freeze(model, 1.0)
    else:
        set_phase(model, phase)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("f")
    np.testing.assert_array_equal(model(inputs), loaded(inputs))
    for old, new in zip(variational_layers(model), variational_layers(loaded), strict=True):
        assert new.get_config() == old.get_config() and new.phase == phase
        np.testing.assert_array_equal(new.mask(), old.mask())
        assert len(new.trainable_weights) == len(old.trainable_weights) == (3 if phase == "variational" else 2)
    if phase == "frozen":
        loaded.compile(optimizer=keras.optimizers.AdamW(0.1), loss="mse")
        loaded.fit(inputs, np.ones((4, 3)), epochs=2, verbose=0)
        for old, new in zip(variational_layers(model), variational_layers(loaded), strict=True):
            np.testing.assert_array_equal(new.kernel.numpy() != 0, old.mask())


def test_whole_model():
    model = network()
    layers = variational_layers(model)
    assert [layer.name for layer in layers] == ["conv", "depthwise", "dense"]
    assert kl_divergence(model).numpy() == pytest.approx(sum(layer.kl().numpy() for layer in layers), rel=1e-6)
    weight = KLWeight()
    set_kl_weight(model, weight)
    assert all(layer.kl_weight is weight for layer in layers)
    start_noise(model, -4.0)
    for layer in layers:
        np.testing.assert_allclose(layer.log_alpha, -4, atol=1e-4)
    set_phase(model, "dense")
    assert kl_divergence(model).numpy() == 0 and sparsity(model) == 0
    assert kl_divergence(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])).numpy() == 0
