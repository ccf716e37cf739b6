"""Trained networks as int8 `.tflite`: the border that everything on the chip's side starts from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from tfsparse.build import channel_ranges, inference_model
from tfsparse.candidate import FULL_BITS
from tfsparse.compiler import check_model
from tfsparse.errors import UserError
from tfsparse.network import WEIGHTED, Network
from tfsparse.quiet import quietly
from tfsparse.reference import Interpreter
from tfsparse.rewrite import OpWeights, Weights, centre, equalise
from tfsparse.shorten import shorten

CALIBRATION_IMAGES = 200
TOLERATED_LOSS = 0.005
"""int8 may cost this much validation accuracy (a fraction) before other rescalings are tried."""

# How far channel ranges are equalised; which is best depends on the net, and trying costs a conversion.
STRENGTHS = (0.5, 1.0, 0.0)
# Of weights on few levels only those of depthwise convolutions are rescaled, which have a scale for each channel.
STRENGTHS_ON_LEVELS = (1.0, 0.0)

# Bits of a multiplier behind its leading one, and of a bias behind the output's step, tried in turn. The first are kept
# with which the mean cross-entropy on validation grows by at most so much, in nats and as a share of what it was, as
# far as these images tell (a standard error is allowed): each other way to round moves it by about as much, by chance.
# It tells more of a few thousand images than how many of them are classified rightly.
SHORT = ((4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (None, 1))
SHORTENING_LOSS = 0.001
SHORTENING_SHARE = 0.001

# Rescalings and multipliers are chosen by so many images in a search: with more of them TFLite's reference kernels take
# longer than many a training. What was chosen is judged by all.
CHOOSING_IMAGES = 2000


@dataclass(frozen=True)
class Converted:
    """An int8 model with its accuracy on the validation part, and a note where int8 costs more than tolerated."""

    tflite: bytes
    accuracy: float
    note: str | None


def to_int8(
    network: Network,
    weights: Weights,
    calibration: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    floats: float,
    *,
    weight_bits: int = FULL_BITS,
    choosing_images: int | None = CHOOSING_IMAGES,
) -> Converted:
    """The int8 model that loses least against the float accuracy `floats` on images [N, H, W, C] in 0..1.

    Rescalings are tried in turn until one is within `TOLERATED_LOSS`; `calibration` (training images) sets the ranges.
    Then its multipliers are made as short as they can be without a loss. Both are chosen by so many images. None: by
    all, and of all rescalings the one with the least cross-entropy, which a training of a quarter of an hour is worth.
    Raises `UserError` where there is none, as of a network that answers all images alike.
    """
    chosen = slice(None, None, -(-len(images) // (choosing_images or len(images))))
    some, some_labels = images[chosen], labels[chosen]
    goal = (floats if len(some) == len(images) else _accuracy(network, weights, some, some_labels)) - TOLERATED_LOSS
    best, best_score, best_accuracy, refusal = b"", -np.inf, -1.0, None
    on_levels = weight_bits < FULL_BITS
    for strength in STRENGTHS_ON_LEVELS if on_levels else STRENGTHS:
        scaled = rescaled(network, weights, calibration, strength, on_levels=on_levels)
        model = quantise(network, scaled, calibration)
        try:
            check_model(model)
        except UserError as error:
            refusal = error
            continue
        accuracy = Interpreter(model).accuracy(some, some_labels)
        score = accuracy if choosing_images else -cross_entropies(model, some, some_labels).mean()
        best_accuracy = max(best_accuracy, accuracy)
        if score > best_score:
            best, best_score = model, score
        if choosing_images and accuracy >= goal:
            break
    if not best:
        raise UserError(f"int8 cannot say what the network computes: {refusal}") from refusal
    best = _shortened(best, some, some_labels, weight_bits)
    accuracy = Interpreter(best).accuracy(images, labels)
    note = None
    if best_accuracy < goal:
        lost = goal + TOLERATED_LOSS - best_accuracy
        note = f"int8 costs {100 * lost:.1f} points on validation with each rescaling"
    return Converted(best, accuracy, note)


def _accuracy(network: Network, weights: Weights, images: np.ndarray, labels: np.ndarray) -> float:
    """The float network's."""
    logits = inference_model(network, weights).predict(images, batch_size=500, verbose=0)
    return float(np.mean(logits.argmax(axis=1) == labels))


def _shortened(model: bytes, images: np.ndarray, labels: np.ndarray, weight_bits: int) -> bytes:
    """The same with the shortest constants that cost next to nothing.

    Weights on few levels become the levels' numbers in any case: int8 only came near to what was trained."""
    plain = shorten(model, None, weight_bits)
    losses = cross_entropies(plain, images, labels)
    most = SHORTENING_LOSS + SHORTENING_SHARE * losses.mean()
    for mantissa_bits, bias_fraction in SHORT:
        short = shorten(model, mantissa_bits, weight_bits, bias_fraction)
        more = cross_entropies(short, images, labels) - losses
        if more.mean() - more.std() / len(more) ** 0.5 <= most:
            return short
    return plain


def cross_entropies(model: bytes, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of an int8 model's logits on each of N images [N, H, W, C] in 0..1: float64 [N], in nats."""
    interpreter = Interpreter(model)
    outputs = interpreter.run(interpreter.quantised(images)).reshape(len(images), -1)
    logits = outputs * np.float64(interpreter.output["quantization"][0])  # but for the zero point, which cancels out
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def rescaled(
    network: Network, weights: Weights, calibration: np.ndarray, strength: float, *, on_levels: bool = False
) -> Weights:
    """The float-exact rewrites that int8 asks for: absorb channel means, equalise channel ranges as far as that leaves
    weights `on_levels` there. Strength 0: as they are."""
    if strength == 0:
        return weights
    weights = centre(network, weights, channel_ranges(network, weights, calibration))
    ranges = channel_ranges(network, weights, calibration)
    return equalise(network, weights, ranges, strength, on_levels=on_levels)


def quantise(network: Network, weights: Weights, calibration: np.ndarray) -> bytes:
    """Post-training int8 quantisation by TensorFlow Lite: int8 in and out, per-channel weights."""

    def samples() -> Iterator[list[np.ndarray]]:
        for image in calibration:
            yield [image[None]]

    model = inference_model(*_without_traps(network, weights), batch=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with quietly(), warnings.catch_warnings():
        # It asks for input statistics although the calibration gives them.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        return converter.convert()


def _without_traps(network: Network, weights: Weights) -> tuple[Network, dict[str, OpWeights]]:
    """The same network without the one convolution that TFLite's optimised float kernel, which the converter calibrates
    with, computes wrongly.

    It takes a window as large as the map, with no padding before it, for one dot product; but a 2x2 SAME convolution
    pads behind the map and has four outputs, of which three are then whatever lay in memory (seen in TensorFlow 2.21).
    Written as 3x3 with zeros above and to the left it is the same convolution.
    """
    ops, changed = [], dict(weights)
    for op in network.ops:
        same = op.kind == "conv" and op.padding == "same" and op.stride == 1 and op.kernel == (2, 2)
        if same and network.shapes[op.inputs[0]][:2] == (2, 2):
            kernel = np.pad(weights[op.name].kernel, [(1, 0), (1, 0), (0, 0), (0, 0)])
            op, changed[op.name] = replace(op, kernel=(3, 3)), OpWeights(kernel, weights[op.name].bias)
        ops.append(op)
    return replace(network, ops=tuple(ops)), changed


def least_model(network: Network) -> bytes:
    """An int8 model of the network with all but one of each op's weights pruned: what it costs at the very least."""
    return _untrained(network, lambda shape: np.arange(prod(shape)).reshape(shape) == 0)


# Of a network's weights after pruning. RAM hardly hangs on how many there are, but sparse kernels hold less than dense.
_KEPT = 0.3


def untrained_model(network: Network, *, pruned: bool) -> bytes:
    """An int8 model of the network with random weights, all channels in use, and single weights `pruned` or not: it
    holds the RAM that the trained one will, to some tens of bytes of stack, unless whole channels are pruned."""
    rng = np.random.default_rng(0)

    def kernel(shape: tuple[int, ...]) -> np.ndarray:
        kept = rng.random(shape) < (_KEPT if pruned else 1.0)
        for axis in (-2, -1):
            others = tuple(i for i in range(len(shape)) if i != len(shape) + axis)
            kept |= ~kept.any(axis=others, keepdims=True)
        # Above zero in the mean, else an activation might cut a channel off; and of all int8's bits.
        return kept * rng.uniform(-0.5, 1.0, shape)

    return _untrained(network, kernel)


def _untrained(network: Network, kernel: Callable[[tuple[int, ...]], np.ndarray]) -> bytes:
    weights = {}
    for op in network.ops:
        if op.kind in WEIGHTED:
            values = kernel(network.kernel_shape(op)).astype(np.float32)
            weights[op.name] = OpWeights(values, np.zeros(values.shape[-1], np.float32))
    images = np.random.default_rng(0).random((8, *network.input_shape), dtype=np.float32)
    return quantise(network, weights, images)
