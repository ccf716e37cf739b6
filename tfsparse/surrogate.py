"""Gaussian processes over a conditional design space.

Candidates live in a space where most parameters exist only under conditions. Two candidates that both lack a third
block must not be told apart by its filters, and one that has it lies at the same distance from those that lack it,
whatever its filters. The arc kernel does this (Swersky, Duvenaud, Snoek, Hutter, Osborne: "Raiders of the Lost
Architecture: Kernels for Bayesian Optimization in Conditional Parameter Spaces", 2014): parameter i at u in [0, 1]
becomes a point of the plane,

    g_i = omega_i (sin(pi rho_i u), cos(pi rho_i u)) where it exists, the origin where it does not,

and the kernel is a Matern 5/2 of the Euclidean distance of the embedded points. A categorical parameter becomes one
of k orthogonal unit vectors, or the origin; a parameter without conditions needs no arc and stays a line. Parameters of
one group (every layer's filters) share omega and rho, so that twelve layers' kernels are not twelve things to learn.

To this come features, numbers known of a network without training it (its weights, its MACs): each is a line, and a
linear kernel over them lets the sizes' trends reach beyond what was measured. Hyperparameters are the maximum of the
posterior under log-normal priors (as Hvarfner, Hellsten, Nardi 2024 advise for many dimensions), noise included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from tfsparse.space import Encoded, Parameter

_SQRT5 = np.sqrt(5.0)
_JITTER = 1e-8
_MAX_ITERATIONS = 40
# A ten-thousandth more of a log posterior near a hundred is not worth another step.
_TOLERANCE = 1e-6

# Hyperparameters are learnt from at most so many observations, evenly picked: their cost grows with the cube of the
# number, and more tell little more about them. They are learnt anew whenever so many have come; what was learnt from
# the same numbers is remembered. The posterior takes all observations in.
_LEARN_FROM = 160
_LEARN_EVERY = 4
_REMEMBERED = 16


class Embedding:
    """Where candidates lie before their length scales: the columns Z [N, C] of the arc embedding, and each column's
    group."""

    def __init__(self, parameters: Sequence[Parameter], features: int):
        names = list(dict.fromkeys(parameter.group for parameter in parameters))
        conditional = {parameter.group for parameter in parameters if parameter.conditions}
        self.lines: list[int] = []
        self.arcs: list[int] = []
        self.choices: list[tuple[int, int]] = []
        for i, parameter in enumerate(parameters):
            if parameter.categorical:
                self.choices += [(i, choice) for choice in range(len(parameter.domain))]
            elif parameter.group in conditional:
                self.arcs.append(i)
            else:
                self.lines.append(i)
        group_of = np.array([names.index(parameter.group) for parameter in parameters], int)
        curved = sorted({int(group_of[i]) for i in self.arcs})
        self.arc_count = len(curved)
        # The arc (an index into rho) that each arc parameter uses.
        self.arc_of = np.array([curved.index(group_of[i]) for i in self.arcs], int)
        self.group = np.concatenate(
            [
                group_of[self.arcs],
                group_of[self.arcs],
                group_of[self.lines],
                group_of[[i for i, _ in self.choices]] if self.choices else np.zeros(0, int),
                len(names) + np.arange(features),
            ]
        ).astype(int)
        self.parameter_groups = len(names)
        self.groups = len(names) + features

    def __call__(self, encoded: Encoded, features: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Z [N, C], and its derivative by the rho of each arc column [N, 2 * arcs]."""
        u, active = encoded.unit[:, self.arcs], encoded.active[:, self.arcs]
        angle = np.pi * u * rho[self.arc_of]
        sine, cosine = np.sin(angle) * active, np.cos(angle) * active
        which = [i for i, _ in self.choices]
        chosen = encoded.unit[:, which] == [choice for _, choice in self.choices]
        columns = [sine, cosine, encoded.unit[:, self.lines], chosen & encoded.active[:, which], features]
        slope = np.pi * u
        return np.hstack(columns).astype(float), np.hstack([slope * cosine, -slope * sine])


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms of omega per group [G], of signal, linear and noise variance (of standardised values), logits of
    rho."""

    omega: np.ndarray
    rho: np.ndarray
    signal: float
    linear: float
    noise: float

    def flat(self) -> np.ndarray:
        return np.concatenate([self.omega, self.rho, [self.signal, self.linear, self.noise]])

    @classmethod
    def unflat(cls, flat: np.ndarray, groups: int) -> Hyperparameters:
        return cls(flat[:groups], flat[groups:-3], *map(float, flat[-3:]))


class GaussianProcess:
    """A Gaussian process regression of one objective on encoded candidates."""

    def __init__(self, parameters: Sequence[Parameter], features: int):
        self.embedding = Embedding(parameters, features)
        groups, arcs = self.embedding.groups, self.embedding.arc_count
        # Median and spread of each: at first nothing stands out, and with data a few parameters may.
        self._prior_mean = Hyperparameters(
            omega=np.full(groups, np.log(0.2)),
            rho=np.zeros(arcs),
            signal=0.0,
            linear=np.log(0.01),
            noise=np.log(0.1),
        ).flat()
        self._prior_deviation = Hyperparameters(np.full(groups, 1.25), np.ones(arcs), 1.0, 1.5, 1.5).flat()
        self.hyperparameters = Hyperparameters.unflat(self._prior_mean, groups)

    def _standardise(self, encoded: Encoded, y: np.ndarray) -> np.ndarray:
        self._y_mean, self._y_scale = float(y.mean()), float(y.std()) or 1.0
        self._feature_mean = encoded.features.mean(axis=0)
        # A feature that never changed so far must not blow up where it does.
        self._feature_scale = np.maximum(encoded.features.std(axis=0), 0.5)
        return (y - self._y_mean) / self._y_scale

    def learn(self, encoded: Encoded, y: np.ndarray) -> Hyperparameters:
        """The most probable hyperparameters by candidates [N] and their values y [N]."""
        rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), _LEARN_FROM)).astype(int))
        encoded, y = encoded[rows], y[rows]
        self._learnt_from, self._learnt_y = encoded, self._standardise(encoded, y)
        key = b"".join(one.tobytes() for one in (encoded.unit, encoded.active, encoded.features, y))
        if key not in _learnt:
            found = minimize(
                self.loss,
                self._prior_mean,
                jac=True,
                method="L-BFGS-B",
                bounds=[(m - 4 * s, m + 4 * s) for m, s in zip(self._prior_mean, self._prior_deviation, strict=True)],
                options={"maxiter": _MAX_ITERATIONS, "ftol": _TOLERANCE},
            )
            _learnt[key] = Hyperparameters.unflat(found.x, self.embedding.groups)
            while len(_learnt) > _REMEMBERED:
                _learnt.pop(next(iter(_learnt)))
        return _learnt[key]

    def fit(self, encoded: Encoded, y: np.ndarray) -> GaussianProcess:
        """Learn from candidates [N] and their objective's values y [N], two or more of them finite."""
        y = np.asarray(y, float)
        if len(y) != len(encoded) or not np.isfinite(y).all():
            raise ValueError("every candidate needs one finite value")
        learnt = len(y) - len(y) % _LEARN_EVERY if len(y) > _LEARN_EVERY else len(y)
        with threadpool_limits(1, user_api="blas"):
            self.hyperparameters = self.learn(encoded[:learnt], y[:learnt])
            standard = self._standardise(encoded, y)
            z, linear, _ = self._embed(encoded, self.hyperparameters)
            self._z, self._linear = z, linear
            k = self._kernel(z, linear, z, linear)
            k[np.diag_indices_from(k)] += np.exp(self.hyperparameters.noise) + _JITTER
            self._factor = cholesky(k, lower=True)
            self._alpha = cho_solve((self._factor, True), standard)
        return self

    def loss(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log posterior of the hyperparameters (up to a constant), and its gradient."""
        h = Hyperparameters.unflat(flat, self.embedding.groups)
        z, linear, slopes = self._embed(self._learnt_from, h)
        squared = _squared_distances(z, z)
        r = np.sqrt(squared)
        decay = np.exp(-_SQRT5 * r)
        matern = (1 + _SQRT5 * r + 5 / 3 * squared) * decay
        signal, noise = np.exp(h.signal), np.exp(h.noise)
        linear_kernel = linear @ linear.T
        k = signal * matern + linear_kernel
        k[np.diag_indices_from(k)] += noise + _JITTER
        y = self._learnt_y
        standard = (flat - self._prior_mean) / self._prior_deviation
        penalty = 0.5 * float(standard @ standard)
        try:
            factor = cholesky(k, lower=True)
        except LinAlgError:
            return 1e10 + penalty, standard / self._prior_deviation
        alpha = cho_solve((factor, True), y)
        loss = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor)).sum()) + penalty
        inverse = cho_solve((factor, True), np.eye(len(y)))
        # dL/dK of the loss; every hyperparameter reaches it through K.
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        # Matern 5/2 by the squared distance, which is smooth at zero: -5/6 (1 + sqrt5 r) exp(-sqrt5 r).
        by_squared = weight * (-5 / 6 * signal) * (1 + _SQRT5 * r) * decay
        by_z = 4 * (by_squared.sum(axis=1)[:, None] * z - by_squared @ z)
        omega = np.exp(h.omega)
        by_column = (by_z * z).sum(axis=0)
        by_omega = np.bincount(self.embedding.group, by_column, minlength=self.embedding.groups)
        arcs = slopes.shape[1]
        by_arc = (by_z[:, :arcs] * slopes * omega[self.embedding.group[:arcs]]).sum(axis=0)
        rho = _sigmoid(h.rho)
        by_rho = np.bincount(np.tile(self.embedding.arc_of, 2), by_arc, minlength=len(rho)) * rho * (1 - rho)
        gradient = np.concatenate(
            [
                by_omega,
                by_rho,
                [
                    signal * float((weight * matern).sum()),
                    float((weight * linear_kernel).sum()),
                    noise * float(np.trace(weight)),
                ],
            ]
        )
        return loss, gradient + standard / self._prior_deviation

    def predict(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [M] of the objective itself (without the noise) at M candidates."""
        with threadpool_limits(1, user_api="blas"):
            mean, half, (_, linear) = self._posterior(encoded)
            prior = np.exp(self.hyperparameters.signal) + (linear**2).sum(axis=1)
            variance = np.maximum(prior - (half**2).sum(axis=0), 0.0)
        return mean * self._y_scale + self._y_mean, np.sqrt(variance) * self._y_scale

    def _posterior(self, encoded: Encoded):
        z, linear, _ = self._embed(encoded, self.hyperparameters)
        cross = self._kernel(self._z, self._linear, z, linear)
        half = solve_triangular(self._factor, cross, lower=True)
        return cross.T @ self._alpha, half, (z, linear)

    def _embed(self, encoded: Encoded, h: Hyperparameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The scaled embedding [N, C], the linear kernel's features [N, F] and the slopes by rho."""
        features = (encoded.features - self._feature_mean) / self._feature_scale
        base, slopes = self.embedding(encoded, features, _sigmoid(h.rho))
        return base * np.exp(h.omega)[self.embedding.group], features * np.exp(0.5 * h.linear), slopes

    def _kernel(self, z1: np.ndarray, linear1: np.ndarray, z2: np.ndarray, linear2: np.ndarray) -> np.ndarray:
        squared = _squared_distances(z1, z2)
        r = np.sqrt(squared)
        matern = (1 + _SQRT5 * r + 5 / 3 * squared) * np.exp(-_SQRT5 * r)
        return np.exp(self.hyperparameters.signal) * matern + linear1 @ linear2.T


# Hyperparameters by the bytes that they were learnt from, the latest last.
_learnt: dict[bytes, Hyperparameters] = {}


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return np.maximum(squared, 0.0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
