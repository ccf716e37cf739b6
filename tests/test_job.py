"""A trial as a value: it can be sent away, and whatever goes wrong comes back as a record."""

import pickle
from dataclasses import replace

import pytest

from support.stand_in import SPACE, evaluate
from tfsparse.errors import UserError
from tfsparse.job import Job, run_job, trial_seed
from tfsparse.network import Infeasible
from tfsparse.proposals import Proposal
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, STOPPED
from tfsparse.stopping import Stopping
from tfsparse.train import TrainingStopped
from tfsparse.trial import TrialFailed

JOB = Job(7, 123, Proposal(SPACE.smallest, "exploit", 0.5, 3, "filters", True), b"weights", Stopping(0.1, (0.5,) * 4))


def test_a_job_and_its_outcome_travel():
    job = pickle.loads(pickle.dumps(JOB))
    assert job == JOB
    outcome = pickle.loads(pickle.dumps(run_job(job, evaluate)))
    record = outcome.record
    assert (record.trial, record.seed, record.status) == (7, 123, COMPLETED)
    assert (record.stage, record.rung, record.parent, record.morph) == ("exploit", 0.5, 3, "filters")
    assert record.inherited and record.candidate == SPACE.smallest
    assert outcome.tflite and outcome.weights == b"weights"


def test_what_is_asked_of_the_evaluation():
    asked = {}

    def judge(candidate, **keywords):
        asked.update(keywords)
        return evaluate(candidate)

    run_job(JOB, judge)
    assert asked["parent"] == b"weights" and asked["rung"] == 0.5 and asked["seed"] == 123
    assert asked["watch"](0.5, 0.1) and not asked["watch"](0.5, 0.95)
    # What is never stopped is watched all the same: its curve teaches.
    run_job(replace(JOB, stopping=None), judge)
    assert asked["watch"](0.5, 0.1) is False


class ResourceExhaustedError(Exception):
    """Named as TensorFlow names its own."""


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ZeroDivisionError("of all things"), FAILED, "ZeroDivisionError: of all things"),
        (MemoryError(), FAILED, "out of memory"),
        (ResourceExhaustedError("OOM when allocating\ntensor"), FAILED, "out of memory: OOM when allocating tensor"),
        (TrialFailed("training diverged"), FAILED, "training diverged"),
        (UserError("qemu is gone: make setup"), FAILED, "qemu is gone: make setup"),
        (TrainingStopped(0.4), STOPPED, "stopped after 40 % of its training"),
        (Infeasible("too big"), INFEASIBLE, "too big"),
    ],
)
def test_what_goes_wrong_is_in_the_record(error, status, reason):
    def judge(candidate, *, progress, **keywords):
        progress("size", 0.0)
        if status != INFEASIBLE:
            progress("train", 0.0)
            progress("train", 0.5)
        raise error

    heard = []
    outcome = run_job(JOB, judge, lambda phase, fraction: heard.append(phase))
    assert (outcome.record.status, outcome.record.reason) == (status, reason)
    assert outcome.tflite is None and outcome.weights is None
    # Its time stands under the words that it was shown with.
    assert list(outcome.record.seconds) == list(dict.fromkeys(heard))
    assert all(spent >= 0 for spent in outcome.record.seconds.values())


def test_seeds_differ_by_trial_and_repeat():
    seeds = {trial_seed(0, trial, repeat) for trial in range(20) for repeat in range(3)}
    assert len(seeds) == 60
    assert trial_seed(0, 3) == trial_seed(0, 3) != trial_seed(1, 3)
