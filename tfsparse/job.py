"""A trial as a value: what is to be judged goes in, what was found comes out, in whatever process that happens.

Nothing here knows of the oracle, the run folder or the display; a job and its outcome can be sent to another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfsparse.errors import UserError
from tfsparse.network import Infeasible
from tfsparse.proposals import Proposal
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, STOPPED, Record
from tfsparse.stopping import Stopping

Evaluate = Callable[..., Any]
"""Judges one candidate: evaluate(candidate, rung=, seed=, progress=, parent=, watch=) gives a result with the fields of
`trial.TrialResult`, or raises `Infeasible` where it turns the candidate away, `train.TrainingStopped` where `watch`
asked for that, and anything else where it failed. `parent` is a `inherit.TrainedWeights` as bytes, or None."""

Progress = Callable[[str, float], None]
"""Called with a phase and the fraction of it that is done."""

# A trial's phase until it tells of another: what its candidate needs is seen to before it is trained.
FIRST_PHASE = "size"


@dataclass(frozen=True)
class Job:
    """One trial to run. `parent_weights` are those of the trial it inherits from (`TrainedWeights.to_bytes`), None
    where it starts fresh; `stopping` says when its training is hopeless, None: never."""

    number: int
    seed: int
    proposal: Proposal
    parent_weights: bytes | None = None
    stopping: Stopping | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its record, and where it completed its int8 model and its weights for children."""

    record: Record
    tflite: bytes | None = None
    weights: bytes | None = None


def run_job(job: Job, evaluate: Evaluate, progress: Progress = lambda phase, fraction: None) -> Outcome:
    """Judge the job's candidate. Whatever goes wrong with it is in the record: one bad candidate must not end a night's
    search."""
    record = unfinished(job)
    phases = _Phases(progress)
    try:
        result = evaluate(
            job.proposal.candidate,
            rung=job.proposal.rung,
            seed=job.seed,
            progress=phases,
            parent=job.parent_weights,
            watch=job.stopping or _only_watch,
        )
    except Infeasible as error:
        found = {} if error.ram is None else {"ram_model": error.ram}
        record = replace(record, status=INFEASIBLE, reason=str(error), figures=found)
    except Exception as error:
        stopped = type(error).__name__ == "TrainingStopped"
        record = replace(record, status=STOPPED if stopped else FAILED, reason=reason_of(error))
    else:
        record = replace(
            record,
            status=COMPLETED,
            val_accuracy=result.val_accuracy,
            float_val_accuracy=result.float_val_accuracy,
            note=result.note,
            curve=result.curve,
            figures=own_figures(result.figures),
            seconds=result.seconds,
        )
        bad = [name for name, value in vars(record.objectives).items() if not np.isfinite(value)]
        if not bad:
            return Outcome(record, result.tflite, result.weights)
        record = replace(record, status=FAILED, reason=f"{', '.join(bad)} is no number")
    return Outcome(replace(record, seconds=phases.seconds))


class _Phases:
    """Passes progress on, and takes the time of the phases that it tells of."""

    def __init__(self, progress: Progress):
        self._progress, self._phase = progress, FIRST_PHASE
        self._spent: dict[str, float] = {}
        self._since = time.monotonic()

    def __call__(self, phase: str, fraction: float) -> None:
        if phase != self._phase:
            self._spent, self._phase, self._since = self.seconds, phase, time.monotonic()
        self._progress(phase, fraction)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of wall-clock by phase, up to now."""
        before = self._spent.get(self._phase, 0.0)
        return {**self._spent, self._phase: before + time.monotonic() - self._since}


def _only_watch(fraction: float, accuracy: float) -> bool:
    """Its curve is kept: others' hopes are judged by it."""
    return False


def unfinished(job: Job, reason: str | None = None) -> Record:
    """The record of a job that has not come to anything."""
    proposal = job.proposal
    return Record(
        trial=job.number,
        status=FAILED,
        stage=proposal.stage,
        seed=job.seed,
        candidate=proposal.candidate,
        rung=proposal.rung,
        parent=proposal.parent,
        morph=proposal.morph,
        inherited=job.parent_weights is not None,
        reason=reason,
    )


# Of a measurement's words, those that a record knows better.
_OWN_KEYS = {"seconds", "val_accuracy", "test_accuracy", "tflite", "status", "note"}


def own_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """A measurement's words without those that are the record's own."""
    return {name: value for name, value in figures.items() if name not in _OWN_KEYS}


# By name: the module of these need not be imported to judge an error.
_MEMORY = ("MemoryError", "ResourceExhaustedError", "OutOfMemoryError")


def reason_of(error: BaseException) -> str:
    """One line for a record: the message, with the kind of error where that is news."""
    text = " ".join(str(error).split())[:500]
    kind = type(error).__name__
    if kind in _MEMORY:
        return f"out of memory: {text}" if text else "out of memory"
    if isinstance(error, UserError) or kind in ("TrialFailed", "TrainingStopped"):
        return text
    return f"{kind}: {text}" if text else kind


def trial_seed(seed: int, trial: int, repeat: int = 0) -> int:
    """The seed of one trial's training, its own and the same on every machine; of its `repeat`th, another."""
    entropy = [seed, trial, repeat] if repeat else [seed, trial]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
