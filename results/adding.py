"""From finished trainings to an entry: the best on validation is stored, measured, and judged on the test part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from results.measuring import figures_of, host_run, images_for, measure
from results.table import DIGITS, TABLE, WHOLE, Entry, load_table, put_entry

if TYPE_CHECKING:
    from hil.measurer import Measurer
    from tfsparse.candidate import Candidate
    from tfsparse_datasets import Dataset


@dataclass(frozen=True)
class FinalTraining:
    """One training of an entry's candidate: its seed and its int8 model."""

    seed: int
    tflite: bytes


def add_entry(
    name: str,
    dataset: Dataset,
    candidate: Candidate,
    trainings: Sequence[FinalTraining],
    *,
    measurer: Measurer,
    command: str,
    origin: str = "",
    fed: str = WHOLE,
    table: Path = TABLE,
) -> Entry:
    """Judge the trainings, store the best on validation in models/ beside the table, measure it, and put the entry.

    origin: how the candidate came about; where it is empty, an earlier entry of this name says it.

    dataset: from `table.load_data`. The test part is looked at here, once a training, after the choice by validation.

    Raises RuntimeError where the chip's outputs are not the reference's.
    """
    accuracies = []
    for training in trainings:
        with host_run(training.tflite, fed) as run:
            val = run.accuracy(images_for(candidate, dataset.validation), dataset.validation.labels)
            test = run.accuracy(images_for(candidate, dataset.test), dataset.test.labels)
        accuracies.append((val, test))
    vals, tests = zip(*accuracies, strict=True)
    best = max(range(len(trainings)), key=lambda i: vals[i])
    models = table.parent / "models"
    models.mkdir(exist_ok=True)
    tflite, description = models / f"{name}.tflite", models / f"{name}.json"
    tflite.write_bytes(trainings[best].tflite)
    description.write_text(json.dumps(candidate.to_json(), indent=1) + "\n")
    measurement = measure(measurer, tflite, fed)
    if not measurement.bit_exact:
        raise RuntimeError(f"the chip's outputs of {name} differ from the reference's: no figure to trust")
    entry = Entry(
        dataset=dataset.name,
        rule=dataset.rule,
        name=name,
        tflite=tflite.relative_to(table.parent).as_posix(),
        candidate=description.relative_to(table.parent).as_posix(),
        fed=fed,
        note=dataset.note,
        test_accuracy=round(mean(tests), DIGITS),
        val_accuracy=round(mean(vals), DIGITS),
        accuracy_sd=round(stdev(tests), DIGITS) if len(tests) > 1 else None,
        seeds=tuple(training.seed for training in trainings),
        tflite_seed=trainings[best].seed,
        tflite_test_accuracy=tests[best],
        tflite_val_accuracy=vals[best],
        **figures_of(measurement),
        target=measurement.target,
        runtime=measurement.runtime,
        command=command,
        test_accuracies=tests,
        val_accuracies=vals,
        origin=origin or next((entry.origin for entry in load_table(table) if entry.name == name), ""),
    )
    put_entry(entry, table)
    return entry
