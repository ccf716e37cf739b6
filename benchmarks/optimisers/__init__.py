"""The optimisers of `benchmarks/search.py`, each in a module of its own, and the loop that runs one on a problem.

A method is a generator: it yields a candidate and is sent (what was judged in its place, its objectives), or None where
the proposal was not allowed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.problems import Problem
from tfsparse.candidate import Candidate
from tfsparse.objectives import Objectives
from tfsparse.pareto import hypervolume

Answer = tuple[Candidate, Objectives] | None
Method = Iterator[Candidate]


def curve(problem: Problem, proposing: Method, trials: int) -> list[float]:
    """Hypervolume after each trial, over the best known."""
    candidate = next(proposing)
    had: set[Candidate] = set()
    found: list[Objectives] = []
    values: list[float] = []
    while len(values) < trials:
        judged = problem.fresh(candidate, had)
        if judged is None:
            candidate = proposing.send(None)
            continue
        had.add(judged)
        found.append(problem.judge(judged))
        values.append(hypervolume(problem.normalised(found), np.ones(3)) / problem.best)
        if len(values) < trials:
            candidate = proposing.send((judged, found[-1]))
    return values
