"""Where jobs run: here, one after the other, or (`cluster`) on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tfsparse.job import Evaluate, Job, Outcome, run_job

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
    """One worker: this process. A job runs while its outcome is waited for."""

    count = 1

    def __init__(self, evaluate: Evaluate):
        self._evaluate = evaluate
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        self._job = job

    def next(self, report: Report) -> Outcome:
        job, self._job = self._job, None
        return run_job(job, self._evaluate, lambda phase, fraction: report(job.number, phase, fraction))
