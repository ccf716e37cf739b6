"""The table of candidates that `benchmarks/search.py` searches: each really trained, and measured on the emulated chip.

    python -m benchmarks.digits_table [--candidates 450] [--out benchmarks/digits_table.csv]

A third of the candidates is drawn at random from the whole design space. The others come from regularised evolution
(Real et al. 2019) with random scalarisations, in several populations that know nothing of each other, so that the table
reaches as far as a search does and belongs to none of those that are compared on it. Every `REPEAT`th candidate is
trained again with another seed: the table's own noise. A run that was stopped goes on behind the last line.

Columns: the kind of draw, seed, validation error, measured flash_model and ram_model (bytes), nnz, instructions, the
learning curve (fraction of the training:validation accuracy, in floats), seconds, and the candidate as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.errors import run_cli
from tfsparse.morphism import FAMILIES, neighbour
from tfsparse.objectives import Objectives
from tfsparse.quiet import import_quietly
from tfsparse.space import DesignSpace

TABLE = Path(__file__).with_suffix(".csv")
COLUMNS = ("draw", "seed", "error", "flash", "ram", "nnz", "instructions", "curve", "seconds", "candidate")
RANDOM_SHARE = 1 / 3
POPULATIONS = 6
POPULATION = 16
TOURNAMENT = 5
REPEAT = 15

TABLE_BLOCKS = 4
TABLE_BITS = (8,)


def table_space(shape: tuple[int, ...], classes: int) -> DesignSpace:
    """The part of the design space that the table is of."""
    budgets = Budgets(flash=1024 * 1024, ram=128 * 1024)
    return DesignSpace(shape, classes, budgets, max_blocks=TABLE_BLOCKS, weight_bits=TABLE_BITS)


@dataclass(frozen=True)
class Row:
    """One line of the table; a candidate that came to nothing has the reason for its `draw`'s end and no figures."""

    draw: str
    seed: int
    objectives: Objectives
    nnz: int
    instructions: int
    curve: tuple[tuple[float, float], ...]
    seconds: float
    candidate: Candidate

    def cells(self) -> list:
        """As the CSV's columns."""
        one = self.objectives
        curve = " ".join(f"{fraction:g}:{accuracy:g}" for fraction, accuracy in self.curve)
        candidate = json.dumps(self.candidate.to_json(), separators=(",", ":"))
        figures = [round(one.error, 6), int(one.flash), int(one.ram), self.nnz, self.instructions]
        return [self.draw, self.seed, *figures, curve, round(self.seconds, 2), candidate]

    @classmethod
    def of(cls, cells: dict[str, str]) -> Row:
        """From a line of the CSV."""
        points = (point.split(":") for point in cells["curve"].split())
        return cls(
            cells["draw"],
            int(cells["seed"]),
            Objectives(float(cells["error"]), float(cells["flash"]), float(cells["ram"])),
            int(cells["nnz"]),
            int(cells["instructions"]),
            tuple((float(fraction), float(accuracy)) for fraction, accuracy in points),
            float(cells["seconds"]),
            Candidate.from_json(json.loads(cells["candidate"])),
        )


def read_table(path: Path = TABLE) -> list[Row]:
    """The table's rows, repeats included."""
    with path.open(newline="") as file:
        return [Row.of(cells) for cells in csv.DictReader(file)]


def draw(space: DesignSpace, rows: list[Row], number: int, rng: np.random.Generator) -> tuple[str, Candidate]:
    """The candidate of this number, and how it was drawn: `random` or `population-P`."""
    known = {row.candidate for row in rows}
    if rng.random() < RANDOM_SHARE:
        return "random", _fresh(lambda: space.sample(rng), space, known)
    name = f"population-{number % POPULATIONS}"
    living = [row for row in rows if row.draw == name][-POPULATION:]
    if len(living) < TOURNAMENT:
        return name, _fresh(lambda: space.sample(rng), space, known)
    weights = rng.random(3)
    logs = np.array([row.objectives.log for row in living])

    def child() -> Candidate:
        rivals = rng.choice(len(living), TOURNAMENT, replace=False)
        parent = living[min(rivals, key=lambda rival: float(weights @ logs[rival]))].candidate
        for _ in range(1 + int(rng.integers(2))):
            morph = neighbour(space, parent, rng, list(FAMILIES))
            parent = morph.candidate if morph is not None else parent
        return parent

    return name, _fresh(child, space, known)


def _fresh(make, space: DesignSpace, known: set[Candidate]) -> Candidate:
    while True:
        candidate = make()
        if candidate not in known and space.refusal(candidate) is None:
            return candidate


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=450)
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    import_quietly("tfsparse.trial")
    import tensorflow as tf
    from rich.progress import Progress

    from hil.measure import Measurer
    from tfsparse.rung import Rung
    from tfsparse.trial import evaluate
    from tfsparse_datasets import load

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset = load("digits", None)
    space = table_space(tuple(dataset.shape), len(dataset.class_names))
    rows = read_table(options.out) if options.out.exists() else []
    if not rows:
        with options.out.open("w", newline="") as file:
            csv.writer(file).writerow(COLUMNS)
    # Trials that come to nothing leave no line: the numbers that draws depend on count them all the same.
    number = len(rows)
    with (
        tempfile.TemporaryDirectory(prefix="tfsparse-") as workdir,
        Measurer(target="emulator", runtime="sparse", workdir=Path(workdir)) as measurer,
        Progress() as bar,
    ):
        cache = Path(workdir) / "teacher"
        task = bar.add_task("candidates", total=options.candidates, completed=len(rows))
        while len(rows) < options.candidates:
            number += 1
            rng = np.random.default_rng([20261124, number])
            seed = int(rng.integers(2**31))
            if number % REPEAT == 0:
                name, candidate = "repeat", rows[int(rng.integers(len(rows)))].candidate
            else:
                name, candidate = draw(space, rows, number, rng)
            try:
                result = evaluate(
                    candidate,
                    dataset,
                    rung=Rung.of(1.0),
                    seed=seed,
                    measurer=measurer,
                    cache=cache,
                    watch=lambda fraction, accuracy: False,
                )
            except Exception as error:
                bar.console.print(f"{number}: {error}", markup=False)
                continue
            objectives = Objectives.of({"val_accuracy": result.val_accuracy, **result.figures})
            spent = sum(result.seconds.values())
            figures = result.figures["nnz"], result.figures["instructions"]
            row = Row(name, seed, objectives, *figures, result.curve, spent, candidate)
            with options.out.open("a", newline="") as file:
                csv.writer(file).writerow(row.cells())
            rows.append(row)
            bar.update(task, completed=len(rows))


if __name__ == "__main__":
    run_cli(main)
