"""The training core: the same steps as the textbook's, nothing lost, and real learning on real data."""

import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tfsparse.augment import Augmentation
from tfsparse.fit import Distillation, Evaluator, TrainingDiverged, fit
from tfsparse.layers import (
    FusedBatchNormalization,
    VariationalConv2D,
    VariationalDense,
    VariationalDepthwiseConv2D,
    freeze,
    kl_divergence,
    set_phase,
    sparsity,
    start_noise,
    variational_layers,
)
from tfsparse.schedule import Schedule


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = np.rint(data.images[order] / 16 * 255).astype(np.uint8)[..., None]
    labels = data.target[order]
    return (images[:1300], labels[:1300]), (images[1300:], labels[1300:])


def network(width=8, dropout=0.0, seed=1):
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 1))
    layers = (
        VariationalConv2D(width, 3, padding="same", name="conv"),
        VariationalDepthwiseConv2D(3, 2, "same", name="depthwise"),
        VariationalConv2D(2 * width, 1, use_bias=False, name="pointwise"),
    )
    for layer in layers:
        x = keras.layers.ReLU()(FusedBatchNormalization(momentum=0.9)(layer(x)))
    x = keras.layers.Dropout(dropout)(keras.layers.Flatten()(x))
    x = VariationalDense(2 * width, activation="relu", name="hidden")(x)
    return keras.Model(image, VariationalDense(10, name="logits")(x))


def dense_network(seed=1):
    """Without normalisation: its full-batch gradient does not depend on anything but the weights."""
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((8, 8, 1))
    x = VariationalConv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(image, keras.layers.Dense(10)(VariationalDense(6, activation="tanh", name="hidden")(x)))
    return model


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_takes_the_steps_of_keras_optimisers(digits, optimiser):
    images, labels = digits[0][0][:96], digits[0][1][:96]
    steps, rate, decay = 6, 0.03, 0.2
    ours, theirs = dense_network(), dense_network()
    for model in (ours, theirs):
        set_phase(model, "dense")
    schedule = Schedule(
        steps,
        96,
        learning_rate=rate,
        decay="constant",
        warmup=0.0,
        weight_decay=decay,
        optimiser=optimiser,
        label_smoothing=0.1,
    )
    fit(ours, images, labels, schedule)
    if optimiser == "adamw":
        keras_optimiser = keras.optimizers.AdamW(rate, beta_2=0.99, weight_decay=decay)
    else:
        keras_optimiser = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay)
    keras_optimiser.exclude_from_weight_decay(var_list=[v for v in theirs.trainable_variables if len(v.shape) == 1])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    theirs.compile(optimizer=keras_optimiser, loss=loss)
    theirs.fit(images / 255.0, np.eye(10)[labels], batch_size=96, epochs=steps, shuffle=False, verbose=0)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5, err_msg=mine.path)
    assert np.abs(np.asarray(ours.weights[0]) - np.asarray(dense_network().weights[0])).max() > 0.01


def test_one_step_is_the_gradient_of_the_evidence_bound(digits):
    """SGD without momentum moves by rate times the gradient of cross-entropy + weight * KL / N, here by the tape."""
    images, labels = digits[0][0][:200], digits[0][1][:200]
    model = dense_network()
    # Where the image is black the convolution's outputs are its biases: at zero, noise would decide what ReLU does.
    model.get_layer("conv").bias.assign([0.1, -0.1, 0.2, -0.2])
    for layer in variational_layers(model):
        # Noise so weak that it does not matter: the cross-entropy's gradient is then the plain one.
        layer.log_sigma2.assign(np.random.default_rng(0).uniform(-19, -18, layer.kernel.shape))
    variables = [variable.value for variable in model.trainable_variables]
    before = [variable.numpy() for variable in variables]
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(labels, model(images / 255.0, training=True), True)
        loss = tf.reduce_mean(loss) + 50.0 * kl_divergence(model) / 200
    gradients = tape.gradient(loss, variables)
    schedule = Schedule(
        1,
        200,
        optimiser="sgd",
        momentum=0.0,
        learning_rate=1e-2,
        decay="constant",
        warmup=0.0,
        kl_weight=50.0,
        kl_warmup=0.0,
        variance_rate=2.0,
    )
    history = fit(model, images, labels, schedule)
    assert history.kl == pytest.approx(float(kl_divergence(model)))
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        factor = 2.0 if variable.name == "log_sigma2" else 1.0
        moved = (start - np.asarray(variable)) / (1e-2 * factor)
        np.testing.assert_allclose(moved, gradient, rtol=2e-3, atol=2e-3, err_msg=variable.path)


def test_clipping_bounds_the_step(digits):
    model = dense_network()
    set_phase(model, "dense")
    before = [np.asarray(variable) for variable in model.trainable_variables]
    schedule = Schedule(1, 1300, optimiser="sgd", learning_rate=1.0, decay="constant", warmup=0.0, clip_norm=1e-2)
    fit(model, *digits[0], schedule)
    moved = [np.asarray(v) - start for v, start in zip(model.trainable_variables, before, strict=True)]
    assert np.sqrt(sum(np.sum(part**2) for part in moved)) == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.parametrize("pooled", [True, False])
def test_noise_in_training_is_standard_normal_and_new(digits, pooled):
    """A net whose logit is pure noise: what it drew is seen in how it moved the bias."""
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda x: seen.append(x.numpy()), [inputs], [])
            return inputs

        def compute_output_shape(self, shape):
            return shape

    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    layer = VariationalDense(10, kernel_initializer="zeros", initial_log_sigma2=0.0, use_bias=False)
    model = keras.Model(image, Spy()(layer(keras.layers.Flatten()(image))))
    images = np.full((640, 8, 8, 1), 255, np.uint8)
    fit(model, images, digits[0][1][:640], Schedule(5, 64, learning_rate=1e-9), pooled_noise=pooled)
    drawn = np.stack([x for x in seen if x.shape == (64, 10)]) / 8
    assert len(drawn) == 50
    assert drawn.mean() == pytest.approx(0, abs=0.15 if pooled else 0.03)
    assert drawn.std() == pytest.approx(1, abs=0.1 if pooled else 0.03)
    assert len({batch.tobytes() for batch in drawn}) > 35


def test_frozen_zeros_stay_exactly_zero(digits):
    model = network()
    start_noise(model, 2.9)
    rng = np.random.default_rng(0)
    for layer in variational_layers(model):
        layer.log_sigma2.assign(np.asarray(layer.log_sigma2) + rng.uniform(-1, 1, layer.kernel.shape))
    freeze(model)
    masks = {layer.name: layer.mask().numpy() for layer in variational_layers(model)}
    for optimiser in ("adamw", "sgd"):
        fit(model, *digits[0], Schedule(2, 64, weight_decay=0.1, optimiser=optimiser))
        for layer in variational_layers(model):
            np.testing.assert_array_equal(layer.kernel.numpy() != 0, masks[layer.name])
    assert 0.3 < sparsity(model) < 0.7


def test_diverging_raises_and_keeps_the_weights(digits):
    model = dense_network()
    before = [np.asarray(weight) for weight in model.weights]
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(model, *digits[0], Schedule(3, 64, optimiser="sgd", learning_rate=1e30, warmup=0.0))
    for weight, start in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, start)


def test_epochs_of_a_subset_see_every_sample_equally_often():
    """Each image names itself, and so does its label: after two epochs of half the set, every one was seen once."""
    count = 64
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, inputs):
            tf.py_function(lambda x: seen.extend(np.rint(x.numpy().ravel() * 255).astype(int)), [inputs], [])
            return inputs

        def compute_output_shape(self, shape):
            return shape

    image = keras.Input((1, 1, 1))
    model = keras.Model(image, keras.layers.Dense(count)(keras.layers.Flatten()(Spy()(image))))
    seen.clear()
    history = fit(model, images, np.arange(count), Schedule(4, 8, samples_per_epoch=count // 2), seed=3)
    assert history.images == 2 * count and len(seen) == 2 * count
    assert sorted(seen[:count]) == sorted(seen[count:]) == list(range(count))
    assert seen[:count] != seen[count:]


def test_progress_is_told_and_may_stop(digits):
    told = []

    def progress(result):
        told.append(result)
        return result.epoch == 2

    history = fit(network(), *digits[0], Schedule(9, 64), validation=digits[1], progress=progress, validate_every=2)
    assert [result.epoch for result in told] == [0, 1, 2] and history.epochs == tuple(told)
    assert told[0].val_accuracy is None and told[1].val_accuracy > 0.2 and told[2].val_accuracy is None
    assert told[2].loss < told[0].loss and told[2].accuracy > told[0].accuracy


def test_batches_larger_than_the_set_and_wrong_images(digits):
    history = fit(dense_network(), digits[0][0][:10], digits[0][1][:10], Schedule(2, 64))
    assert history.images == 20
    with pytest.raises(ValueError, match="uint8"):
        fit(dense_network(), digits[0][0] / 255.0, digits[0][1], Schedule(1))


def test_evaluation_equals_keras(digits):
    model = network()
    images, labels = digits[1]
    evaluator = Evaluator(model, batch=100)
    logits = model.predict(images / np.float32(255), verbose=0)
    np.testing.assert_allclose(evaluator.logits(images), logits, atol=1e-5)
    assert evaluator.accuracy(images, labels) == np.mean(logits.argmax(-1) == labels)


def test_normalisation_statistics_and_weights_come_back(digits):
    """What fit reports as validation accuracy is what the model then gives."""
    model = network()
    history = fit(
        model, *digits[0], Schedule(4, 64, learning_rate=0.01), validation=digits[1], augmentation=Augmentation(shift=1)
    )
    predicted = model.predict(digits[1][0] / np.float32(255), verbose=0).argmax(-1)
    assert history.val_accuracy == np.mean(predicted == digits[1][1]) > 0.7
    assert history.images_per_second > 0


REPEATED = """
    import hashlib, json, sys
    sys.path[:0] = ["tests"]
    import numpy as np
    from test_fit import network
    from tfsparse.augment import Augmentation
    from tfsparse.fit import fit
    from tfsparse.schedule import Schedule

    def digest(seed):
        model = network(dropout=0.2)
        rng = np.random.default_rng(0)
        images, labels = rng.integers(0, 256, (300, 8, 8, 1), np.uint8), rng.integers(0, 10, 300)
        schedule = Schedule(3, 32, kl_weight=0.1, weight_decay=0.01)
        fit(model, images, labels, schedule, augmentation=Augmentation(1, True, 0.1), seed=seed)
        return hashlib.sha256(b"".join(np.asarray(weight).tobytes() for weight in model.weights)).hexdigest()

    print(json.dumps([digest(int(seed)) for seed in sys.argv[1:]]))
"""


@pytest.mark.slow
def test_same_seed_same_result_on_one_thread():
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(REPEATED)]
    runs = [
        subprocess.Popen([*command, *seeds], env=environment, stdout=subprocess.PIPE, text=True)
        for seeds in (["5", "5", "6"], ["5"])
    ]
    first, second = (json.loads(run.communicate(timeout=120)[0]) for run in runs)
    assert first[0] == first[1] == second[0]
    assert first[0] != first[2]


@pytest.mark.slow
def test_digits_prune_to_nine_zeros_in_ten_at_little_loss(digits):
    train, validation = digits
    model = network(width=16)
    set_phase(model, "dense")
    dense = fit(model, *train, Schedule(20, learning_rate=0.01), validation=validation, validate_every=20)
    set_phase(model, "variational")
    start_noise(model, -4.0)
    fit(model, *train, Schedule(30, learning_rate=0.02, kl_weight=0.5, kl_warmup=0.5))
    freeze(model)
    frozen = fit(model, *train, Schedule(10, learning_rate=0.005), validation=validation, validate_every=10)
    assert dense.val_accuracy > 0.97
    assert sparsity(model) > 0.9
    assert frozen.val_accuracy > dense.val_accuracy - 0.025


def test_a_step_of_distillation_is_the_gradient_of_both_losses(digits):
    """SGD moves by rate times the gradient of (1 - w) CE + w T^2 CE(teacher at T), here by the tape."""
    images, labels = digits[0][0][:64], digits[0][1][:64]
    teacher = np.random.default_rng(0).normal(0, 3, (64, 10)).astype(np.float32)
    model = dense_network()
    set_phase(model, "dense")
    variables = [variable.value for variable in model.trainable_variables]
    before = [variable.numpy() for variable in variables]
    with tf.GradientTape() as tape:
        logits = model(images / 255.0, training=True)
        soft = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(teacher / 2.0), logits / 2.0)
        hard = keras.losses.sparse_categorical_crossentropy(labels, logits, True)
        loss = tf.reduce_mean(0.7 * hard + 0.3 * 4.0 * soft)
    gradients = tape.gradient(loss, variables)
    schedule = Schedule(1, 64, optimiser="sgd", momentum=0.0, learning_rate=1e-2, decay="constant", warmup=0.0)
    fit(model, images, labels, schedule, distillation=Distillation(teacher, 0.3, temperature=2.0))
    for variable, start, gradient in zip(model.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose((start - np.asarray(variable)) / 1e-2, gradient, rtol=2e-3, atol=2e-4)


def test_a_students_answers_follow_its_teacher(digits):
    """Each image meets its own teacher's answer, whatever the order: a teacher that is wrong is learnt from as well."""
    (images, labels), _ = digits
    teacher = 8.0 * np.eye(10, dtype=np.float32)[(labels + 1) % 10]
    model = network(width=12)
    set_phase(model, "dense")
    fit(model, images, labels, Schedule(8, 64, learning_rate=0.02), distillation=Distillation(teacher, 1.0))
    assert Evaluator(model).accuracy(images, (labels + 1) % 10) > 0.9
    with pytest.raises(ValueError, match="5 images do not fit"):
        fit(model, images, labels, Schedule(1), distillation=Distillation(teacher[:5], 1.0))
