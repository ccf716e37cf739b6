"""The search as Keras Tuner sees it: an Oracle that proposes, and a Tuner that has candidates judged.

Keras Tuner's objective is one number, the validation error; the sizes travel beside it as metrics, and the
multi-objective work is done by `proposals.Proposer`, from the measured figures.

Nothing of Keras Tuner's own files is written: they are several, none in one piece, and a kill in the first trial loses
them. The run folder's trials.jsonl is the only truth; `SparseOracle.restore` makes an oracle out of its records that
proposes what the one that was stopped would have proposed. `get_state` and `set_state` hold the same and all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as kt_trial
from keras_tuner.errors import FailedTrialError, FatalError
from keras_tuner.src import config as keras_tuner_config

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.errors import UserError
from tfsparse.network import Infeasible
from tfsparse.objectives import Objectives
from tfsparse.proposals import Observation, Proposal, Proposer, SpaceExhausted, stage_at, start_trials
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, Record
from tfsparse.space import DesignSpace

# Keras Tuner prints a failed trial's traceback over the display; the reason is in its record.
keras_tuner_config.DEBUG = False

# So many failures in a row for the very same reason, or so many without one success ever, have a cause outside the
# candidates.
_ALIKE = 4
_HOPELESS = 5


@dataclass(frozen=True)
class Goal:
    """When a search ends: after so many trained trials, or so many seconds, whichever comes first; one may be None."""

    trials: int | None = None
    seconds: float | None = None

    def fraction(self, trained: int, elapsed: float) -> float:
        """How much of the search is done; at 1 it ends."""
        parts = []
        if self.trials is not None:
            parts.append(trained / self.trials)
        if self.seconds is not None:
            parts.append(elapsed / self.seconds)
        return max(parts)

    def start(self, trained: int, elapsed: float) -> int:
        """How many trials begin the search quasi-randomly, by what is known of its length."""
        if self.trials is not None:
            return start_trials(self.trials)
        pace = elapsed / trained if trained else self.seconds
        return start_trials(int(self.seconds / max(pace, 1e-9)))


class SparseOracle(keras_tuner.Oracle):
    """Proposes candidates of a design space from the measured objectives of those that ended.

    Metrics that a tuner has to report: `error` (the objective), `flash_model` and `ram_model`. A trial that ends as
    failed counts as tried and teaches the error's surrogate; `dismiss` takes a trial out that was turned away before
    training.
    """

    def __init__(
        self,
        space: DesignSpace,
        budgets: Budgets,
        goal: Goal,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
    ):
        hyperparameters = keras_tuner.HyperParameters()
        space.declare(hyperparameters)
        super().__init__(
            objective=keras_tuner.Objective("error", "min"),
            max_trials=None,
            hyperparameters=hyperparameters,
            allow_new_entries=False,
            tune_new_entries=False,
            # Keras Tuner takes 0 for "none given"; what is drawn here is drawn from the proposer's seed.
            seed=seed + 1,
            max_consecutive_failed_trials=None,
        )
        self.verbose = 0
        self.space = space
        self.goal = goal
        self.proposer = Proposer(space, budgets, seed)
        # Keras Tuner's trial id -> what was proposed, and the trial's number in the run folder.
        self.proposals: dict[str, tuple[int, Proposal]] = {}
        self.observations: dict[str, Observation] = {}
        self._dismissed: set[str] = set()
        self._seconds_before = 0.0
        self._clock = clock
        self._begun = clock()

    @property
    def trained(self) -> int:
        """Trials that count: ended, and not turned away before training."""
        return len(self.observations)

    @property
    def elapsed(self) -> float:
        """Seconds that the search has taken, those before a restart included."""
        return self._seconds_before + self._clock() - self._begun

    @property
    def fraction(self) -> float:
        """How much of the search is done, running trials included."""
        running = len(self.proposals) - len(self.observations) - len(self._dismissed)
        return self.goal.fraction(self.trained + running, self.elapsed)

    @property
    def stage(self) -> str:
        return stage_at(self.fraction).name

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of the next candidate, or STOPPED where the search has reached its goal or there is nothing new."""
        if self.fraction >= 1.0:
            return {"status": kt_trial.TrialStatus.STOPPED, "values": None}
        number = max((number for number, _ in self.proposals.values()), default=-1) + 1
        observed = sorted(self.observations.values(), key=lambda one: one.trial)
        known = {proposal.candidate for _, proposal in self.proposals.values()}
        start = self.goal.start(self.trained, self.elapsed)
        try:
            proposal = self.proposer.propose(number, self.fraction, start, observed, known)
        except SpaceExhausted:
            return {"status": kt_trial.TrialStatus.STOPPED, "values": None}
        self.proposals[trial_id] = (number, proposal)
        return {"status": kt_trial.TrialStatus.RUNNING, "values": self.space.values(proposal.candidate)}

    def dismiss(self, trial_id: str) -> None:
        """Say of a running trial that it was turned away before training: it teaches nothing and does not count."""
        self._dismissed.add(trial_id)

    @keras_tuner.synchronized
    def end_trial(self, trial) -> None:
        """Take a trial's end in; its metrics become an observation."""
        super().end_trial(trial)
        trial = self.trials[trial.trial_id]
        if trial.trial_id in self._dismissed:
            return
        objectives = None
        if trial.status == kt_trial.TrialStatus.COMPLETED:
            error, flash, ram = (
                float(trial.metrics.get_last_value(name)) for name in ("error", "flash_model", "ram_model")
            )
            objectives = Objectives(error, flash, ram)
        number, proposal = self.proposals[trial.trial_id]
        self.observations[trial.trial_id] = Observation(number, proposal.candidate, proposal.rung, objectives)

    def restore(self, records: Sequence[Record]) -> None:
        """Take the records of a run that was stopped in, as if its trials had ended here."""
        for record in records:
            trial_id = f"{len(self.trials):04d}"
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = self.space.values(record.candidate)
            done = record.status == COMPLETED
            status = kt_trial.TrialStatus.COMPLETED if done else kt_trial.TrialStatus.FAILED
            trial = kt_trial.Trial(hyperparameters, trial_id, status, record.reason)
            objectives = record.objectives
            if objectives is not None:
                for name, value in metrics_of(objectives).items():
                    trial.metrics.register(name, "min")
                    trial.metrics.update(name, value)
                self.score_trial(trial)
            self.trials[trial_id] = trial
            self.start_order.append(trial_id)
            self.end_order.append(trial_id)
            proposal = Proposal(record.candidate, record.stage, record.rung, record.parent, record.morph)
            self.proposals[trial_id] = (record.trial, proposal)
            if record.status == INFEASIBLE:
                self._dismissed.add(trial_id)
            else:
                self.observations[trial_id] = Observation(record.trial, record.candidate, record.rung, objectives)
            self._seconds_before += sum(record.seconds.values())

    def get_state(self) -> dict[str, Any]:
        """All that the oracle knows, as JSON values; Keras Tuner's own state leaves the trials out, this does not."""
        return {
            **super().get_state(),
            "trials": {trial_id: trial.get_state() for trial_id, trial in self.trials.items()},
            "proposals": {
                trial_id: {"number": number, **asdict(proposal), "candidate": proposal.candidate.to_json()}
                for trial_id, (number, proposal) in self.proposals.items()
            },
            "observations": {
                trial_id: {**asdict(one), "candidate": one.candidate.to_json()}
                for trial_id, one in self.observations.items()
            },
            "dismissed": sorted(self._dismissed),
            "seconds": self.elapsed,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Become the oracle that `get_state` described."""
        self.trials = {
            trial_id: kt_trial.Trial.from_state(trial_state) for trial_id, trial_state in state["trials"].items()
        }
        super().set_state(state)
        self.proposals = {}
        for trial_id, data in state["proposals"].items():
            data = dict(data)
            number = data.pop("number")
            self.proposals[trial_id] = (
                number,
                Proposal(**{**data, "candidate": Candidate.from_json(data["candidate"])}),
            )
        self.observations = {
            trial_id: Observation(
                data["trial"],
                Candidate.from_json(data["candidate"]),
                data["rung"],
                data["objectives"] and Objectives(**data["objectives"]),
            )
            for trial_id, data in state["observations"].items()
        }
        self._dismissed = set(state["dismissed"])
        self._seconds_before = state["seconds"]
        self._begun = self._clock()

    # Keras Tuner would write oracle.json and a folder a trial; the run folder holds all of it (see above).

    def save(self) -> None:
        pass

    def _save_trial(self, trial) -> None:
        pass


def metrics_of(objectives: Objectives) -> dict[str, float]:
    """The metrics that `SparseOracle` wants of a completed trial."""
    return {"error": objectives.error, "flash_model": objectives.flash, "ram_model": objectives.ram}


Evaluate = Callable[..., Any]
"""Judges one candidate: evaluate(candidate, rung=, seed=, progress=) gives a result with the fields of
`trial.TrialResult`, or raises
`Infeasible` where it turns the candidate away, and anything else where that failed."""


class SparseTuner(base_tuner.BaseTuner):
    """Runs trials one after the other: has each candidate judged and its record written before anything else goes on.

    `write(record, tflite)` puts a trial on disk; `began(number, proposal)` and `ended(record)` are for the display.
    """

    def __init__(
        self,
        oracle: SparseOracle,
        evaluate: Evaluate,
        directory: Path,
        *,
        seed: int,
        write: Callable[[Record, bytes | None], Record],
        began: Callable[[int, Proposal], None] = lambda number, proposal: None,
        progress: Callable[[str, float], None] = lambda phase, fraction: None,
        ended: Callable[[Record], None] = lambda record: None,
    ):
        self._run_directory = Path(directory)
        super().__init__(oracle, directory=str(directory), project_name=".")
        self.evaluate = evaluate
        self.search_seed = seed
        self._write, self._began, self._progress, self._ended = write, began, progress, ended
        self._asked = time.monotonic()
        self._failures: list[str] = []

    @property
    def project_dir(self) -> str:
        return str(self._run_directory)

    def save(self) -> None:
        """Nothing: the run folder is the state."""

    def pre_create_trial(self) -> None:
        self._asked = time.monotonic()

    def run_trial(self, trial) -> dict[str, float]:
        """Judge the trial's candidate; its metrics. Raises FailedTrialError when it failed, with the record written."""
        number, proposal = self.oracle.proposals[trial.trial_id]
        record = Record(
            trial=number,
            status=FAILED,
            stage=proposal.stage,
            seed=trial_seed(self.search_seed, number),
            candidate=proposal.candidate,
            rung=proposal.rung,
            parent=proposal.parent,
            morph=proposal.morph,
        )
        seconds = {"propose": time.monotonic() - self._asked}
        self._began(number, proposal)
        started = time.monotonic()
        tflite = None
        try:
            result = self.evaluate(proposal.candidate, rung=proposal.rung, seed=record.seed, progress=self._progress)
            record = replace(
                record,
                status=COMPLETED,
                val_accuracy=result.val_accuracy,
                float_val_accuracy=result.float_val_accuracy,
                note=result.note,
                figures={name: value for name, value in result.figures.items() if name not in _OWN_KEYS},
                seconds=seconds | result.seconds,
            )
            tflite = result.tflite
            bad = [name for name, value in metrics_of(record.objectives).items() if not np.isfinite(value)]
            if bad:
                record = replace(record, status=FAILED, reason=f"{', '.join(bad)} is no number")
        except Infeasible as error:
            record = replace(record, status=INFEASIBLE, reason=str(error))
            self.oracle.dismiss(trial.trial_id)
        except Exception as error:
            # One bad candidate must not end a night's search; what it died of is in its record.
            record = replace(record, reason=_reason(error))
        if record.status != COMPLETED:
            record = replace(record, seconds={**seconds, "train": time.monotonic() - started})
            tflite = None
        record = self._on_disk(record, tflite)
        self._ended(record)
        if record.status != COMPLETED:
            self._give_up_where_all_fails(record)
            raise FailedTrialError(record.reason)
        self._failures.clear()
        return metrics_of(record.objectives)

    def _on_disk(self, record: Record, tflite: bytes | None) -> Record:
        try:
            return self._write(record, tflite)
        except UserError as error:
            raise FatalError(str(error)) from error

    def _give_up_where_all_fails(self, record: Record) -> None:
        """FatalError where the cause seems to lie outside the candidates: a tool that is gone, a target that is
        silent."""
        if record.status != FAILED:
            return
        self._failures.append(record.reason)
        count = len(self._failures)
        alike = count >= _ALIKE and len(set(self._failures[-_ALIKE:])) == 1
        first = count >= _HOPELESS and not any(one.objectives for one in self.oracle.observations.values())
        if alike or first:
            sentence = f"the last {count} trials all failed, the last one: {record.reason}"
            raise FatalError(sentence) from UserError(f"{sentence}; mend that, then go on with --resume")


# Of a measurement's words, those that a record knows better.
_OWN_KEYS = {"seconds", "val_accuracy", "test_accuracy", "tflite", "status", "note"}


def _reason(error: Exception) -> str:
    """One line for a record: the message, with the kind of error where that is news."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, UserError) or type(error).__name__ == "TrialFailed":
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trial_seed(seed: int, trial: int) -> int:
    """The seed of one trial's training, its own and the same on every machine."""
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0] >> 1)


def run_search(tuner: SparseTuner) -> None:
    """Run trials until the goal is reached; a `UserError` of whatever a trial needs comes out as such."""
    try:
        tuner.search()
    except FatalError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
