"""Pareto fronts and hypervolume. All objectives are minimised."""

from __future__ import annotations

import moocore
import numpy as np


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which of the points [N, M] no other is better than or equal to in everything; of equal points the first stays.

    >>> non_dominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
    [True, True, False]
    """
    points = np.asarray(points, float)
    if len(points) == 0:
        return np.zeros(0, bool)
    return np.asarray(moocore.is_nondominated(points), bool)


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """The volume between the points [N, M] and a reference [M] worse than them; points beyond the reference add
    nothing.

    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
    3.0
    """
    points = np.asarray(points, float)
    if len(points) == 0:
        return 0.0
    return float(moocore.hypervolume(points, ref=np.asarray(reference, float)))
