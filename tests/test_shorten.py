"""Int8 models with shorter constants: fewer bits, nearly the same answers."""

import numpy as np
import pytest

from tfsparse.build import inference_model
from tfsparse.compiler.encode import unit_of
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.graph import lower
from tfsparse.compiler.layers import Weighted
from tfsparse.compiler.reader import read_model
from tfsparse.convert import quantise
from tfsparse.levels import top_level
from tfsparse.network import Network, Op
from tfsparse.reference import Interpreter
from tfsparse.rewrite import OpWeights
from tfsparse.shorten import shorten

NETWORK = Network(
    (
        Op("image", "input"),
        Op("stem", "conv", ("image",), channels=6, kernel=(3, 3), stride=2, activation="relu"),
        Op("depth", "depthwise", ("stem",), kernel=(3, 3)),
        Op("mix", "conv", ("depth",), channels=6),
        Op("sum", "add", ("mix", "stem"), activation="relu"),
        Op("features", "flatten", ("sum",)),
        Op("logits", "dense", ("features",), channels=5),
    ),
    (8, 8, 1),
)
IMAGES = np.random.default_rng(1).random((200, 8, 8, 1), dtype=np.float32)


def weights_on(bits: int | None, seed: int = 0) -> dict[str, OpWeights]:
    """Random weights, on as many levels as `bits` have, every channel with its own step."""
    rng, found = np.random.default_rng(seed), {}
    for op in NETWORK.ops:
        if op.kind not in ("conv", "depthwise", "dense"):
            continue
        shape = NETWORK.kernel_shape(op)
        kernel = rng.normal(size=shape)
        if bits is not None:
            top = top_level(bits)
            kernel = rng.integers(-top, top + 1, size=shape).astype(float)
            kernel.reshape(-1, shape[-1])[0] = top
            kernel = kernel / top * rng.uniform(0.3, 1.0, shape[-1])
        bias = rng.normal(size=shape[-1]) / 3
        found[op.name] = OpWeights(kernel.astype(np.float32), bias.astype(np.float32))
    return found


def noise(model: bytes, weights: dict[str, OpWeights]) -> float:
    """The root mean square of int8's error, over the logits' own spread."""
    interpreter = Interpreter(model)
    scale, zero_point = interpreter.output["quantization"]
    outputs = (interpreter.run(interpreter.quantised(IMAGES)).astype(np.float32) - zero_point) * scale
    floats = np.asarray(inference_model(NETWORK, weights)(IMAGES))
    return float(np.sqrt(np.mean((outputs - floats) ** 2)) / floats.std())


def layers_of(model: bytes) -> list[Weighted]:
    return [layer for layer in lower(read_model(model)).layers if isinstance(layer, Weighted)]


def bits_behind(multiplier: Multiplier) -> float:
    """How far the mantissa is from one of 4 bits behind the leading one, in the 31st bit's units."""
    step = 1 << 26
    return abs(multiplier.mantissa - step * round(multiplier.mantissa / step))


def test_multipliers_have_few_bits_and_answers_stay():
    weights = weights_on(None)
    plain = quantise(NETWORK, weights, IMAGES)
    short = shorten(plain, 4)
    assert max(bits_behind(m) for layer in layers_of(plain) for m in layer.multipliers) > 1 << 20
    assert max(bits_behind(m) for layer in layers_of(short) for m in layer.multipliers) <= 1 << 8
    floats = np.asarray(inference_model(NETWORK, weights)(IMAGES))
    for model, agreement in ((plain, 0.97), (short, 0.93)):
        interpreter = Interpreter(model)
        answers = interpreter.run(interpreter.quantised(IMAGES)).argmax(axis=1)
        assert np.mean(answers == floats.argmax(axis=1)) >= agreement


@pytest.mark.parametrize("bits", (2, 3, 4, 5))
def test_weights_on_levels_become_their_numbers(bits):
    plain = quantise(NETWORK, weights_on(bits), IMAGES)
    short = shorten(plain, None, bits)
    for before, after in zip(layers_of(plain), layers_of(short), strict=True):
        assert np.abs(after.weights).max() == top_level(bits)
        assert np.array_equal(np.sign(before.weights), np.sign(after.weights))
    # int8 rounds the levels, the numbers are exact; biases are counted in coarser units, though.
    assert noise(short, weights_on(bits)) < noise(plain, weights_on(bits)) + 0.02


def test_weights_on_no_levels_stay():
    plain = quantise(NETWORK, weights_on(None), IMAGES)
    for before, after in zip(layers_of(plain), layers_of(shorten(plain, None, 4)), strict=True):
        assert np.array_equal(before.weights, after.weights)


@pytest.mark.parametrize("fraction", (0, 1, 3))
def test_biases_are_in_fractions_of_an_outputs_step(fraction):
    weights = weights_on(None)
    plain = quantise(NETWORK, weights, IMAGES)
    short = shorten(plain, 6, bias_fraction=fraction)
    for before, after in zip(layers_of(shorten(plain, 6)), layers_of(short), strict=True):
        assert unit_of(after) <= fraction < unit_of(before)
        assert before.multipliers == after.multipliers
        steps = [by.mantissa * 2.0 ** (by.shift - 31) for by in after.multipliers]
        assert np.abs((after.bias - before.bias) * steps).max() <= 2.0 ** -(fraction + 1)
    assert noise(short, weights) < noise(plain, weights) + 0.06 / 2**fraction


def test_what_is_shortened_runs_alike_every_time():
    plain = quantise(NETWORK, weights_on(4), IMAGES)
    assert shorten(plain, 4, 4, 1) == shorten(plain, 4, 4, 1)
