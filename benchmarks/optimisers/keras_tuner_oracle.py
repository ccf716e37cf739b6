"""Keras Tuner's Bayesian oracle, with its acquisition climbed by exact gradients.

Keras Tuner climbs its upper confidence bound from fifty points with gradients by finite differences, a prediction for
each of the space's dimensions: minutes for a search's proposals in a space of a hundred. The same bound, the same
Gaussian process, start points and optimiser are used here, with the bound's gradient as a formula.

Keras Tuner leaves trials that were invalid out of what it learns from. In a space that refuses part of what is in it,
the bound is soon least where everything is refused, and from then on every proposal is. Here they enter with the worst
score seen.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
from keras_tuner.engine import trial as kt_trial
from keras_tuner.oracles import BayesianOptimizationOracle
from scipy.linalg import solve_triangular

_SQRT5 = np.sqrt(5.0)


class ExactGradients(BayesianOptimizationOracle):
    """Proposes what the oracle that it is made of would propose, sooner, as long as no trial is invalid. One trial runs
    at a time."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._vectors: dict[str, np.ndarray] = {}
        # The factor of the process that is fitted, and its inverse.
        self._inverted: np.ndarray | None = None
        self._inverse: np.ndarray | None = None

    def populate_space(self, trial_id: str) -> dict:
        completed = [trial for trial in self.trials.values() if trial.status == kt_trial.TrialStatus.COMPLETED]
        if len(completed) < self.num_initial_points:
            return self._random_populate_space()
        self.gpr.fit(*self._vectorize_trials())
        bounds = self._get_hp_bounds()
        starts = self._random_state.uniform(bounds[:, 0], bounds[:, 1], size=(50, len(bounds)))
        found = [
            scipy.optimize.minimize(self.bound, x0=start, jac=True, bounds=bounds, method="L-BFGS-B")
            for start in starts
        ]
        best = min(found, key=lambda one: one.fun)
        return {"status": kt_trial.TrialStatus.RUNNING, "values": self._vector_to_values(best.x)}

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [N, D] of the trials that have ended, and their scores [N]."""
        ended = list(self.trials.values())
        worst = max(trial.score for trial in ended if trial.status == kt_trial.TrialStatus.COMPLETED)
        scores = [trial.score if trial.status == kt_trial.TrialStatus.COMPLETED else worst for trial in ended]
        return np.array([self._vector(trial) for trial in ended]), np.array(scores)

    def _vector(self, trial: kt_trial.Trial) -> np.ndarray:
        """Where a trial lies in the unit cube [D]; what does not exist in it lies at its default."""
        if trial.trial_id not in self._vectors:
            hyperparameters = trial.hyperparameters
            values = [
                hyperparameters.values[one.name]
                if hyperparameters.is_active(one) and one.name in hyperparameters.values
                else one.default
                for one in self._nonfixed_space()
            ]
            pairs = zip(self._nonfixed_space(), values, strict=True)
            self._vectors[trial.trial_id] = np.array([one.value_to_prob(value) for one, value in pairs])
        return self._vectors[trial.trial_id]

    def bound(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The lower confidence bound at x [D], and its gradient [D]."""
        process = self.gpr
        if self._inverted is not process.L_:
            self._inverted = process.L_
            self._inverse = solve_triangular(process.L_, np.eye(len(process.L_)), lower=True)
        scale = process.kernel_.length_scale
        apart = (x - process.X_train_) / scale
        r = np.sqrt(np.einsum("nd,nd->n", apart, apart))
        decay = np.exp(-_SQRT5 * r)
        rising = 1 + _SQRT5 * r
        k = (rising + 5 / 3 * r * r) * decay
        half = self._inverse @ k
        deviation = np.sqrt(max(1.0 - half @ half, 1e-12))
        mean = k @ process.alpha_
        by_k = process.alpha_ + self.beta / deviation * (half @ self._inverse)
        # Matern 5/2 by x: -5/3 (1 + sqrt5 r) exp(-sqrt5 r) (x - x_i) / scale^2.
        gradient = (by_k * rising * decay) @ apart * (-5 / 3 / scale)
        value = (mean - self.beta * deviation) * process._y_train_std + process._y_train_mean
        return float(value), gradient * process._y_train_std
