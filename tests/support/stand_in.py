"""A cheap evaluation that costs no training: sizes from the network's shapes, an error that a network's capacity
explains.

And a process that searches with it, to be killed: python -m support.stand_in RUN TRIALS SECONDS_A_TRIAL [WORKERS]
With one worker, ABORT_AT in the environment names a trial over which the process aborts, as native code does.
"""

import hashlib
import os
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from tfsparse.attempts import Attempts
from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.job import trial_seed
from tfsparse.run_folder import RunFolder, Settings
from tfsparse.space import DesignSpace
from tfsparse.workers import Inline

SPACE = DesignSpace((12, 12, 1), classes=10)


@dataclass(frozen=True)
class Result:
    """The fields of `tfsparse.trial.TrialResult`."""

    val_accuracy: float
    float_val_accuracy: float
    figures: dict
    tflite: bytes
    note: str | None = None
    seconds: dict = field(default_factory=lambda: {"train": 0.01, "measure": 0.01})
    weights: bytes = b"weights"
    curve: tuple = ((0.5, 0.5), (1.0, 0.6))


def error_of(space: DesignSpace, candidate: Candidate) -> float:
    """More weights and more arithmetic help, less and less; a wrong learning rate hurts; so does dropout in a small
    net."""
    network, training = space.network(candidate), candidate.training
    capacity = np.log2(network.weight_count) + 0.5 * np.log2(network.macs)
    error = 0.9 * np.exp(-capacity / 6) + 0.05 * abs(np.log(training.learning_rate / 0.02))
    error += 0.04 * (candidate.head == "flatten") + 0.05 * training.dropout
    return float(min(error, 0.9))


def figures_of(space: DesignSpace, candidate: Candidate) -> dict:
    """Every word that a measurement gives, from the shapes."""
    network = space.network(candidate)
    kept = 1.0 if candidate.training.pruning == "none" else 0.25
    nnz = int(kept * network.weight_count)
    code = 2000 + 700 * any(op.kind == "depthwise" for op in network.ops)
    return {
        "nnz": nnz,
        "model_size_counted": nnz,
        "working_memory_1": nnz,
        "working_memory_2": network.memory_bound,
        "macs": network.macs,
        "payload": nnz,
        "flash_model": code + nnz,
        "flash_total": code + nnz + 5000,
        "ram_model": network.memory_bound + 200,
        "ram_total": network.memory_bound + 3000,
        "stack": 200,
        "arena": network.memory_bound,
        "instructions": 40 * network.macs,
        "bit_exact": True,
        "target": "emulator",
        "runtime": "sparse",
    }


def evaluate(
    candidate: Candidate,
    *,
    rung=1.0,
    seed=0,
    progress=lambda phase, fraction: None,
    parent: bytes | None = None,
    watch=None,
    pause=0.0,
) -> Result:
    """Judge a candidate of `SPACE`; the same every time."""
    progress("train", 0.5)
    time.sleep(pause)
    digest = int(hashlib.sha256(candidate.id.encode()).hexdigest()[:8], 16)
    noise = np.exp(0.05 * (digest / 2**31 - 1))
    accuracy = 1 - min(error_of(SPACE, candidate) * noise * rung**-0.2, 0.9)
    return Result(accuracy, accuracy, figures_of(SPACE, candidate), f"model of {candidate.id}".encode())


def settings(trials: int | None = 12, *, budgets: Budgets | None = None, seed: int = 0, **changes) -> Settings:
    """Settings of a run over `SPACE`."""
    given = {
        "dataset": "stand-in",
        "rule": None,
        "data_shape": SPACE.input_shape,
        "classes": SPACE.classes,
        "budgets": budgets or Budgets(),
        "seed": seed,
        "target": "emulator",
        "trials": trials,
        "minutes": None,
        "versions": {"tfsparse": "0"},
        "machine": "here",
        "started": "2026-01-01T00:00:00+00:00",
        "command": "none",
    }
    return Settings(**{**given, **changes})


def evaluator(data, *, measurer, pause=0.0, **options):
    """As `tfsparse.search.evaluator`: an evaluation, made in a worker."""
    return partial(evaluate, pause=pause)


def abort_at(trial: int, candidate: Candidate, **keywords) -> Result:
    """Judge a candidate, unless it is that trial's: then the process ends by SIGABRT."""
    if keywords["seed"] == trial_seed(0, trial):
        os.abort()
    return evaluate(candidate, **keywords)


def main() -> None:
    out, trials, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    from rich.console import Console

    from tfsparse.search import import_tensorflow_quietly, search

    import_tensorflow_quietly()
    folder = RunFolder.open(out) if RunFolder.exists(out) else RunFolder.create(out, settings(trials))
    console = Console(stderr=True)
    if workers == 1:
        print("searching", flush=True)
        judge = partial(abort_at, int(os.environ["ABORT_AT"])) if "ABORT_AT" in os.environ else evaluate
        search(folder, Inline(partial(judge, pause=pause), Attempts(out)), console)
        return
    from tfsparse.cluster import RayCluster

    with RayCluster(workers) as cluster:
        print("searching", flush=True)
        search(folder, cluster.workers(evaluator, None, pause=pause), console)


if __name__ == "__main__":
    main()
