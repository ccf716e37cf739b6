"""The Gaussian process: gradients, the kernel's conditional distances, what it learns, and how quickly."""

import time

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.space import DesignSpace
from tfsparse.surrogate import GaussianProcess

SPACE = DesignSpace((28, 28, 1), classes=10)


def _candidates(count: int, seed: int = 0) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    found: list[Candidate] = []
    while len(found) < count:
        candidate = SPACE.sample(rng)
        if SPACE.refusal(candidate) is None:
            found.append(candidate)
    return found


def _process() -> GaussianProcess:
    return GaussianProcess(SPACE.parameters, SPACE.encode(_candidates(1)).features.shape[1])


def _bytes(encoded) -> np.ndarray:
    """The logarithm of a size: half a byte a weight, a fixed part, and one that separable layers bring."""
    return np.log(2.0 ** encoded.features[:, 0] * 0.5 + 2000) + 0.3 * encoded.features[:, 6]


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_the_loss(seed):
    rng = np.random.default_rng(seed)
    encoded = SPACE.encode(_candidates(25, seed))
    process = _process().fit(encoded, _bytes(encoded) + rng.normal(0, 0.1, 25))
    at = process.hyperparameters.flat() + rng.normal(0, 0.4, len(process.hyperparameters.flat()))
    analytic = process.loss(at)[1]
    numeric = approx_fprime(at, lambda x: process.loss(x)[0], 1e-6)
    np.testing.assert_allclose(analytic, numeric, atol=1e-4 * np.abs(numeric).max())


def test_what_does_not_exist_does_not_count():
    """The arc embedding: inactive parameters tell nothing apart, and lie equally far from every active value."""
    layer = Layer("plain", 8, 3)
    cuts = [Candidate((Block((Layer("cut", 8, 3, cut),)),)) for cut in (0.125, 0.5, 0.75)]
    encoded = SPACE.encode([Candidate((Block((layer,)),)), *cuts])
    process = _process()
    column = [parameter.name for parameter in SPACE.parameters].index("block1/layer1/cut")
    place = process.embedding.arcs.index(column)
    z, _ = process.embedding(encoded, encoded.features, np.full(process.embedding.arc_count, 0.5))
    arc = z[:, [place, place + len(process.embedding.arcs)]]
    absent, present = arc[0], arc[1:]
    np.testing.assert_allclose(np.linalg.norm(present - absent, axis=1), 1.0)
    distances = [np.linalg.norm(present[0] - one) for one in present]
    assert distances[0] == 0 < distances[1] < distances[2]
    # Pruning knobs of networks that are not pruned: the same candidate, the same point.
    other = SPACE.canonical(Candidate((Block((layer,)),), training=Training(kl_weight=9.0)))
    same = SPACE.encode([other])
    assert (same.unit == encoded[:1].unit).all() and (same.active == encoded[:1].active).all()


def test_kernel_is_a_covariance():
    encoded = SPACE.encode(_candidates(200))
    process = _process().fit(encoded, _bytes(encoded))
    z, linear, _ = process._embed(encoded, process.hyperparameters)
    assert np.linalg.eigvalsh(process._kernel(z, linear, z, linear)).min() > -1e-8


def test_learns_sizes_and_knows_what_it_does_not_know():
    """In the median of several draws: some hundred candidates may leave one corner of the space unseen."""
    errors, known = [], []
    for seed in range(1, 4):
        rng = np.random.default_rng(seed)
        encoded = SPACE.encode(_candidates(500, seed=seed))
        truth = _bytes(encoded)
        for count in (20, 100):
            process = _process().fit(encoded[:count], truth[:count] + rng.normal(0, 0.02, count))
            mean, deviation = process.predict(encoded[100:])
            errors.append(np.sqrt(np.mean((mean - truth[100:]) ** 2)) / truth.std())
            known.append(np.mean(np.abs(mean - truth[100:]) < 2.5 * deviation + 0.02))
    few, many = np.median(np.reshape(errors, (3, 2)), axis=0)
    assert many < 0.12 < few < 0.7
    assert np.median(known) > 0.9


def test_noise_is_learnt():
    """From candidates seen twice: what differs between the two is noise, and nothing else is sure to be."""
    rng = np.random.default_rng(2)
    once = SPACE.encode(_candidates(80, seed=2))
    twice = once[np.repeat(np.arange(80), 2)]
    for deviation in (0.1, 0.5):
        y = _bytes(twice) + rng.normal(0, deviation, 160)
        process = _process().fit(twice, y)
        assert 0.7 < np.exp(process.hyperparameters.noise / 2) * y.std() / deviation < 1.4


def test_constant_and_tiny_observations_do_no_harm():
    encoded = SPACE.encode(_candidates(10, seed=4))
    for y in (np.zeros(2), np.array([1.0, 2.0])):
        mean, deviation = _process().fit(encoded[:2], y).predict(encoded[2:])
        assert np.isfinite(mean).all() and np.isfinite(deviation).all()
    with pytest.raises(ValueError, match="finite"):
        _process().fit(encoded[:2], np.array([1.0, np.nan]))


def test_three_hundred_trials_are_learnt_in_time():
    """Three of these, and the draws, must leave a proposal under two seconds."""
    encoded = SPACE.encode(_candidates(300, seed=5))
    y = _bytes(encoded) + np.random.default_rng(6).normal(0, 0.1, 300)
    times = []
    for _ in range(3):
        started = time.process_time()
        _process().fit(encoded, y)
        times.append(time.process_time() - started)
    assert min(times) < 0.6
