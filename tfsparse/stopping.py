"""When a training is hopeless: early stopping by learning curves, fair to slow starters.

What a training can still gain is learnt from those that were seen to their end: at each of a few points on the way, the
greatest share of its error that any of them still lost. A training that would be worthless even with that luck is
ended. A candidate is worthless where its error alone keeps it from gaining anything (`objectives.worthwhile_error`),
however small it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[tuple[float, float]]

# Points on the way where a training may be ended, as fractions of it. Before a third nothing can be told: noise and
# pruning come later.
POINTS = (0.35, 0.5, 0.65, 0.8)
# So many trainings have to be known, and luck may be this much greater than any of them had.
LEAST = 10
MARGIN = 0.8


@dataclass(frozen=True)
class Stopping:
    """Says of a training whether to end it. `worthwhile` is the error beyond which a candidate gains nothing;
    `luck[i]` the least share of its error at `POINTS[i]` that a training may be left with at its end."""

    worthwhile: float
    luck: tuple[float, ...]

    def __call__(self, fraction: float, accuracy: float) -> bool:
        """Whether a training with this validation accuracy after this fraction of it is hopeless."""
        passed = [luck for point, luck in zip(POINTS, self.luck, strict=True) if point <= fraction]
        return bool(passed) and fraction < 1 and (1 - accuracy) * passed[-1] > self.worthwhile

    @classmethod
    def learn(cls, worthwhile: float, curves: Sequence[tuple[Curve, float]]) -> Stopping | None:
        """From trainings that ran to their end: each one's curve (fraction, validation accuracy) and the accuracy it
        led to. None while too few are known."""
        known = [(curve, final) for curve, final in curves if len(curve) >= 2]
        if len(known) < LEAST:
            return None
        shares = np.array([_shares(curve, final) for curve, final in known])
        return cls(float(worthwhile), tuple(float(share) for share in MARGIN * shares.min(axis=0)))


def _shares(curve: Curve, final: float) -> list[float]:
    """What is left at the end of the error that a training had at each of `POINTS`."""
    fractions, accuracies = zip(*curve, strict=True)
    errors = np.interp(POINTS, fractions, [1 - accuracy for accuracy in accuracies])
    return [min(1.0, max(1 - final, 1e-3) / max(error, 1e-3)) for error in errors]
