"""What the search minimises, and how several objectives become one number for one proposal.

The objectives are a trial's measured figures: error = 1 - val_accuracy, flash_model and ram_model in bytes. The
surrogates and the scalarisation see their logarithms, in which half the error and half the flash are the same step
wherever they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.pareto import non_dominated

OBJECTIVES = ("error", "flash", "ram")

# An error of zero on a small validation set is luck, not minus infinity.
ERROR_FLOOR = 1e-3

# Inside a budget less is still better, a little: it breaks ties and keeps the front from filling up to the rim.
_TIE = 0.05

# What one natural logarithm over a budget costs: one per cent too much outweighs the whole front's range in error.
_VIOLATION = 100.0


@dataclass(frozen=True)
class Objectives:
    """One trial's measured objectives: error in [0, 1], flash and RAM in bytes."""

    error: float
    flash: float
    ram: float

    @classmethod
    def of(cls, figures: dict[str, Any]) -> Objectives:
        """From the words of a trial's record."""
        return cls(1.0 - float(figures["val_accuracy"]), float(figures["flash_model"]), float(figures["ram_model"]))

    @property
    def vector(self) -> np.ndarray:
        return np.array([self.error, self.flash, self.ram])

    @property
    def log(self) -> np.ndarray:
        """What the surrogates see [3]."""
        return np.log([max(self.error, ERROR_FLOOR), max(self.flash, 1.0), max(self.ram, 1.0)])

    def within(self, budgets: Budgets) -> bool:
        return budgets.met_by(self.flash, self.ram)


def front(objectives: list[Objectives], budgets: Budgets) -> list[int]:
    """The survivors among trials: the non-dominated inside the budgets, or of all where none is inside."""
    eligible = [i for i, one in enumerate(objectives) if one.within(budgets)] or list(range(len(objectives)))
    if not eligible:
        return []
    keep = non_dominated(np.array([objectives[i].vector for i in eligible]))
    return [i for i, kept in zip(eligible, keep, strict=True) if kept]


@dataclass(frozen=True)
class Scalarisation:
    """max_i lambda_i t_i over normalised log objectives, with the budgets (METHOD.md; Paria, Kandasamy, Poczos 2019).

    An objective without a budget is t_i = (log f_i - low_i) / span_i, over the range of the front so far: with lambda
    drawn anew each time, proposals spread over the whole front. An objective with a budget b_i contributes log(f_i /
    b_i) where that is positive, at a rate that no gain elsewhere makes good, and inside its budget nothing but the
    tie-breaker: then what remains to be gained is the rest, above all the error, and the search spends itself inside
    the budgets.
    """

    weights: np.ndarray
    low: np.ndarray
    span: np.ndarray
    log_budgets: np.ndarray

    @classmethod
    def draw(cls, observed: np.ndarray, budgets: Budgets, rng: np.random.Generator) -> Scalarisation:
        """Random weights, 1 / lambda_i ~ U(0, 1), over the log objectives [N, 3] observed so far."""
        limits = np.log([np.inf, budgets.flash or np.inf, budgets.ram or np.inf])
        inside = observed[(observed <= limits).all(axis=1)]
        points = inside if len(inside) else observed
        points = points[non_dominated(points)]
        low, high = points.min(axis=0), points.max(axis=0)
        # A front of one point has no range: take half of what was seen, and never less than a few per cent.
        span = np.maximum(high - low, np.maximum(0.5 * np.ptp(observed, axis=0), 0.05))
        weights = 1 / rng.uniform(1e-3, 1.0, size=len(OBJECTIVES))
        return cls(weights / weights.max(), low, span, limits)

    def __call__(self, log_objectives: np.ndarray) -> np.ndarray:
        """The number to minimise [M] for log objectives [M, 3]."""
        t = (log_objectives - self.low) / self.span
        budgeted = np.isfinite(self.log_budgets)
        over = np.where(budgeted, np.maximum(log_objectives - self.log_budgets, 0.0), 0.0)
        chebyshev = (self.weights * t)[:, ~budgeted].max(axis=1)
        return chebyshev + _TIE * (self.weights * t).sum(axis=1) + _VIOLATION * over.sum(axis=1)
