"""python -m results.digits: train a small network for scikit-learn's digits with three seeds, and put it in the table.

The one entry that every machine can check whole: its data comes with scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from results.table import TABLE, load_data
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.errors import run_cli

NAME = "digits-small"
SEEDS = (0, 1, 2)
CANDIDATE = Candidate(
    (
        Block((Layer("plain", 8, 3),)),
        Block((Layer("separable", 12, 3),), "stride", 2),
    ),
    head="depthwise",
    training=Training(pruning="unstructured", kl_weight=0.2, epochs=2.0),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m results.digits", description=__doc__.split("\n")[0])
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to write (default: results/table.json)")
    parser.add_argument("--length", type=float, default=4.0, help="of a training, in the search's shortest rungs (4)")
    options = parser.parse_args(arguments)

    from tfsparse.search import import_tensorflow_quietly

    import_tensorflow_quietly()
    from hil.measurer import Measurer
    from results.adding import FinalTraining, add_entry
    from tfsparse.rung import Rung
    from tfsparse.trial import evaluate

    dataset = load_data("digits", None)
    trainings = []
    with Measurer() as measurer:
        for seed in SEEDS:
            result = evaluate(CANDIDATE, dataset, rung=Rung.of(options.length), seed=seed, measurer=measurer)
            trainings.append(FinalTraining(seed, result.tflite))
            print(f"seed {seed}: validation {result.val_accuracy:.2%}", file=sys.stderr, flush=True)
        entry = add_entry(
            NAME,
            dataset,
            CANDIDATE,
            trainings,
            measurer=measurer,
            command="python -m results.digits",
            table=options.table,
        )
    print(
        f"{entry.name}: test {entry.test_accuracy:.2%}, payload {entry.payload}, ram_model {entry.ram_model}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    run_cli(main)
