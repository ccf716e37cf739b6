"""Trained networks as int8 `.tflite`: the border that everything on the chip's side starts from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from tfsparse.build import channel_ranges, inference_model
from tfsparse.candidate import FULL_BITS
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

# Bits of a multiplier behind its leading one, tried in turn; the first that costs no more validation accuracy than this
# is kept (of a small validation part, one image is allowed).
SHORT_MANTISSAS = (4, 6, 8, None)
SHORTENING_LOSS = 0.0005


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
) -> Converted:
    """The int8 model that loses least against the float accuracy `floats` on images [N, H, W, C] in 0..1.

    Rescalings are tried in turn until one is within `TOLERATED_LOSS`; `calibration` (training images) sets the ranges.
    Then its multipliers are made as short as they can be without a loss.
    """
    best: Converted | None = None
    for strength in STRENGTHS if weight_bits == FULL_BITS else (None, 0.0):
        model = quantise(network, rescaled(network, weights, calibration, strength), calibration)
        accuracy = Interpreter(model).accuracy(images, labels)
        if best is None or accuracy > best.accuracy:
            best = Converted(model, accuracy, None)
        if accuracy >= floats - TOLERATED_LOSS:
            break
    assert best is not None
    note = None
    if best.accuracy < floats - TOLERATED_LOSS:
        note = f"int8 costs {100 * (floats - best.accuracy):.1f} points on validation with each rescaling"
    return replace(_shortened(best, images, labels, weight_bits), note=note)


def _shortened(model: Converted, images: np.ndarray, labels: np.ndarray, weight_bits: int) -> Converted:
    """The same with the shortest multipliers that cost next to nothing."""
    for bits in SHORT_MANTISSAS:
        short = shorten(model.tflite, bits, weight_bits)
        accuracy = Interpreter(short).accuracy(images, labels)
        if accuracy >= model.accuracy - max(SHORTENING_LOSS, 1.01 / len(labels)):
            return Converted(short, accuracy, None)
    return model


def rescaled(network: Network, weights: Weights, calibration: np.ndarray, strength: float | None) -> Weights:
    """The float-exact rewrites that int8 asks for: absorb channel means, equalise channel ranges.

    Strength 0: as they are; None: means only, which leaves weights on the levels that they were trained on.
    """
    if strength == 0:
        return weights
    weights = centre(network, weights, channel_ranges(network, weights, calibration))
    if strength is None:
        return weights
    return equalise(network, weights, channel_ranges(network, weights, calibration), strength)


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
    weights = {}
    for op in network.ops:
        if op.kind in WEIGHTED:
            kernel = np.zeros(network.kernel_shape(op), np.float32)
            kernel.flat[0] = 1.0
            weights[op.name] = OpWeights(kernel, np.zeros(kernel.shape[-1], np.float32))
    images = np.random.default_rng(0).random((8, *network.input_shape), dtype=np.float32)
    return quantise(network, weights, images)
