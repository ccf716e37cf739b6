"""The search's own proposer."""

from __future__ import annotations

from benchmarks.optimisers import Method
from benchmarks.problems import SPACE, Problem, Table
from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.proposals import Observation, Proposal, Proposer, start_trials


def ours(problem: Problem, trials: int, seed: int) -> Method:
    """The search's own proposer."""
    return _proposals(problem, problem.budgets, trials, seed)


def untold(problem: Problem, trials: int, seed: int) -> Method:
    """The search's own proposer, which is not told what error is of use."""
    return _proposals(problem, Budgets(), trials, seed)


def _proposals(problem: Problem, budgets: Budgets, trials: int, seed: int) -> Method:
    proposer = _Rows(problem, budgets, seed) if isinstance(problem, Table) else Proposer(SPACE, budgets, seed)
    observed: list[Observation] = []
    known: set[Candidate] = set()
    while True:
        number = len(observed)
        proposal = proposer.propose(number, number / trials, start_trials(trials), observed, known)
        _, objectives = yield proposal.candidate
        known.add(proposal.candidate)
        observed.append(Observation(number, proposal.candidate, 1.0, objectives))


class _Rows(Proposer):
    """The proposer with the table's unseen rows for a pool."""

    def __init__(self, table: Table, budgets: Budgets, seed: int):
        super().__init__(SPACE, budgets, seed)
        self._candidates = table.candidates

    def _pool(self, stage, succeeded, known, rng):
        return [Proposal(one, stage.name, 1.0) for one in self._candidates if one not in known]

    def _morphs(self, proposal, rng):
        return []

    def _quasi_random(self, known, rng):
        left = [one for one in self._candidates if one not in known]
        return left[int(rng.integers(len(left)))]
