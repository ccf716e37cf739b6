"""Where jobs run: here, one after the other, or (`cluster`) on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tfsparse.attempts import GIVEN_UP, MOST, Attempts
from tfsparse.job import Evaluate, Job, Outcome, run_job, unfinished

Report = Callable[[int, str, float], None]
"""Told of a running trial: its number, the phase that it is in, and the fraction of that which is done."""


class Workers(Protocol):
    """Runs up to `count` jobs at a time."""

    count: int

    def submit(self, job: Job) -> None:
        """Take a job; there are fewer than `count` unfinished ones."""

    def next(self, report: Report) -> Outcome:
        """Wait for a job to end; its outcome."""


class Inline:
    """One worker: this process. A job runs while its outcome is waited for; one that ends the process time and again,
    by the count of `attempts`, has failed."""

    count = 1

    def __init__(self, evaluate: Evaluate, attempts: Attempts | None = None):
        self._evaluate = evaluate
        self._attempts = attempts
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        self._job = job

    def next(self, report: Report) -> Outcome:
        job, self._job = self._job, None
        if self._attempts is None:
            return self._run(job, report)
        # With other trials or minutes, a search may propose another candidate under the number.
        name = f"trial {job.number}, seed {job.seed}, candidate {job.proposal.candidate.id}"
        if self._attempts.died(name) >= MOST:
            return Outcome(unfinished(job, GIVEN_UP))
        with self._attempts.at(name):
            return self._run(job, report)

    def _run(self, job: Job, report: Report) -> Outcome:
        return run_job(job, self._evaluate, lambda phase, fraction: report(job.number, phase, fraction))
