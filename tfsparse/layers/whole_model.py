"""The same for all variational layers of a model: phases, thresholds, sparsity."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfsparse.layers.base import VARIATIONAL, VariationalLayer
from tfsparse.layers.context import KLWeight
from tfsparse.layers.scale import GroupScale


def variational_layers(model: keras.Model) -> list[VariationalLayer]:
    """The model's prunable layers, those of nested models included, in the model's order."""
    found = [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, VariationalLayer)]
    return [layer for layer in found if layer.prunable]


def group_scales(model: keras.Model) -> list[GroupScale]:
    """The layers that scale whole groups (Bayesian Compression), in the model's order."""
    return [layer for layer in variational_layers(model) if isinstance(layer, GroupScale)]


def weight_layers(model: keras.Model) -> list[VariationalLayer]:
    """The prunable layers with weights of their own (Sparse Variational Dropout), in the model's order."""
    return [layer for layer in variational_layers(model) if not isinstance(layer, GroupScale)]


def kl_divergence(model: keras.Model) -> tf.Tensor:
    """The KL summed over all layers in the variational phase: a scalar in nats."""
    return tf.add_n([layer.kl() for layer in variational_layers(model)] or [tf.zeros(())])


def set_phase(model: keras.Model, phase: str) -> None:
    """Put every prunable layer into the phase `dense` or `variational`. What was traced or compiled must be anew."""
    for layer in variational_layers(model):
        layer.set_phase(phase)


def set_kl_weight(model: keras.Model, weight: KLWeight | None) -> None:
    """Let the layers add `weight` times their KL to the losses that Keras' `fit` minimises (None: no more)."""
    for layer in variational_layers(model):
        layer.kl_weight = weight


def freeze(model: keras.Model, threshold: float | Callable[[VariationalLayer], float] | None = None) -> None:
    """Freeze every prunable layer at `threshold`: one for all, or a function of the layer (None: each layer's own)."""
    for layer in variational_layers(model):
        layer.freeze(threshold(layer) if callable(threshold) else threshold)


def weights_and_zeros(layers: Iterable[VariationalLayer]) -> tuple[int, int]:
    """The number of kernel weights, and how many of them are zero at inference."""
    kernels = [np.asarray(layer.effective_kernel()) for layer in layers]
    return sum(kernel.size for kernel in kernels), sum(int(np.sum(kernel == 0)) for kernel in kernels)


def sparsity(model: keras.Model) -> float:
    """The fraction of the prunable layers' kernel weights that are zero at inference; 0 where there are none.

    Scales are no weights: what they prune is seen in the kernels once they are folded (`build.folded_weights`).
    """
    weights, zeros = weights_and_zeros(weight_layers(model))
    return zeros / weights if weights else 0.0


def start_noise(model: keras.Model, log_alpha: float) -> None:
    """Set all variances so that every weight starts at `log_alpha`, relative to its mean.

    A warm start after dense training, which skips the long climb from the paper's constant variance.
    """
    for layer in variational_layers(model):
        if layer.phase == VARIATIONAL:
            layer.log_sigma2.assign(np.log(np.square(np.asarray(layer.kernel)) + 1e-8) + log_alpha)
