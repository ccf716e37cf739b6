"""python -m results.baselines: the usual methods on the table's data sets, rules and splits, into baselines.json.

    python -m results.baselines --data-dir ../shared/data [--cells digits/knn mnist/lenet5]

One cell is a method on a data set. Each is written as it is done, and a cell that is there is not done again (but see
--again). Hyperparameters are chosen on validation, the test part is looked at once a cell. Where all training images
would take too long, the first N of the shuffled part are taken, and the record says so (`trained_on`); `--all-images`
takes them all.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from results.methods import METHODS
from results.records import load_records, save_lines
from results.table import RESULTS, data_words, load_data
from tfsparse.errors import UserError, run_cli

BASELINES = RESULTS / "baselines.json"

DATA_SETS = ("digits", "chars4k:lt-half", "mnist:lt-half", "mnist", "cifar10:lt-half")

# Training images a cell at most, where all would take one slow core more than some minutes.
MOST: dict[tuple[str, str], int] = {
    ("knn", "cifar10:lt-half"): 20_000,
    ("rbf-svm", "mnist:lt-half"): 8_000,
    ("rbf-svm", "mnist"): 8_000,
    ("rbf-svm", "cifar10:lt-half"): 6_000,
    ("gbdt", "mnist:lt-half"): 20_000,
    ("gbdt", "mnist"): 6_000,
    ("gbdt", "cifar10:lt-half"): 8_000,
}


def load_baselines(path: Path = BASELINES) -> list[dict[str, Any]]:
    """One record a cell; none where there is no file yet."""
    return load_records(path)


def put_baseline(record: dict[str, Any], path: Path = BASELINES) -> None:
    """Add a record, or replace that of its cell."""
    records = {_key(other): other for other in load_baselines(path)}
    records[_key(record)] = record
    save_lines((json.dumps(records[key]) for key in sorted(records)), path)


def _key(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["dataset"], record["rule"] or "", record["method"]


def parser() -> argparse.ArgumentParser:
    one = argparse.ArgumentParser(
        prog="python -m results.baselines",
        description="The usual methods on the table's data sets: accuracy and size, into results/baselines.json.",
    )
    one.add_argument(
        "--cells",
        nargs="+",
        metavar="DATA/METHOD",
        help=f"such as digits/knn, or DATA/ for all; methods: {', '.join(METHODS)}",
    )
    one.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets' files lie")
    one.add_argument("--download", action="store_true", help="fetch official archives that are not there")
    one.add_argument("--out", type=Path, default=BASELINES, metavar="FILE", help="(default: results/baselines.json)")
    one.add_argument("--all-images", action="store_true", help="train on every training image, however long it takes")
    one.add_argument("--again", action="store_true", help="do cells anew that are there")
    one.add_argument("--threads", type=int, default=1, metavar="N", help="threads for arithmetic (1)")
    return one


def _cells(words: list[str] | None) -> list[tuple[str, str]]:
    if words is None:
        words = [f"{data}/" for data in DATA_SETS]
    cells = []
    for word in words:
        data, slash, method = word.rpartition("/")
        if not slash or (method and method not in METHODS):
            raise UserError(f"--cells {word}: give DATA/METHOD with a method of {', '.join(METHODS)}, or DATA/")
        cells += [(data, one) for one in ([method] if method else METHODS)]
    return cells


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: give at least 1")
    cells = _cells(options.cells)
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ[name] = str(options.threads)

    from rich.console import Console
    from threadpoolctl import threadpool_limits

    from tfsparse.search import import_tensorflow_quietly

    console = Console(stderr=True)
    done = {(record["dataset"], record["rule"], record["method"]) for record in load_baselines(options.out)}
    loaded = {}
    for number, (data, method) in enumerate(cells, start=1):
        if data not in loaded:
            loaded.clear()  # one in memory at a time
            loaded[data] = load_data(data, options.data_dir, options.download)
        dataset = loaded[data]
        if (dataset.name, dataset.rule, method) in done and not options.again:
            continue
        if method in ("dense", "lenet5"):
            import_tensorflow_quietly()
        most = None if options.all_images else MOST.get((method, dataset.title))
        started = time.monotonic()
        with threadpool_limits(options.threads), console.status(f"{number}/{len(cells)} {data} {method}") as status:
            found = METHODS[method](
                dataset,
                most,
                lambda text, n=number, d=data, m=method: status.update(f"{n}/{len(cells)} {d} {m}: {text}"),
            )
        record = {
            "dataset": dataset.name,
            "rule": dataset.rule,
            "method": method,
            **asdict(found),
            "note": dataset.note,
            "seconds": round(time.monotonic() - started),
            "command": _command(options, f"{data}/{method}"),
        }
        put_baseline(record, options.out)
        console.print(
            f"{data} {method}: test {100 * found.test_accuracy:.2f} %, {found.model_bytes:,} B ({found.counted_as}), "
            f"trained on {found.trained_on:,}, {record['seconds']} s",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return 0


def _command(options: argparse.Namespace, cell: str) -> str:
    words = ["python", "-m", "results.baselines", "--cells", cell]
    return shlex.join([*words, *["--all-images"] * options.all_images, *data_words(cell.rpartition("/")[0])])


if __name__ == "__main__":
    run_cli(main)
