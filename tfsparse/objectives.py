"""What the search minimises.

The objectives are a trial's measured figures: error = 1 - val_accuracy, flash_model and ram_model in bytes. The
surrogates and the scalarisation (scalarisation.py) see their logarithms, in which half the error and half the flash are
the same step wherever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.pareto import non_dominated

OBJECTIVES = ("error", "flash", "ram")

# An error of zero on a small validation set is luck, not minus infinity.
ERROR_FLOOR = 1e-3


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
        return budgets.met_by(self.flash, self.ram, self.error)


# Errors beyond this multiple of the least one gain nothing, however small the network.
USELESS = 4.0


def clear_of_chance(error: float, least: float, chance: float | None) -> float:
    """The error limit `error`, or, where that is lower, half-way from the `least` error seen to `chance`: the error of
    always answering with the commonest class (None: not known). On a hard set of two classes a small multiple of the
    least error lies beyond it, and the networks that learnt nothing are the smallest."""
    return error if chance is None else min(error, (least + chance) / 2)


def worthwhile_error(observed: Sequence[Objectives], budgets: Budgets, chance: float | None = None) -> float:
    """The error from which on a candidate gains nothing: the user's limit, if any candidate meets all budgets, and
    otherwise a multiple of the least error seen, inside the budgets if any is inside, but clear of `chance`."""
    inside = [one for one in observed if one.within(budgets)]
    if inside and budgets.error is not None:
        return budgets.error
    least = max(min(one.error for one in inside or observed), ERROR_FLOOR)
    return max(least, clear_of_chance(USELESS * least, least, chance))


def front(objectives: list[Objectives], budgets: Budgets) -> list[int]:
    """The survivors among trials: the non-dominated inside the budgets, or of all where none is inside."""
    eligible = [i for i, one in enumerate(objectives) if one.within(budgets)] or list(range(len(objectives)))
    if not eligible:
        return []
    keep = non_dominated(np.array([objectives[i].vector for i in eligible]))
    return [i for i, kept in zip(eligible, keep, strict=True) if kept]
