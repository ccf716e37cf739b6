"""Conversion: zeros stay zero, and the exact rewrites save int8 where plain quantisation collapses."""

import numpy as np
import pytest

from tfsparse import convert
from tfsparse.build import inference_model
from tfsparse.compiler import check_model, compile_model
from tfsparse.compiler.graph import lower
from tfsparse.compiler.layers import Weighted
from tfsparse.compiler.reader import read_model
from tfsparse.convert import STRENGTHS, cross_entropies, quantise, rescaled, to_int8
from tfsparse.errors import UserError
from tfsparse.network import Network, Op
from tfsparse.reference import Interpreter
from tfsparse.rewrite import OpWeights

NETWORK = Network(
    (
        Op("image", "input"),
        Op("stem", "conv", ("image",), channels=6, kernel=(3, 3), stride=2, activation="relu"),
        Op("first", "depthwise", ("stem",), kernel=(3, 3)),
        Op("second", "depthwise", ("first",), kernel=(3, 3)),
        Op("mix", "conv", ("second",), channels=8, activation="relu"),
        Op("features", "flatten", ("mix",)),
        Op("logits", "dense", ("features",), channels=5),
    ),
    (8, 8, 1),
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((200, 8, 8, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def unequal() -> dict[str, OpWeights]:
    """Linear depthwise convolutions in a row, whose channels differ in range by four orders of magnitude."""
    rng = np.random.default_rng(0)
    weights = {
        op.name: OpWeights(
            (rng.normal(size=NETWORK.kernel_shape(op)) / 3).astype(np.float32),
            rng.normal(size=NETWORK.kernel_shape(op)[-1]).astype(np.float32) / 3,
        )
        for op in NETWORK.ops
        if op.kind in ("conv", "depthwise", "dense")
    }
    spread = np.logspace(-2, 2, 6).astype(np.float32)
    weights["first"] = OpWeights(weights["first"].kernel * spread, weights["first"].bias * spread)
    mix = weights["mix"]
    weights["mix"] = OpWeights(mix.kernel / spread[:, None], mix.bias)
    return weights


def noise(model: bytes, images: np.ndarray, floats: np.ndarray) -> float:
    """The root mean square of int8's error, over the logits' own spread."""
    interpreter = Interpreter(model)
    scale, zero_point = interpreter.output["quantization"]
    outputs = (interpreter.run(interpreter.quantised(images)).astype(np.float32) - zero_point) * scale
    return float(np.sqrt(np.mean((outputs - floats) ** 2)) / floats.std())


def test_rescaling_cures_unequal_channels(unequal, images):
    floats = np.asarray(inference_model(NETWORK, unequal)(images))
    plain = noise(quantise(NETWORK, unequal, images), images, floats)
    cured = noise(quantise(NETWORK, rescaled(NETWORK, unequal, images, 1.0), images), images, floats)
    assert plain > 0.3, "the example no longer collapses: find a worse one"
    assert cured < 0.05


def test_the_model_that_loses_least_is_chosen_and_int8_agrees_with_floats(unequal, images):
    labels = np.asarray(inference_model(NETWORK, unequal)(images)).argmax(axis=1)
    converted = to_int8(NETWORK, unequal, images, images, labels, floats=1.0)
    assert converted.accuracy >= 0.95
    assert (converted.note is None) == (converted.accuracy >= 0.995)


def test_a_final_conversion_takes_the_rescaling_with_the_least_cross_entropy(unequal, images, monkeypatch):
    monkeypatch.setattr(convert, "_shortened", lambda model, *_: model)
    labels = inference_model(NETWORK, unequal).predict(images, verbose=0).argmax(axis=1)
    models = [quantise(NETWORK, rescaled(NETWORK, unequal, images, strength), images) for strength in STRENGTHS]
    losses = [cross_entropies(model, images, labels).mean() for model in models]
    assert min(losses) < losses[0], "the first one is the best: find another example"
    # The first is good enough for a search.
    assert to_int8(NETWORK, unequal, images, images, labels, 1.0).tflite == models[0]
    final = to_int8(NETWORK, unequal, images, images, labels, 1.0, choosing_images=None)
    assert final.tflite == models[int(np.argmin(losses))]


def test_unequal_channels_on_few_levels_are_cured_where_depthwise_convolutions_read_them(unequal, images):
    """Without a rescaling half of the stem's channels are less than a step of int8."""
    spread = np.logspace(-2, 2, 6).astype(np.float32)
    stem, first = unequal["stem"], unequal["first"]
    weights = {
        **unequal,
        "stem": OpWeights(np.sign(stem.kernel) * spread, stem.bias * spread),
        "first": OpWeights(np.sign(first.kernel) / spread, np.zeros_like(first.bias)),
        "mix": OpWeights(np.sign(unequal["mix"].kernel), unequal["mix"].bias),
    }
    labels = np.asarray(inference_model(NETWORK, weights)(images)).argmax(axis=1)
    assert Interpreter(quantise(NETWORK, weights, images)).accuracy(images, labels) < 0.9
    converted = to_int8(NETWORK, weights, images, images, labels, floats=1.0, weight_bits=3)
    assert converted.accuracy >= 0.95
    # Whatever shorter constants cost, and by chance int8's own errors may well suit some labels.
    for seed in range(3):
        chance = np.random.default_rng(seed).integers(0, 5, len(labels))
        model = to_int8(NETWORK, weights, images, images, chance, floats=1.0, weight_bits=3).tflite
        layers = [layer for layer in lower(read_model(model)).layers if isinstance(layer, Weighted)]
        assert [np.abs(layers[i].weights).max() for i in (0, 1, 3)] == [3, 3, 3]  # stem, first, mix
    on_levels = rescaled(NETWORK, weights, images, 1.0, on_levels=True)
    for name in ("stem", "first", "mix"):
        sizes = np.abs(on_levels[name].kernel)
        assert np.allclose(sizes, sizes.max(axis=tuple(range(sizes.ndim - 1))), rtol=1e-5)


def test_a_network_that_collapsed_is_refused_and_not_the_end_of_the_process(images):
    """Below zero everywhere, a sum gives a range of nothing, over which TFLite's interpreter aborts."""
    network = Network(
        (
            Op("image", "input"),
            Op("one", "conv", ("image",), channels=2, kernel=(3, 3)),
            Op("two", "conv", ("image",), channels=2, kernel=(1, 1)),
            Op("sum", "add", ("one", "two"), activation="relu"),
            Op("features", "flatten", ("sum",)),
            Op("logits", "dense", ("features",), channels=5),
        ),
        (8, 8, 1),
    )
    rng = np.random.default_rng(0)
    weights = {
        op.name: OpWeights(rng.normal(size=network.kernel_shape(op)).astype(np.float32), np.full(n, -50, np.float32))
        for op, n in zip((network.op("one"), network.op("two"), network.op("logits")), (2, 2, 5), strict=True)
    }
    with pytest.raises(UserError, match=r"operator ADD .* output scale is too small"):
        check_model(quantise(network, weights, images))
    # It is not even opened, and another rescaling is taken, in which the sum's inputs are as small.
    converted = to_int8(network, weights, images, images, np.zeros(len(images), int), floats=1.0)
    assert converted.accuracy == 1.0
    with pytest.raises(UserError, match=r"int8 cannot say what the network computes: .*operator ADD"):
        to_int8(network, weights, images, images, np.zeros(len(images), int), floats=1.0, weight_bits=4)


def test_pruned_weights_are_zero_in_the_model(unequal, images, tmp_path):
    rng = np.random.default_rng(2)
    pruned = {name: OpWeights(w.kernel * (rng.random(w.kernel.shape) < 0.3), w.bias) for name, w in unequal.items()}
    left = sum(np.count_nonzero(w.kernel) for w in pruned.values())
    model = quantise(NETWORK, rescaled(NETWORK, pruned, images, 0.5), images)
    assert compile_model(model, tmp_path).nnz <= left


def test_small_windows_are_calibrated_rightly():
    """A 2x2 convolution of a 2x2 map, which the converter's own float kernel leaves partly unwritten."""
    network = Network(
        (
            Op("image", "input"),
            Op("a", "conv", ("image",), channels=10, kernel=(2, 2), activation="relu"),
            Op("features", "flatten", ("a",)),
            Op("logits", "dense", ("features",), channels=3),
        ),
        (2, 2, 1),
    )
    rng = np.random.default_rng(0)
    weights = {
        op.name: OpWeights(
            rng.normal(size=network.kernel_shape(op)).astype(np.float32), np.zeros(op.channels, np.float32)
        )
        for op in network.ops[1::2]
    }
    images = rng.random((50, 2, 2, 1), dtype=np.float32)
    floats = np.asarray(inference_model(network, weights)(images))
    for _ in range(5):
        # Freed memory full of large numbers is what the unwritten outputs would show.
        junk = [np.full(int(size), 1e30, np.float32) for size in rng.integers(10, 200_000, 20)]
        del junk
        assert noise(quantise(network, weights, images), images, floats) < 0.05
