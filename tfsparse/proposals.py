"""Which candidate to try next: the optimiser itself, free of Keras Tuner, processes and files.

Multi-objective Bayesian optimisation with random scalarisations, in three stages (METHOD.md). A quasi-random start is
followed by proposals of the model: of a pool of candidates, and of the morphs that climb on from its best, the one from
which most is to be expected (acquisition.py). Stages differ in where the pool comes from and how long a candidate is
trained.

A proposal depends on the seed, the trial's number and what was observed, on nothing else: the same run is proposed
again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import qmc

from tfsparse.acquisition import Acquisition
from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.morphism import FAMILIES, TRAINING, neighbour
from tfsparse.objectives import Objectives, front, worthwhile_error
from tfsparse.space import DesignSpace


@dataclass(frozen=True)
class Stage:
    """A stage takes a `share` of the trials and trains `rung` times as long as the first; its pool holds so many
    candidates spread over the whole space and so many morphs of the front. Where `heir_rung` is given, morphs begin
    with their parents' weights and train for so long."""

    name: str
    share: float
    rung: float
    random: int
    morphs: int
    heir_rung: float | None = None


STAGES = (
    Stage("explore", share=0.4, rung=1.0, random=300, morphs=60),
    Stage("exploit", share=0.4, rung=1.0, random=300, morphs=100, heir_rung=0.5),
    Stage("refine", share=0.2, rung=2.0, random=0, morphs=200, heir_rung=2.0),
)

# An inheriting training is worth a fresh one this many times as long (benchmarks/inheritance.py: 6.6 on digits, where
# trainings are shortest; less where they are longer).
HEIRS_WORTH = 4.0

# How many steps a morph in the pool is away from its parent.
_STEPS = (0.6, 0.25, 0.15)

# The share of the refining stage's morphs that only change training and pruning.
_KNOBS_ONLY = 0.5

# Rounds of climbing; the best of a round that are climbed from, and the morphs of each.
_ROUNDS = 5
_CLIMBERS = 6
_MORPHS = 10

_START_SHARE = 0.125
_START_LIMITS = (4, 16)


def stage_at(fraction: float) -> Stage:
    """The stage in which a search is that has done this fraction of its trials (or time)."""
    end = 0.0
    for stage in STAGES:
        end += stage.share
        if fraction < end - 1e-9:
            return stage
    return STAGES[-1]


@dataclass(frozen=True)
class Observation:
    """A trial that has ended: its objectives, None where it failed or was hopeless. Observations come in the order of
    trials' numbers."""

    trial: int
    candidate: Candidate
    rung: float
    objectives: Objectives | None
    inherited: bool = False

    @property
    def worth(self) -> float:
        """The length of a fresh training that is as good."""
        return worth(self.rung, self.inherited)


@dataclass(frozen=True)
class Proposal:
    """A candidate to try. `parent` is the trial whose morph it is, `morph` names the change; it `inherits` where it
    should begin with the parent's weights."""

    candidate: Candidate
    stage: str
    rung: float
    parent: int | None = None
    morph: str | None = None
    inherits: bool = False


def worth(rung: float, inherited: bool) -> float:
    """The length of a fresh training that is as good as one of this length."""
    return rung * HEIRS_WORTH if inherited else rung


class SpaceExhausted(Exception):
    """No candidate is left that is new and may be trained."""


class Proposer:
    """Proposes candidates of a space, under its budgets, from what was observed so far. `chance`: the error of a
    network that learnt nothing, if known."""

    def __init__(
        self,
        space: DesignSpace,
        budgets: Budgets,
        seed: int,
        first: Sequence[Candidate] = (),
        chance: float | None = None,
    ):
        self.space = space
        self.budgets = budgets
        self.seed = seed
        # Candidates that are known to be good, tried before all others.
        self.first = tuple(first)
        self.chance = chance

    def propose(
        self,
        trial: int,
        fraction: float,
        start: int,
        observed: Sequence[Observation],
        known: Collection[Candidate],
        sized: Sequence[tuple[Candidate, float]] = (),
    ) -> Proposal:
        """The proposal for the trial of this number.

        fraction: how much of the search is done, which decides the stage. start: how many trials begin the search
        quasi-randomly, fewer where `first` names some. known: every candidate that was proposed before, whatever became
        of it. sized: those that were not trained, as their ram_model in bytes was too much.
        Raises SpaceExhausted.
        """
        stage = stage_at(fraction)
        rng = np.random.default_rng([self.seed, trial])
        succeeded = [one for one in observed if one.objectives is not None]
        for candidate in self.first:
            if candidate not in known:
                return Proposal(candidate, stage.name, stage.rung)
        # Beside what the user knows to be good, others are tried, else the model has nothing to compare.
        start = max(start, len(self.first) + start // 2)
        if len(known) < start or len(succeeded) < 2:
            return Proposal(self._quasi_random(known, rng), stage.name, stage.rung)
        pool = self._pool(stage, succeeded, known, rng)
        if not pool:
            return Proposal(self._quasi_random(known, rng), stage.name, stage.rung)
        tried = [(one.candidate, one.worth, one.objectives) for one in observed]
        acquisition = Acquisition(self.space, self.budgets, tried, rng, sized, self.chance)
        return self._climb(pool, known, acquisition, rng)

    # The quasi-random start

    @cached_property
    def _points(self) -> np.ndarray:
        """Scrambled Sobol points of the unit cube [1024, dimensions]."""
        return qmc.Sobol(self.space.dimensions, seed=np.random.default_rng([self.seed, 0x50B01])).random(1024)

    @cached_property
    def _spread(self) -> list[Candidate]:
        """The candidates at these points that may be trained. All pools share them: what the space knows of them is
        worked out once."""
        candidates = dict.fromkeys(self.space.at(point) for point in self._points)
        return [candidate for candidate in candidates if self.space.refusal(candidate) is None]

    @cached_property
    def _likely(self) -> list[Candidate]:
        """The same, first those whose shapes let expect that they meet the budgets: what is turned away by no proof may
        yet be far too big, and would be trained for nothing. Of these, the half first that may be expected to err less:
        morphs shrink what is of use sooner than they make something of what is not."""
        limits = [np.inf if limit is None else np.log(limit) for limit in (self.budgets.flash, self.budgets.ram)]
        if not self._spread:
            return []
        guesses = self.space.guesses(self._spread)
        guesses[:, 2] = np.log(self.space.likely_ram(self._spread))
        fits = (guesses[:, 1:] <= limits).all(axis=1)
        errs = guesses[:, 0] > np.median(guesses[fits, 0] if fits.any() else guesses[:, 0])
        return [self._spread[i] for i in np.lexsort((errs, ~fits))]

    def _quasi_random(self, known: Collection[Candidate], rng: np.random.Generator) -> Candidate:
        for candidate in self._likely:
            if candidate not in known:
                return candidate
        # Tight budgets refuse nearly everything that is drawn at random: walk from candidates that do fit.
        seeds = [candidate for candidate in known if self.space.refusal(candidate) is None] or [self.space.smallest]
        for _ in range(2000):
            candidate = seeds[int(rng.integers(len(seeds)))]
            for _ in range(int(rng.integers(1, 12))):
                morph = neighbour(self.space, candidate, rng)
                if morph is not None and self.space.refusal(morph.candidate) is None:
                    candidate = morph.candidate
            if candidate not in known and self.space.refusal(candidate) is None:
                return candidate
        raise SpaceExhausted("no candidate is left that is new and may be trained")

    # The model's proposals

    def _pool(
        self, stage: Stage, succeeded: list[Observation], known: Collection[Candidate], rng: np.random.Generator
    ) -> list[Proposal]:
        pool: dict[Candidate, Proposal] = {}

        def offer(candidate: Candidate, parent: int | None = None, morph: str | None = None) -> None:
            if candidate not in pool and candidate not in known and self.space.refusal(candidate) is None:
                inherits = parent is not None and stage.heir_rung is not None
                rung = stage.heir_rung if inherits else stage.rung
                pool[candidate] = Proposal(candidate, stage.name, rung, parent, morph, inherits)

        for candidate in self._spread[: stage.random]:
            offer(candidate)
        members = [succeeded[i] for i in front([one.objectives for one in succeeded], self.budgets)]
        # Of the front, too, only those are worth going on from whose error is near the least.
        limit = worthwhile_error([one.objectives for one in succeeded], self.budgets, self.chance)
        members = [one for one in members if one.objectives.error <= limit]
        for _ in range(stage.morphs):
            member = members[int(rng.integers(len(members)))]
            knobs_only = stage.name == "refine" and rng.random() < _KNOBS_ONLY
            candidate, changes = member.candidate, []
            for _ in range(1 + int(rng.choice(len(_STEPS), p=_STEPS))):
                morph = neighbour(self.space, candidate, rng, list(TRAINING if knobs_only else FAMILIES))
                if morph is not None:
                    candidate = morph.candidate
                    changes.append(morph.family)
            offer(candidate, member.trial, ", ".join(changes))
        return list(pool.values())

    def _climb(
        self, pool: list[Proposal], known: Collection[Candidate], acquisition: Acquisition, rng: np.random.Generator
    ) -> Proposal:
        """The best that is found from the pool on, each round among the morphs of the best so far."""
        found: dict[Candidate, Proposal] = {}
        values: dict[Candidate, float] = {}
        fresh = {one.candidate: one for one in pool}
        for _ in range(_ROUNDS):
            found.update(fresh)
            options = [(candidate, worth(one.rung, one.inherits)) for candidate, one in fresh.items()]
            values.update(zip(fresh, acquisition(options).tolist(), strict=True))
            fresh = {}
            for best in sorted(values, key=values.get)[:_CLIMBERS]:
                for one in self._morphs(found[best], rng):
                    if one.candidate not in values and one.candidate not in known:
                        fresh[one.candidate] = one
            if not fresh:
                break
        return found[min(values, key=values.get)]

    def _morphs(self, proposal: Proposal, rng: np.random.Generator) -> list[Proposal]:
        """Some proposals one step further than this one."""
        morphs = (neighbour(self.space, proposal.candidate, rng, list(FAMILIES)) for _ in range(_MORPHS))
        return [
            replace(
                proposal,
                candidate=one.candidate,
                morph=proposal.morph and f"{proposal.morph}, {one.family}",
            )
            for one in morphs
            if one is not None and self.space.refusal(one.candidate) is None
        ]


def start_trials(trials: int) -> int:
    """How many of a search's trials are quasi-random."""
    low, high = _START_LIMITS
    return min(max(round(_START_SHARE * trials), low), high)
