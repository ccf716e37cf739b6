"""The problems of `benchmarks/search.py`: a table of really trained candidates, and formulas over the same space.

Minimised are the logarithms of error, flash_model and ram_model. Each problem has a reference beyond which nothing
counts, and many known objectives from which it and the best hypervolume come.
"""

from __future__ import annotations

import zlib
from functools import cached_property

import numpy as np

from benchmarks.digits_table import read_table, table_space
from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.morphism import FAMILIES, neighbour
from tfsparse.objectives import Objectives
from tfsparse.pareto import hypervolume, non_dominated

SPACE = table_space((8, 8, 1), 10)


class Problem:
    """A problem over `SPACE`. `known` are many of its objectives, from which the reference and the best come."""

    name: str
    known: list[Objectives]

    def fresh(self, candidate: Candidate, had: set[Candidate]) -> Candidate | None:
        """The candidate that is judged where this one is proposed; None where that is not allowed."""
        return None if candidate in had or SPACE.refusal(candidate) is not None else candidate

    def judge(self, candidate: Candidate) -> Objectives:
        raise NotImplementedError

    @cached_property
    def reference(self) -> np.ndarray:
        """Log objectives beyond which nothing counts [3]."""
        error = float(np.quantile([one.error for one in self.known], 0.2))
        useful = np.array([one.log for one in self.known if one.error <= error])
        return np.array([np.log(error), *np.quantile(useful[:, 1:], 0.9, axis=0)])

    def violation(self, objectives: Objectives) -> float:
        """How far the error is above what is of use, in the logarithm; 0 where it is not."""
        return max(0.0, float(objectives.log[0] - self.reference[0]))

    def penalised(self, objectives: Objectives, weights: np.ndarray) -> float:
        """A weighted sum to minimise, in which no size makes up for an error that is of no use."""
        return float(weights @ self.normalised([objectives])[0] + weights.sum() * self.violation(objectives))

    @property
    def budgets(self) -> Budgets:
        """What ours is told."""
        return Budgets(error=float(np.exp(self.reference[0])))

    @cached_property
    def span(self) -> np.ndarray:
        logs = np.array([one.log for one in self.known])
        inside = logs[(logs <= self.reference).all(axis=1)]
        return self.reference - inside.min(axis=0)

    @cached_property
    def best(self) -> float:
        return hypervolume(self.normalised(self.known), np.ones(3))

    def normalised(self, objectives: list[Objectives]) -> np.ndarray:
        """Objectives [N, 3], 1 at the reference and 0 at the best of each."""
        logs = np.array([one.log for one in objectives])
        return 1 - (self.reference - logs) / self.span


class Table(Problem):
    """The really trained candidates; the first of a candidate's trainings counts."""

    name = "table"

    def __init__(self) -> None:
        self.rows: dict[Candidate, Objectives] = {}
        for row in read_table():
            self.rows.setdefault(row.candidate, row.objectives)
        self.candidates = list(self.rows)
        self.known = list(self.rows.values())
        self._encoded = SPACE.encode(self.candidates)

    def fresh(self, candidate: Candidate, had: set[Candidate]) -> Candidate | None:
        if candidate in self.rows and candidate not in had:
            return candidate
        if SPACE.refusal(candidate) is not None:
            return None
        point = SPACE.encode([candidate])
        either = self._encoded.active | point.active
        # A parameter that exists in one of the two only counts as a whole difference.
        apart = np.where(self._encoded.active == point.active, np.abs(self._encoded.unit - point.unit), 1.0)
        categorical = np.array([parameter.kind in ("choice", "boolean") for parameter in SPACE.parameters])
        apart = np.where(categorical, (apart > 0).astype(float), apart)
        distance = np.where(either, apart**2, 0.0).sum(axis=1)
        for i in np.argsort(distance, kind="stable"):
            if self.candidates[i] not in had:
                return self.candidates[i]
        return None

    def judge(self, candidate: Candidate) -> Objectives:
        return self.rows[candidate]


class Formula(Problem):
    """Sizes from shapes, an error from capacity, structure and training. `depth` tells what structure is worth."""

    def __init__(self, name: str, depth: float):
        self.name, self.depth = name, depth

    @cached_property
    def known(self) -> list[Objectives]:
        """Many at random, and the best that a long evolution finds."""
        rng = np.random.default_rng(99)
        found = {}
        while len(found) < 1500:
            candidate = SPACE.sample(rng)
            if SPACE.refusal(candidate) is None:
                found[candidate] = self.judge(candidate)
        for _ in range(12):
            logs = np.array([one.log for one in found.values()])
            members = [one for one, kept in zip(found, non_dominated(logs), strict=True) if kept]
            for _ in range(250):
                morph = neighbour(SPACE, members[int(rng.integers(len(members)))], rng, list(FAMILIES))
                if morph is not None and SPACE.refusal(morph.candidate) is None:
                    found[morph.candidate] = self.judge(morph.candidate)
        return list(found.values())

    def judge(self, candidate: Candidate) -> Objectives:
        network, training = SPACE.network(candidate), candidate.training
        pruned = training.pruning != "none"
        kept = 0.15 + 0.5 * np.exp(-2 * training.kl_weight) if pruned else 1.0
        weights = kept * network.weight_count
        capacity = np.log(20 + weights) + 0.4 * np.log(network.macs + 100)
        layers = sum(len(block.layers) for block in candidate.blocks)
        error = 4.0 * np.exp(-capacity / 2.4)
        error *= 1 + self.depth * 0.15 * (layers - 3) ** 2 / (1 + 0.3 * sum(b.residual for b in candidate.blocks))
        error *= 1 + 0.5 * (candidate.head == "flatten") * (self.depth > 0.5) + 0.3 * (candidate.input_factor > 1)
        error *= np.exp(0.35 * abs(np.log(training.learning_rate / 0.015)))
        error *= 1 + 1.5 * training.dropout * (weights < 2000)
        rng = np.random.default_rng(zlib.crc32(candidate.id.encode()))
        error = min(0.9, 0.004 + error * np.exp(0.12 * rng.standard_normal()))
        kinds = {layer.convolution for block in candidate.blocks for layer in block.layers}
        flash = 1300 + 450 * len(kinds) + 1.3 * weights
        return Objectives(float(error), float(flash), float(220 + network.memory_bound))


def problems(names: list[str]) -> list[Problem]:
    """The problems of these names."""
    made = {"table": Table, "shallow": lambda: Formula("shallow", 0.2), "deep": lambda: Formula("deep", 1.0)}
    return [made[name]() for name in names]
