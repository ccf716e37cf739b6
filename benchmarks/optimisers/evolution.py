"""Ageing evolution."""

from __future__ import annotations

import numpy as np

from benchmarks.optimisers import Method
from benchmarks.problems import SPACE, Problem
from tfsparse.candidate import Candidate
from tfsparse.morphism import FAMILIES, neighbour
from tfsparse.objectives import Objectives


def evolution(problem: Problem, trials: int, seed: int, population: int = 20, tournament: int = 6) -> Method:
    """Ageing evolution (Real et al. 2019), each tournament under random weights (Liberis et al. 2021, uNAS)."""
    rng = np.random.default_rng(seed)
    living: list[tuple[Candidate, Objectives]] = []
    while True:
        if len(living) < population:
            child = SPACE.sample(rng)
        else:
            weights = rng.random(3)
            rivals = rng.choice(len(living), tournament, replace=False)
            fittest = min((living[rival] for rival in rivals), key=lambda one: problem.penalised(one[1], weights))
            best = fittest[0]
            morph = neighbour(SPACE, best, rng, list(FAMILIES))
            child = morph.candidate if morph is not None else SPACE.sample(rng)
        answer = yield child
        if answer is not None:
            living = [*living, answer][-population:]
