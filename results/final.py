"""python -m results.final NAME CANDIDATE.json --dataset D: train a chosen candidate long, with several seeds; an entry.

The candidate is a search's (the `candidate` of a line in trials.jsonl) or made by hand. Nothing is chosen here but, on
the validation part, which of the seeds' models is stored. Each seed's model is kept under --work as soon as it is
there, so an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path

from results.table import ROWS, TABLE, TRAINED_ON_VALIDATION, WHOLE, check_name, data_words, load_data
from tfsparse.errors import UserError, run_cli
from tfsparse.search import LEAST_IMAGES
from tfsparse.start import candidate_in


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m results.final", description=__doc__.split("\n")[0])
    found.add_argument("name", help="of the entry: small letters, digits, '-'")
    found.add_argument("candidate", type=Path, help="JSON file of the candidate")
    found.add_argument("--dataset", required=True, help="as for the search, with its rule: cifar10:lt-half")
    found.add_argument("--data-dir", type=Path, help="where the data set's files lie")
    found.add_argument("--download", action="store_true", help="fetch the official archive if it is not there")
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings (0 1 2)")
    found.add_argument("--images", type=int, default=3_000_000, help="shown in a training (3,000,000)")
    found.add_argument(
        "--teacher-images", type=int, help="shown to the teacher of a candidate that distils (as in a search)"
    )
    found.add_argument(
        "--with-validation",
        action="store_true",
        help="train on the training and the validation part, once all is chosen: for small sets",
    )
    found.add_argument("--by-rows", action="store_true", help="the input is given row by row")
    found.add_argument("--origin", default="", help="how the candidate came about (as the table has it already)")
    found.add_argument("--table", type=Path, default=TABLE, help="the table to write (results/table.json)")
    found.add_argument("--work", type=Path, default=Path("runs/final"), help="where trainings are kept (runs/final)")
    found.add_argument("--only-train", action="store_true", help="leave the test part and the table alone")
    return found


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    check_name(options.name)
    if min(options.images, options.teacher_images or LEAST_IMAGES) < LEAST_IMAGES:
        raise UserError(f"a training of so few images is none: give at least {LEAST_IMAGES}")
    if min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        raise UserError(f"--seeds {' '.join(map(str, options.seeds))}: give different numbers of 0 or more")
    candidate = candidate_in(options.candidate, "give the JSON that the search writes")

    from tfsparse.search import import_tensorflow_quietly

    import_tensorflow_quietly()
    from hil.measurer import Measurer
    from results.adding import FinalTraining, add_entry

    dataset = load_data(options.dataset, options.data_dir, download=options.download)
    if options.with_validation:
        dataset = with_validation(dataset)
    fed = ROWS if options.by_rows else WHOLE
    trainings = []
    with Measurer(by_rows=options.by_rows) as measurer:
        for seed in options.seeds:
            tflite, record = trained(candidate, dataset, seed, options, measurer)
            trainings.append(FinalTraining(seed, tflite))
            print(f"{options.name} seed {seed}: {summary(record)}", file=sys.stderr, flush=True)
        if options.only_train:
            return 0
        entry = add_entry(
            options.name,
            dataset,
            candidate,
            trainings,
            measurer=measurer,
            command=command(options),
            origin=options.origin,
            fed=fed,
            table=options.table,
        )
    deviation = "" if entry.accuracy_sd is None else f" +- {100 * entry.accuracy_sd:.2f}"
    print(
        f"{entry.name}: test {100 * entry.test_accuracy:.2f}{deviation} % over {len(entry.seeds)} seeds, "
        f"nnz {entry.nnz}, payload {entry.payload}, flash_model {entry.flash_model}, ram_model {entry.ram_model} "
        f"(input fed {entry.fed})",
        file=sys.stderr,
    )
    return 0


def with_validation(dataset):
    """The data set whose training part has the validation part as well; its note says so."""
    from dataclasses import replace

    import numpy as np

    from tfsparse_datasets import Split

    parts = dataset.train, dataset.validation
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    note = "; ".join(filter(None, (dataset.note, TRAINED_ON_VALIDATION)))
    return replace(dataset, train=Split(images, labels), note=note)


def trained(candidate, dataset, seed: int, options, measurer) -> tuple[bytes, dict]:
    """The int8 model of one seed and its figures, from the folder or, the first time, from training."""
    from rich.console import Console
    from rich.progress import Progress

    from tfsparse.rung import Rung
    from tfsparse.trial import evaluate

    told = [candidate.to_json(), dataset.title, options.images, options.by_rows]
    told = json.dumps([*told, options.teacher_images, options.with_validation], sort_keys=True)
    folder = options.work / options.name / f"{hashlib.sha256(told.encode()).hexdigest()[:8]}-seed-{seed}"
    model, figures = folder / "model.tflite", folder / "figures.json"
    if not figures.exists():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{options.name}, seed {seed}", total=1.0)

            def progress(phase: str, fraction: float) -> None:
                if phase == "train":
                    bar.update(task, completed=fraction)

            rung = Rung(options.images, whole=True)
            cache = options.work / "teacher"
            result = evaluate(
                candidate,
                dataset,
                rung=rung,
                seed=seed,
                measurer=measurer,
                cache=cache,
                teacher_rung=Rung(options.teacher_images, whole=True) if options.teacher_images else None,
                progress=progress,
            )
        folder.mkdir(parents=True, exist_ok=True)
        model.write_bytes(result.tflite)
        record = {
            "val_accuracy": result.val_accuracy,
            "float_val_accuracy": result.float_val_accuracy,
            "note": result.note,
            "seconds": result.seconds,
            **{key: value for key, value in result.figures.items() if key not in ("val_accuracy", "note", "seconds")},
        }
        figures.write_text(json.dumps(record, indent=1) + "\n")
    return model.read_bytes(), json.loads(figures.read_text())


def summary(record: dict) -> str:
    words = ("nnz", "payload", "flash_model", "ram_model", "instructions")
    sizes = ", ".join(f"{word} {record[word]}" for word in words)
    int8, floats = 100 * record["val_accuracy"], 100 * record["float_val_accuracy"]
    return f"validation {int8:.2f} % ({floats:.2f} % in floats), {sizes}"


def command(options) -> str:
    """The command that makes the entry, without what only says where things lie here."""
    words = ["python", "-m", "results.final", options.name, f"results/models/{options.name}.json"]
    words += ["--dataset", options.dataset, "--images", str(options.images)]
    words += ["--seeds", *map(str, options.seeds)]
    words += ["--teacher-images", str(options.teacher_images)] if options.teacher_images else []
    words += ["--with-validation"] if options.with_validation else []
    return shlex.join([*words, *(["--by-rows"] if options.by_rows else []), *data_words(options.dataset)])


if __name__ == "__main__":
    run_cli(main)
