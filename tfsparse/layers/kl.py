"""The KL divergence of Sparse Variational Dropout, elementwise on tensors of any shape.

Molchanov, Ashukha, Vetrov, "Variational Dropout Sparsifies Deep Neural Networks", ICML 2017, arXiv 1701.05369: the
posterior of a weight is N(w, sigma^2), its prior log-uniform, and with log alpha = log sigma^2 - log w^2

    KL ~ -(k1 sigmoid(k2 + k3 log alpha) - 0.5 log(1 + 1/alpha) - k1)                               (its equation 14)

up to a constant, chosen so that KL tends to 0 as alpha grows. It is written here as k1 sigmoid(-(k2 + k3 log alpha)) +
0.5 softplus(-log alpha), the same function, which neither overflows nor cancels for any log alpha.
"""

from __future__ import annotations

import tensorflow as tf

K1 = 0.63576
K2 = 1.87320
K3 = 1.48695

# log w^2 is taken of w^2 + EPSILON: it bounds the gradient with respect to weights that have come to rest at zero.
EPSILON = 1e-8


def log_alpha(mean: tf.Tensor, log_sigma2: tf.Tensor) -> tf.Tensor:
    """log alpha = log sigma^2 - log w^2 of every weight: the logarithm of its noise-to-signal ratio (in power)."""
    return log_sigma2 - tf.math.log(tf.square(mean) + EPSILON)


def kl_of_log_alpha(log_alpha: tf.Tensor) -> tf.Tensor:
    """The approximated KL of every weight (nats, up to the constant), from its log alpha."""
    return K1 * tf.sigmoid(-(K2 + K3 * log_alpha)) + 0.5 * tf.nn.softplus(-log_alpha)


def kl_gradients(mean: tf.Tensor, log_sigma2: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradients of the summed KL with respect to `mean` and to `log_sigma2`, in closed form.

    A dozen operations where automatic differentiation makes twice as many: on small networks that is what counts.
    """
    power = tf.square(mean) + EPSILON
    alpha_log = log_sigma2 - tf.math.log(power)
    gate = tf.sigmoid(-(K2 + K3 * alpha_log))
    by_log_alpha = -(K1 * K3) * gate * (1.0 - gate) - 0.5 * tf.sigmoid(-alpha_log)
    return -2.0 * by_log_alpha * mean / power, by_log_alpha


@tf.custom_gradient
def kl_divergence(mean: tf.Tensor, log_sigma2: tf.Tensor):
    """The approximated KL summed over all weights: a scalar in nats. Differentiable once."""

    def gradient(upstream):
        by_mean, by_log_sigma2 = kl_gradients(mean, log_sigma2)
        return upstream * by_mean, upstream * by_log_sigma2

    return tf.reduce_sum(kl_of_log_alpha(log_alpha(mean, log_sigma2))), gradient
