"""Run folders for tests, written through the search's own code, with candidates that it could have drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, Record, RunFolder, Settings
from tfsparse.space import DesignSpace

SHAPE, CLASSES = (28, 28, 1), 10


def settings(**changes: Any) -> Settings:
    """Settings of a run on MNIST-like images."""
    values: dict[str, Any] = {
        "dataset": "mnist",
        "rule": None,
        "data_shape": SHAPE,
        "classes": CLASSES,
        "budgets": Budgets(flash=6144, ram=16384),
        "seed": 3,
        "target": "emulator",
        "trials": 40,
        "minutes": None,
        "versions": {"tfsparse": "0.1.0", "tensorflow": "2.21.0", "numpy": "2.4.6"},
        "machine": "2 cores, Linux 6.1",
        "started": "2026-11-22T20:13:00+00:00",
        "command": "python -m tfsparse.search --dataset mnist --out runs/x --budget-flash 6k --budget-ram 16k",
    }
    return Settings(**{**values, **changes})


def figures_of(candidate: Candidate, rng: np.random.Generator) -> tuple[float, dict[str, Any]]:
    """(validation accuracy, a measurement's words) as a trained candidate could have them: larger nets err less."""
    network = DesignSpace(SHAPE, CLASSES).network(candidate)
    kept = 1.0 if candidate.training.pruning == "none" else rng.uniform(0.1, 0.6)
    nnz = max(1, int(network.weight_count * kept))
    payload = int(nnz * 1.2) + 40
    error = min(0.9, 3.0 * nnz**-0.6 * float(np.exp(rng.normal(0, 0.3))))
    return 1 - error, {
        "nnz": nnz,
        "model_size_counted": nnz,
        "working_memory_1": network.memory_bound + nnz,
        "working_memory_2": network.memory_bound,
        "macs": int(network.macs * kept),
        "payload": payload,
        "flash_model": payload + 2600,
        "flash_total": payload + 2600 + 6100,
        "ram_model": network.memory_bound + 180,
        "ram_total": network.memory_bound + 180 + 2100,
        "instructions": int(network.macs * kept * 9),
        "bit_exact": True,
        "target": "emulator",
        "runtime": "sparse",
    }


def make_run(path: Path, trials: int = 40, *, seed: int = 0, **changes: Any) -> RunFolder:
    """A run of so many trials, every ninth failed and whatever the space refuses infeasible; survivors have models."""
    run = RunFolder.create(path, settings(**changes))
    space = DesignSpace(SHAPE, CLASSES, run.settings.budgets)
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        candidate = space.sample(rng)
        stage = ("explore", "exploit", "refine")[3 * trial // trials]
        common = {"trial": trial, "stage": stage, "seed": seed, "candidate": candidate}
        if reason := space.refusal(candidate):
            run.append(Record(**common, status=INFEASIBLE, reason=reason))
        elif trial % 9 == 8:
            reason = "training diverged: the loss is not a number after <3> epochs & more"
            run.append(Record(**common, status=FAILED, reason=reason, seconds={"train": 2.5}))
        else:
            accuracy, figures = figures_of(candidate, rng)
            seconds = {"train": rng.uniform(4, 12), "convert": 0.9, "compile": 0.4, "measure": 1.4}
            parent = {"parent": trial - 2, "morph": "filters"} if stage != "explore" else {}
            record = Record(
                **common, **parent, status=COMPLETED, val_accuracy=accuracy, seconds=seconds, figures=figures
            )
            run.append(record, b"TFL3 stands for a model")
    return run
