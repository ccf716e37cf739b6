"""Random search."""

from __future__ import annotations

import numpy as np

from benchmarks.optimisers import Method
from benchmarks.problems import SPACE, Problem


def random_search(problem: Problem, trials: int, seed: int) -> Method:
    """Random search."""
    rng = np.random.default_rng(seed)
    while True:
        yield SPACE.sample(rng)
