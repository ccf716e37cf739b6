"""What early stopping saves, and what it costs: the rule replayed over the learning curves of the digits table.

    python -m benchmarks.early_stopping [--seeds 10] [--trials 80] [--json]

Each seed is a search's worth of candidates from benchmarks/digits_table.csv in random order, every one trained from
fresh weights. The rule learns from those before, as in a search, and what it stops teaches it nothing. `saved` is the
share of all training that is not done. The regret: `wrong` is the share of the worthwhile candidates, by what the whole
order shows in the end, that were stopped; `hypervolume_lost` the share of the hypervolume of log error, flash and RAM
that is missing for that (against four times the least error and the greatest sizes).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np

from benchmarks.digits_table import Row, read_table
from tfsparse.budgets import Budgets
from tfsparse.errors import UserError, run_cli
from tfsparse.objectives import worthwhile_error
from tfsparse.pareto import hypervolume
from tfsparse.stopping import Stopping


@dataclass(frozen=True)
class Replay:
    """One order's figures, each a share of 1; `stopped` of the candidates."""

    saved: float
    stopped: float
    wrong: float
    hypervolume_lost: float


def replay(rows: list[Row]) -> Replay:
    """The rule over candidates in this order."""
    curves, seen, kept, spent = [], [], [], 0.0
    for row in rows:
        stopping = Stopping.learn(worthwhile_error(seen, Budgets()), curves) if seen else None
        ended = next((f for f, accuracy in row.curve if stopping is not None and stopping(f, accuracy)), None)
        spent += 1.0 if ended is None else ended
        kept.append(ended is None)
        if ended is None:
            curves.append((row.curve, 1 - row.objectives.error))
            seen.append(row.objectives)
    limit = worthwhile_error([row.objectives for row in rows], Budgets())
    worthwhile = np.array([row.objectives.error <= limit for row in rows])
    logs = np.array([row.objectives.log for row in rows])
    reference = np.array([np.log(limit), *(logs[:, 1:].max(axis=0) + 1e-9)])
    whole, left = hypervolume(logs, reference), hypervolume(logs[kept], reference)
    kept_array = np.array(kept)
    return Replay(
        1 - spent / len(rows),
        float(1 - kept_array.mean()),
        float((worthwhile & ~kept_array).sum() / max(1, worthwhile.sum())),
        1 - left / whole,
    )


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if min(options.seeds, options.trials) < 1:
        raise UserError("give at least 1 of --seeds and --trials")
    rows = [row for row in read_table() if row.draw != "repeat"]
    orders = [np.random.default_rng(seed).permutation(len(rows))[: options.trials] for seed in range(options.seeds)]
    replays = [replay([rows[i] for i in order]) for order in orders]
    means = {name: round(float(np.mean([vars(one)[name] for one in replays])), 4) for name in vars(replays[0])}
    if options.json:
        print(json.dumps({**means, "seeds": options.seeds, "trials": options.trials}))
        return
    for name, value in means.items():
        print(f"{name:17} {100 * value:6.2f} %")
    print(f"mean over {options.seeds} orders of {options.trials} candidates, digits, validation")


if __name__ == "__main__":
    run_cli(main)
