"""Finalists with several seeds: how much of a survivor's accuracy is luck, and who is best without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tfsparse.job import Job, trial_seed
from tfsparse.proposals import Proposal
from tfsparse.run_folder import Record, RunFolder
from tfsparse.workers import Report, Workers

# Each costs as much as a trial for each further seed.
FINALISTS = 3


def repeat_finalists(
    folder: RunFolder,
    workers: Workers,
    seeds: int,
    *,
    write: Callable[[Record], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    report: Report = lambda number, phase, fraction: None,
) -> None:
    """Train the survivors with the least errors again until each has been trained with so many `seeds`, just as it was
    but for the seed.

    What was done before is not done again; each outcome is handed to `write` before the next is waited for. `progress`
    is told how many of these trainings are done.
    """
    jobs = [job for record in folder.survivors[:FINALISTS] for job in _repeats(folder, record, seeds)]
    total, ended, running = len(jobs), 0, 0
    progress(0, total)
    while jobs or running:
        while jobs and running < workers.count:
            workers.submit(jobs.pop(0))
            running += 1
        outcome = workers.next(report)
        running -= 1
        ended += 1
        write(outcome.record)
        progress(ended, total)


def _repeats(folder: RunFolder, record: Record, seeds: int) -> list[Job]:
    done = {one.seed for one in folder.repeats if one.trial == record.trial}
    proposal = Proposal(record.candidate, record.stage, record.rung, record.parent, record.morph, record.inherited)
    weights = folder.weights_of(record.parent) if record.inherited else None
    if record.inherited and weights is None:
        # Without what it inherited this would be another training.
        return []
    wanted = [trial_seed(folder.settings.seed, record.trial, repeat) for repeat in range(1, seeds)]
    job = Job(record.trial, 0, proposal, parent_weights=weights)
    return [replace(job, seed=seed) for seed in wanted if seed not in done]
