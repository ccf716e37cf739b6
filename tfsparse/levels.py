"""Weights of few levels: kernels rounded while they are trained, so that few bits say each.

With b bits a weight is one of the 2^b - 1 levels -t..t times its output channel's step, t = 2^(b-1) - 1, and the
channel's largest magnitude is the outermost level. Rounding is straight-through: the gradient passes as if there were
none (Bengio et al. 2013, arXiv 1308.3432). What int8 conversion makes of such kernels has as few values, which the
compiler stores in as few bits; batch normalisation's folding scales whole channels and keeps the levels.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def top_level(bits: int) -> int:
    """The outermost level: 1 for 2 bits, 3 for 3, 7 for 4."""
    return 2 ** (bits - 1) - 1


def rounded(kernel: tf.Tensor, bits: int, axis: int) -> tf.Tensor:
    """The kernel on its levels, a step for each index along `axis`, with the gradient of the kernel itself."""
    axes = [i for i in range(len(kernel.shape)) if i != axis]
    largest = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True)
    step = tf.stop_gradient(tf.maximum(largest, 1e-12)) / top_level(bits)
    return kernel + tf.stop_gradient(tf.round(kernel / step) * step - kernel)


def channel_axes(model: keras.Model) -> dict[int, int]:
    """The axis of the output channels of every kernel that convolutions and dense layers have, by the variable's id."""
    axes = {}
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None or len(kernel.shape) < 2:
            continue
        # Of a depthwise kernel (height, width, channels, 1) and of all others (..., channels).
        axes[id(kernel)] = (
            2 if len(kernel.shape) == 4 and "Depthwise" in type(layer).__name__ else len(kernel.shape) - 1
        )
    return axes
