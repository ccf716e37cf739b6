"""How several objectives become one number for one proposal: the hypervolume that a candidate would gain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.objectives import OBJECTIVES, clear_of_chance
from tfsparse.pareto import non_dominated

# Inside a budget less is worth something down to this share of it: below, only the other objectives count.
_ENOUGH = 0.9

# How many times as large as the front's largest a network may be and still gain, where no budget says it.
_BEYOND = 4.0

# Errors beyond this multiple of the least one seen gain nothing, where the user does not say which are of use. With a
# multiple of four a short search spent most of its trials on the tiniest networks (benchmarks.search, `ours-untold`).
_OF_USE = 2.0

_AT_A_TIME = 64

# Random scalarisations a proposal: their mean is close to the hypervolume gained, and each costs next to nothing.
_DIRECTIONS = 200


@dataclass(frozen=True)
class Scalarisation:
    """How much candidates would gain over what was observed, in the mean of random scalarisations.

    One scalarisation looks from a reference point r along a direction lambda: s(y) = min_i max(0, r_i - y_i) /
    lambda_i. For lambda uniform on the positive sphere the mean of s^3 is, up to a constant, the hypervolume that y
    dominates (Zhang, Golovin 2020, "Random Hypervolume Scalarizations for Provable Multi-Objective Black Box
    Optimization"), so the mean gain over the best value observed along each direction is the hypervolume gained. One
    direction a proposal, as Paria, Kandasamy and Poczos have it, asks for the best along that direction even where
    nothing can be gained there.

    The user's budgets are the reference point: what exceeds one gains nothing, and sizes well inside gain no more than
    those just inside, so that the search spends itself on the rest, the error above all. Where nothing gains
    anything, as before the first candidate is inside the budgets, the least excess over them is best.
    """

    reference: np.ndarray
    floor: np.ndarray
    span: np.ndarray
    directions: np.ndarray
    best: np.ndarray
    log_budgets: np.ndarray

    @classmethod
    def draw(
        cls, observed: np.ndarray, budgets: Budgets, rng: np.random.Generator, chance: float | None = None
    ) -> Scalarisation:
        """Random directions, over the log objectives [N, 3] observed so far. `chance`: see `clear_of_chance`."""
        limits = np.log([budgets.error or np.inf, budgets.flash or np.inf, budgets.ram or np.inf])
        inside = observed[(observed <= limits).all(axis=1)]
        points = inside if len(inside) else observed
        points = points[non_dominated(points)]
        low, high = points.min(axis=0), points.max(axis=0)
        # A front of one point has no range: take half of what was seen, and never less than a few per cent.
        span = np.maximum(high - low, np.maximum(0.5 * np.ptp(observed, axis=0), 0.05))
        # Without a budget networks some times as large as the front's largest gain as well: were it the largest seen, a
        # start of small ones would keep the search among them.
        reference = np.where(np.isfinite(limits), limits, high + np.log(_BEYOND))
        # Of the errors only those near the best are worth anything, unless the user says which are: the tiniest nets
        # err most, and are no use.
        if budgets.error is None:
            least = float(np.exp(low[0]))
            reference[0] = min(reference[0], np.log(clear_of_chance(_OF_USE * least, least, chance)))
        if reference[0] > low[0]:
            span[0] = min(span[0], reference[0] - low[0])
        # Less error is always worth something; less than a size's budget is not.
        sizes = np.isfinite(limits) & (np.array(OBJECTIVES) != "error")
        floor = np.where(sizes, limits + np.log(_ENOUGH), -np.inf)
        span = np.where(sizes, -np.log(_ENOUGH), span)
        directions = np.abs(rng.standard_normal((_DIRECTIONS, len(OBJECTIVES))))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        empty = cls(reference, floor, span, directions, np.zeros(len(directions)), limits)
        return replace(empty, best=empty._along(observed).max(axis=0))

    def _along(self, log_objectives: np.ndarray) -> np.ndarray:
        """What each direction sees of each candidate [M, directions]."""
        inside = np.maximum(self.reference - np.maximum(log_objectives, self.floor), 0.0) / self.span
        # One objective after the other: many times quicker than the least along an axis of three.
        return reduce(np.minimum, (np.outer(inside[:, i], 1 / self.directions[:, i]) for i in range(len(OBJECTIVES))))

    def gain(self, log_objectives: np.ndarray) -> np.ndarray:
        """The hypervolume gained [M], up to a constant, by log objectives [M, 3]."""
        # What lies beyond the reference gains nothing, and is most of what is asked.
        gained = np.zeros(len(log_objectives))
        best = self.best * self.best * self.best
        worth = np.flatnonzero((log_objectives < self.reference).all(axis=1))
        # A few at a time stay in the processor's cache.
        for rows in np.array_split(worth, -(-len(worth) // _AT_A_TIME)) if len(worth) else []:
            along = self._along(log_objectives[rows])
            gained[rows] = np.maximum(along * along * along - best, 0.0).mean(axis=1)
        return gained

    def distance(self, log_objectives: np.ndarray) -> np.ndarray:
        """How far log objectives [M, 3] that gain nothing are from it, above 0 [M]: the excess over the budgets, and
        of the same excess the better in the sum."""
        excess = np.maximum(log_objectives - self.log_budgets, 0.0).sum(axis=1)
        rest = 1.0 + excess + 1e-3 * ((log_objectives - self.reference) / self.span).sum(axis=1)
        return np.maximum(rest, 1e-9)

    def __call__(self, log_objectives: np.ndarray) -> np.ndarray:
        """The number to minimise [M] for log objectives [M, 3] that are known."""
        gain = self.gain(log_objectives)
        return np.where(gain > 0, -gain, self.distance(log_objectives))
