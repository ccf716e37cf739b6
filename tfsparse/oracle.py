"""The search as Keras Tuner sees it: an Oracle that proposes, and a Tuner that has candidates judged.

Keras Tuner's objective is one number, the validation error; the sizes travel beside it as metrics, and the
multi-objective work is done by `proposals.Proposer`, from the measured figures.

Nothing of Keras Tuner's own files is written: they are several, none in one piece, and a kill in the first trial loses
them. The run folder's trials.jsonl is the only truth; `SparseOracle.restore` makes an oracle out of its records that
proposes what the one that was stopped would have proposed. `get_state` and `set_state` hold the same and all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as kt_trial
from keras_tuner.src import config as keras_tuner_config

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.errors import UserError
from tfsparse.job import Job, Outcome, trial_seed
from tfsparse.objectives import Objectives, worthwhile_error
from tfsparse.proposals import Observation, Proposal, Proposer, SpaceExhausted, stage_at, start_trials
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, Record
from tfsparse.space import DesignSpace
from tfsparse.stopping import Curve, Stopping
from tfsparse.workers import Report, Workers

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

    Trials end by `learn`, with their record; `error` is what Keras Tuner minimises, `flash_model` and `ram_model` are
    metrics beside it. A trial that failed or was hopeless counts as tried and teaches the error's surrogate.
    """

    def __init__(
        self,
        space: DesignSpace,
        budgets: Budgets,
        goal: Goal,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        first: Sequence[Candidate] = (),
        chance: float | None = None,
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
        self.proposer = Proposer(space, budgets, seed, first, chance)
        # Keras Tuner's trial id -> what was proposed, and the trial's number in the run folder.
        self.proposals: dict[str, tuple[int, Proposal]] = {}
        self.observations: dict[str, Observation] = {}
        # Trials that were turned away, and the ram_model of those for which it was measured and too much.
        self._dismissed: dict[str, float | None] = {}
        # Learning curves of trainings from fresh weights that ran to their end, and the accuracies that they led to.
        self._curves: list[tuple[Curve, float]] = []
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
        sized = sorted(
            (self.proposals[one][0], self.proposals[one][1].candidate, ram)
            for one, ram in self._dismissed.items()
            if ram is not None
        )
        start = self.goal.start(self.trained, self.elapsed)
        try:
            proposal = self.proposer.propose(number, self.fraction, start, observed, known, [one[1:] for one in sized])
        except SpaceExhausted:
            return {"status": kt_trial.TrialStatus.STOPPED, "values": None}
        self.proposals[trial_id] = (number, proposal)
        return {"status": kt_trial.TrialStatus.RUNNING, "values": self.space.values(proposal.candidate)}

    def learn(self, trial_id: str, record: Record) -> None:
        """Take in how a running trial ended: what was trained teaches the surrogates and counts, what was turned away
        does not count, and teaches RAM's alone where that is known."""
        objectives = record.objectives
        if objectives is not None:
            self.update_trial(trial_id, metrics_of(objectives))
        if record.status == INFEASIBLE:
            self._dismissed[trial_id] = record.figures.get("ram_model")
        else:
            self.observations[trial_id] = _observation(record)
            self._see_curve(record)
        trial = self.trials[trial_id]
        trial.status = kt_trial.TrialStatus.COMPLETED if objectives is not None else kt_trial.TrialStatus.FAILED
        trial.message = record.reason
        self.end_trial(trial)

    @keras_tuner.synchronized
    def end_trial(self, trial) -> None:
        """Take a trial's end in that no record tells of: its metrics become an observation."""
        super().end_trial(trial)
        trial = self.trials[trial.trial_id]
        if trial.trial_id in self._dismissed or trial.trial_id in self.observations:
            return
        objectives = None
        if trial.status == kt_trial.TrialStatus.COMPLETED:
            error, flash, ram = (
                float(trial.metrics.get_last_value(name)) for name in ("error", "flash_model", "ram_model")
            )
            objectives = Objectives(error, flash, ram)
        number, proposal = self.proposals[trial.trial_id]
        self.observations[trial.trial_id] = Observation(
            number, proposal.candidate, proposal.rung, objectives, proposal.inherits
        )

    def _see_curve(self, record: Record) -> None:
        if record.status == COMPLETED and not record.inherited:
            self._curves.append((record.curve, record.val_accuracy))

    @property
    def stopping(self) -> Stopping | None:
        """When a training is hopeless, by what was seen so far; None while that is too little."""
        succeeded = [one.objectives for one in self.observations.values() if one.objectives is not None]
        if not succeeded:
            return None
        return Stopping.learn(worthwhile_error(succeeded, self.proposer.budgets, self.proposer.chance), self._curves)

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
            proposal = Proposal(
                record.candidate, record.stage, record.rung, record.parent, record.morph, record.inherited
            )
            self.proposals[trial_id] = (record.trial, proposal)
            if record.status == INFEASIBLE:
                self._dismissed[trial_id] = record.figures.get("ram_model")
            else:
                self.observations[trial_id] = _observation(record)
                self._see_curve(record)
            if record.elapsed is None:  # a folder of before it was written down, by one worker
                self._seconds_before += sum(record.seconds.values())
            else:
                self._seconds_before = max(self._seconds_before, record.elapsed)

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
            "curves": self._curves,
            "dismissed": dict(sorted(self._dismissed.items())),
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
                data["inherited"],
            )
            for trial_id, data in state["observations"].items()
        }
        self._curves = [(tuple(map(tuple, curve)), accuracy) for curve, accuracy in state["curves"]]
        self._dismissed = dict(state["dismissed"])
        self._seconds_before = state["seconds"]
        self._begun = self._clock()

    # Keras Tuner would write oracle.json and a folder a trial; the run folder holds all of it (see above).

    def save(self) -> None:
        pass

    def _save_trial(self, trial) -> None:
        pass


def _observation(record: Record) -> Observation:
    return Observation(record.trial, record.candidate, record.rung, record.objectives, record.inherited)


def metrics_of(objectives: Objectives) -> dict[str, float]:
    """The metrics that `SparseOracle` wants of a completed trial."""
    return {"error": objectives.error, "flash_model": objectives.flash, "ram_model": objectives.ram}


class SparseTuner(base_tuner.BaseTuner):
    """Has trials judged by workers, as many at a time as there are, and each one's record written before its oracle
    hears of it.

    `write(record, tflite, weights)` puts a trial on disk; `weights_of(trial)` are what its children inherit, if kept;
    `began(number, proposal)`, `progress(number, phase, fraction)` and `ended(record)` are for the display.
    """

    def __init__(
        self,
        oracle: SparseOracle,
        workers: Workers,
        directory: Path,
        *,
        seed: int,
        write: Callable[[Record, bytes | None, bytes | None], Record],
        weights_of: Callable[[int], bytes | None] = lambda trial: None,
        began: Callable[[int, Proposal], None] = lambda number, proposal: None,
        progress: Report = lambda number, phase, fraction: None,
        ended: Callable[[Record], None] = lambda record: None,
    ):
        self._run_directory = Path(directory)
        super().__init__(oracle, directory=str(directory), project_name=".")
        self.workers = workers
        self.search_seed = seed
        self._write, self._weights_of = write, weights_of
        self._began, self._progress, self._ended = began, progress, ended
        self._proposing: dict[int, float] = {}
        self._failures: list[str] = []

    @property
    def project_dir(self) -> str:
        return str(self._run_directory)

    def save(self) -> None:
        """Nothing: the run folder is the state."""

    def search(self) -> None:
        """Run trials until the goal is reached. Raises `UserError` where all fails for a cause outside the trials."""
        running: dict[int, kt_trial.Trial] = {}
        while True:
            while len(running) < self.workers.count and (trial := self._begin(running)) is not None:
                running[self.oracle.proposals[trial.trial_id][0]] = trial
            if not running:
                return
            outcome = self.workers.next(self._progress)
            self._finish(running.pop(outcome.record.trial), outcome)

    def _begin(self, running: Mapping[int, kt_trial.Trial]) -> kt_trial.Trial | None:
        """Give a worker something to do; None where there is nothing, for now at least."""
        asked = time.monotonic()
        # Keras Tuner gives a tuner that has a trial the same again: each running one is another tuner's.
        busy = set(self.oracle.ongoing_trials)
        trial = self.oracle.create_trial(next(name for i in count() if (name := f"worker-{i}") not in busy))
        if trial.status != kt_trial.TrialStatus.RUNNING:
            return None
        number, proposal = self.oracle.proposals[trial.trial_id]
        self._proposing[number] = time.monotonic() - asked
        self._began(number, proposal)
        self.workers.submit(
            Job(
                number,
                trial_seed(self.search_seed, number),
                proposal,
                parent_weights=self._weights_of(proposal.parent) if proposal.inherits else None,
                stopping=self.oracle.stopping,
            )
        )
        return trial

    def _finish(self, trial: kt_trial.Trial, outcome: Outcome) -> None:
        """Put a trial on disk, then tell everybody."""
        record = outcome.record
        seconds = {"propose": self._proposing.pop(record.trial), **record.seconds}
        record = replace(record, seconds=seconds, elapsed=round(self.oracle.elapsed, 3))
        record = self._write(record, outcome.tflite, outcome.weights)
        self.oracle.learn(trial.trial_id, record)
        self._ended(record)
        if record.status == COMPLETED:
            self._failures.clear()
        elif record.status == FAILED:
            self._failures.append(record.reason)
            self._give_up_where_all_fails()

    def _give_up_where_all_fails(self) -> None:
        """UserError where the cause seems to lie outside the candidates: a tool that is gone, a target that is
        silent."""
        many = len(self._failures)
        alike = many >= _ALIKE and len(set(self._failures[-_ALIKE:])) == 1
        first = many >= _HOPELESS and not any(one.objectives for one in self.oracle.observations.values())
        if alike or first:
            raise UserError(
                f"the last {many} trials all failed, the last one: {self._failures[-1]}; mend that, then go on with "
                "--resume"
            )
