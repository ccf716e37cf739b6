"""Bayesian Compression: random scales of whole groups of weights, which tell what groups are not needed."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfsparse.layers.base import LOG_SIGMA2_RANGE, VariationalLayer


@keras.saving.register_keras_serializable(package="tfsparse")
class GroupScale(VariationalLayer):
    """Multiplies each channel (the last axis) by a scale z of its own: inputs and outputs [batch, ..., channels].

    Louizos, Ullrich, Welling, "Bayesian Compression for Deep Learning", NeurIPS 2017, arXiv 1705.08665, section 4.1:
    the scale's prior is the improper log-uniform one, p(z) ~ 1 / |z| (which makes the weights' the normal-Jeffreys
    prior), its posterior N(mu, sigma^2), drawn for every image and shared by all positions of a channel. Their KL is a
    function of log alpha = log sigma^2 - log mu^2 alone, the one of Sparse Variational Dropout (their equation 8), so
    the scales are a variational layer like any other, with a kernel (channels,): phases, threshold, mask.

    Of the weights under the scales, point estimates are learnt, with weight decay as their normal prior. The KL of a
    whole posterior over them would fall with each group that goes, by as much as the group has weights. In its stead,
    each channel's KL counts `group_size` times: as if `group_size` weights shared their log alpha.
    """

    def __init__(self, *, group_size: float = 1.0, **kwargs):
        kwargs = {"kernel_initializer": "ones", "use_bias": False, **kwargs}
        super().__init__(**kwargs)
        if self.use_bias:
            raise ValueError("a scale has no bias")
        self.group_size = self.kl_factor = float(group_size)

    def kernel_shape(self, input_shape):
        return (input_shape[-1],)

    def linear(self, inputs, kernel):
        return inputs * kernel

    def _draw(self, inputs, kernel, log_sigma2):
        sigma = tf.exp(0.5 * tf.clip_by_value(log_sigma2, *LOG_SIGMA2_RANGE))
        one_position = inputs[(slice(None), *[slice(0, 1)] * (len(inputs.shape) - 2))]
        return inputs * (kernel + sigma * self._noise_like(one_position))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "group_size": self.group_size}
