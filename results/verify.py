"""python -m results.verify: measure every entry of the table again, and say every difference.

    make verify-results ARGS="--data-dir ../shared/data"

Of each entry: the accuracy of its generated C over the whole validation and test parts, on this machine; a sample of
images byte for byte on the emulated chip; all sizes. Where a data set is absent, sizes and random inputs are still
checked, and the accuracy is said to be unchecked. Exit code 0: all as the table says; 1: some difference; 2: an error
of the user's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from results.table import DIGITS, FIGURES, TABLE, Entry, load_data, load_table, read_candidate, save_table
from tfsparse.errors import UserError, run_cli

if TYPE_CHECKING:
    from hil.measurer import Measurer
    from tfsparse_datasets import Dataset

Say = Callable[[str], None]
TOLERANCE = 10**-DIGITS


@dataclass
class Verdict:
    """What was found of one entry: every difference in words, and what could not be checked and why."""

    name: str
    differences: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    test_accuracy: float | None = None  # of the stored file, found now
    figures: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    updated: bool = False  # the table has the sizes found now

    @property
    def sizes_differ(self) -> int:
        """How many of the differences are a size's."""
        return sum(difference.split(" is ")[0] in FIGURES for difference in self.differences)

    def compare(self, what: str, told: float | None, found: float | None) -> None:
        """Note a difference between the table's figure and the one that was found."""
        if told is None or found is None:
            if told is not found:
                self.differences.append(f"{what} is {found}, the table says {told}")
        elif abs(told - found) > (TOLERANCE if isinstance(found, float) else 0):
            self.differences.append(f"{what} is {_number(found)}, the table says {_number(told)}")


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}" if isinstance(value, float) else f"{value:,}"


class DataSets:
    """Loads each data set once; None with a reason where it is absent."""

    def __init__(self, data_dir: Path | None, download: bool = False):
        self._data_dir, self._download = data_dir, download
        self._loaded: dict[str, Dataset | str] = {}

    def __call__(self, entry: Entry) -> Dataset | str:
        """The entry's data, or why its accuracy cannot be checked."""
        from tfsparse_datasets import Absent

        if entry.title not in self._loaded:
            try:
                self._loaded[entry.title] = load_data(entry.title, self._data_dir, self._download)
            except Absent as error:
                self._loaded[entry.title] = str(error)
        found = self._loaded[entry.title]
        if not isinstance(found, str) and found.note != entry.data_note:
            return f"the data here is another copy ({found.note or 'the official one'}; the table: {entry.data_note})"
        return found


def check_arithmetic(entry: Entry, verdict: Verdict) -> None:
    """Means, deviation and choice must follow from the accuracies of the single trainings."""
    if not entry.test_accuracies:
        verdict.unchecked.append("mean and deviation: the table has no single accuracies")
        return
    if not len(entry.seeds) == len(entry.test_accuracies) == len(entry.val_accuracies):
        verdict.differences.append("there is not one accuracy for each seed")
        return
    if entry.tflite_seed not in entry.seeds:
        verdict.differences.append(f"the stored file's seed {entry.tflite_seed} is none of the entry's")
        return
    tests, vals = entry.test_accuracies, entry.val_accuracies
    stored = entry.seeds.index(entry.tflite_seed)
    verdict.compare("the mean test accuracy", entry.test_accuracy, round(mean(tests), DIGITS))
    verdict.compare("the mean validation accuracy", entry.val_accuracy, round(mean(vals), DIGITS))
    spread = round(stdev(tests), DIGITS) if len(tests) > 1 else None
    verdict.compare("the deviation of the test accuracy", entry.accuracy_sd, spread)
    verdict.compare("the test accuracy of the stored file's seed", entry.tflite_test_accuracy, tests[stored])
    verdict.compare("the validation accuracy of the stored file's seed", entry.tflite_val_accuracy, vals[stored])
    if vals[stored] < max(vals):
        verdict.differences.append("the stored file is not the seed with the best validation accuracy")


def check(
    entry: Entry, measurer: Measurer, data: DataSets, table: Path = TABLE, say: Say = lambda text: None
) -> Verdict:
    """Measure one entry again."""
    from results.measuring import SAMPLE, figures_of, host_run, images_for, measure

    started = time.monotonic()
    verdict = Verdict(entry.name)
    path = table.parent / entry.tflite
    try:
        candidate, content = read_candidate(entry, table), path.read_bytes()
    except (OSError, UserError) as error:
        verdict.differences.append(f"cannot read the model {path}" if isinstance(error, OSError) else str(error))
        return verdict
    check_arithmetic(entry, verdict)

    say("sizes on the chip")
    measurement = measure(measurer, path, entry.fed)
    verdict.figures = figures_of(measurement)
    for name in FIGURES:
        verdict.compare(name, getattr(entry, name), verdict.figures[name])
    for name in ("target", "runtime"):
        if getattr(measurement, name) != getattr(entry, name):
            verdict.differences.append(f"{name} is {getattr(measurement, name)}, not {getattr(entry, name)}")
    if not measurement.bit_exact:
        verdict.differences.append("the chip's outputs of random inputs differ from the reference's")

    dataset = data(entry)
    if isinstance(dataset, str):
        verdict.unchecked.append(f"accuracy: {dataset}")
    else:
        say("a sample on the chip")
        test, validation = images_for(candidate, dataset.test), images_for(candidate, dataset.validation)
        if not measure(measurer, path, entry.fed, test[:SAMPLE]).bit_exact:
            verdict.differences.append(f"the chip's outputs of {SAMPLE} test images differ from the reference's")
        with host_run(content, entry.fed) as run:
            say("the test part in generated C")
            if not run.equals_reference(test[:SAMPLE]):
                verdict.differences.append(f"the C's outputs of {SAMPLE} test images differ from the reference's")
            verdict.test_accuracy = run.accuracy(test, dataset.test.labels)
            verdict.compare("the stored file's test accuracy", entry.tflite_test_accuracy, verdict.test_accuracy)
            found = run.accuracy(validation, dataset.validation.labels)
            verdict.compare("the stored file's validation accuracy", entry.tflite_val_accuracy, found)
    verdict.seconds = round(time.monotonic() - started, 1)
    return verdict


def check_all(
    entries: Sequence[Entry], data: DataSets, table: Path = TABLE, say: Say = lambda text: None
) -> Iterable[Verdict]:
    """Each entry's verdict as it comes. `say` is told what is being done."""
    from results.measuring import measurers

    with measurers() as measurer:
        for number, entry in enumerate(entries, start=1):
            yield check(
                entry,
                measurer(entry.fed),
                data,
                table,
                lambda text, n=number, e=entry: say(f"{n}/{len(entries)} {e.name}: {text}"),
            )


def parser() -> argparse.ArgumentParser:
    one = argparse.ArgumentParser(
        prog="python -m results.verify",
        description="Measure every entry of results/table.json again and fail on any difference.",
    )
    one.add_argument("names", nargs="*", metavar="NAME", help="entries to check (default: all)")
    one.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data sets' files lie")
    one.add_argument("--download", action="store_true", help="fetch official archives that are not there")
    one.add_argument("--table", type=Path, default=TABLE, help="the table (default: results/table.json)")
    one.add_argument("--json", action="store_true", help="print a list of verdicts")
    one.add_argument(
        "--update",
        action="store_true",
        help="write the sizes found into the table, as after a change of compiler or firmware; accuracies never",
    )
    return one


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    entries = load_table(options.table)
    if unknown := sorted(set(options.names) - {entry.name for entry in entries}):
        raise UserError(f"{options.table} has no entry {', '.join(unknown)}; it has: " + _names(entries))
    chosen = [entry for entry in entries if not options.names or entry.name in options.names]
    if not chosen:
        make = "python -m results.final digits-small results/models/digits-small.json --dataset digits"
        raise UserError(f"{options.table} has no entries yet; make one: {make}")

    from rich.console import Console

    console, data = Console(stderr=True), DataSets(options.data_dir, options.download)
    for entry in chosen if options.download else ():
        data(entry)  # now, as only one display can be on the screen
    with console.status("the firmware without a model") as status:
        verdicts = list(check_all(chosen, data, options.table, lambda text: status.update(text)))
    if options.update:
        update_sizes(verdicts, options.table)
    if options.json:
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    else:
        _print(chosen, verdicts)
    return 1 if any(verdict.differences for verdict in verdicts) else 0


def update_sizes(verdicts: Sequence[Verdict], path: Path) -> None:
    """Write the sizes found into the table. An entry whose accuracy or outputs differ is left as it is: that is no
    matter of size."""
    found = {verdict.name: verdict for verdict in verdicts}
    changed = []
    for entry in load_table(path):
        verdict = found.get(entry.name)
        if verdict is not None and verdict.sizes_differ and len(verdict.differences) == verdict.sizes_differ:
            entry = replace(entry, **verdict.figures)
            verdict.differences = []
            verdict.updated = True
        changed.append(entry)
    save_table(changed, path)


def _names(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.name for entry in entries) or "none"


def _print(entries: Sequence[Entry], verdicts: Sequence[Verdict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="results, measured again: the stored files", title_justify="left")
    table.add_column("entry", no_wrap=True)
    table.add_column("test %", justify="right", no_wrap=True)
    for name in ("payload", "flash_model", "ram_model", "instructions"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    reasons: dict[str, str] = {}
    for verdict in verdicts:
        words = [f"[red]{difference}[/red]" for difference in verdict.differences]
        words = words or ["sizes written into the table" if verdict.updated else "as the table says"]
        for reason in verdict.unchecked:
            mark = reasons.setdefault(reason, f"({len(reasons) + 1})")
            words.append(f"[yellow]{reason.split(':')[0]} unchecked {mark}[/yellow]")
        accuracy = "-" if verdict.test_accuracy is None else f"{100 * verdict.test_accuracy:.2f}"
        sizes = [
            f"{verdict.figures[name]:,}" if verdict.figures else "-"
            for name in ("payload", "flash_model", "ram_model", "instructions")
        ]
        table.add_row(verdict.name, accuracy, *sizes, "; ".join(words))
    out = Console(width=None if sys.stdout.isatty() else 140)
    out.print(table)
    for reason, mark in reasons.items():
        out.print(f"{mark} {reason}", markup=False, highlight=False)
    wrong = sum(bool(verdict.differences) for verdict in verdicts)
    unchecked = sum(any(reason.startswith("accuracy") for reason in verdict.unchecked) for verdict in verdicts)
    out.print(f"entries: {len(verdicts)}, with differences: {wrong}, accuracies unchecked: {unchecked}")


if __name__ == "__main__":
    run_cli(main)
