"""The KL approximation against the true divergence, and its closed-form gradients against finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import quad

from tfsparse.layers import kl


def true_kl(log_alpha: float) -> float:
    """KL(N(w, alpha w^2) || log-uniform) without its constant: E log|1 + sqrt(alpha) e| - 0.5 log alpha, e ~ N(0, 1).

    Any constant that does not depend on alpha is left out, and so is w: the divergence does not depend on it.
    """
    alpha = np.exp(log_alpha)
    root = np.sqrt(alpha)

    def integrand(e):
        return np.log(np.abs(1 + root * e) + 1e-300) * np.exp(-0.5 * e * e) / np.sqrt(2 * np.pi)

    # The logarithm's pole at e = -1/sqrt(alpha) must be a border of the intervals.
    pole = -1 / root
    borders = sorted({-12.0, 12.0, *([pole] if -12 < pole < 12 else [])})
    expectation = sum(quad(integrand, low, high, limit=400)[0] for low, high in pairwise(borders))
    return expectation - 0.5 * log_alpha


def test_approximation_follows_the_true_divergence():
    points = np.linspace(-8, 8, 65)
    # As alpha grows, E log|1 + sqrt(alpha) e| - 0.5 log alpha tends to E log|e|: the constant.
    constant = -0.5 * (np.euler_gamma + np.log(2))
    truth = np.array([true_kl(point) for point in points]) - constant
    approximation = kl.kl_of_log_alpha(tf.constant(points)).numpy()
    # The paper's figure 1 claims that the curves coincide; the worst deviation, at log alpha -3.5, is 0.0094 nats.
    np.testing.assert_allclose(approximation, truth, atol=0.0105)
    assert truth.max() > 3


def test_stable_form_equals_the_papers_formula():
    x = np.linspace(-30, 30, 241)
    paper = -(kl.K1 / (1 + np.exp(-(kl.K2 + kl.K3 * x))) - 0.5 * np.log1p(np.exp(-x)) - kl.K1)
    np.testing.assert_allclose(kl.kl_of_log_alpha(tf.constant(x)).numpy(), paper, atol=1e-12)


@pytest.mark.parametrize("log_alpha", [-1e4, 1e4])
def test_extremes_stay_finite(log_alpha):
    value = kl.kl_of_log_alpha(tf.constant(log_alpha, tf.float32)).numpy()
    assert value == pytest.approx(max(0.0, -log_alpha / 2) + (kl.K1 if log_alpha < 0 else 0))


def test_gradients_match_finite_differences():
    rng = np.random.default_rng(0)
    mean, log_sigma2 = rng.normal(0, 0.3, 50), rng.uniform(-12, 3, 50)

    def total(mean, log_sigma2):
        return kl.kl_divergence(tf.constant(mean), tf.constant(log_sigma2)).numpy()

    variables = tf.Variable(mean), tf.Variable(log_sigma2)
    with tf.GradientTape() as tape:
        loss = 3.0 * kl.kl_divergence(*variables)
    by_mean, by_log_sigma2 = (gradient.numpy() / 3 for gradient in tape.gradient(loss, variables))
    step = 1e-6
    for i in range(50):
        nudge = step * np.eye(50)[i]
        slope = (total(mean + nudge, log_sigma2) - total(mean - nudge, log_sigma2)) / (2 * step)
        assert by_mean[i] == pytest.approx(slope, rel=1e-4, abs=1e-6)
        slope = (total(mean, log_sigma2 + nudge) - total(mean, log_sigma2 - nudge)) / (2 * step)
        assert by_log_sigma2[i] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_gradient_at_zero_weights_is_finite():
    by_mean, by_log_sigma2 = kl.kl_gradients(tf.zeros(3), tf.constant([-10.0, 0.0, 10.0]))
    np.testing.assert_array_equal(by_mean, 0)
    assert np.isfinite(by_log_sigma2).all()
