"""What the paper claims, shown or refuted by real searches on digits, each candidate measured on the emulated chip.

    python -m benchmarks.claims [--seeds 3] [--trials 20] [--arms inside after ...] [--json]
        [--out results/claims.json] [--plot results/claims.png]

For each seed five searches of a few minutes (searches.py): with pruning inside, over dense networks whose front is then
pruned, without inherited weights, and with one kind of pruning alone. Their trials, the fronts' hypervolumes and the
ranks of counted and measured figures make the verdicts (judging.py); the counted figures are replayed over the larger
benchmarks/digits_table.csv as well. Stopped at any moment, the command goes on where it was. `--from` judges the trials
that `--out` kept, and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims.counting import replay
from benchmarks.claims.judging import judge
from benchmarks.claims.keeping import Kept, load, save
from benchmarks.claims.searches import ARMS, BUDGETS, Trial, laboratory
from benchmarks.digits_table import read_table
from tfsparse.errors import UserError, run_cli


def searched(arms: Sequence[str], seeds: int, trials: int) -> list[Trial]:
    """The trials of these arms and of all seeds."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    total = seeds * sum(trials if ARMS[arm].prunes_front else ARMS[arm].trials(trials) for arm in arms)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials, left:"))
    found = []
    # A trial takes seconds: the pace of the last minutes tells more than that of the last few.
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task("searches", total=total)
        with laboratory(lambda: bar.advance(task)) as lab:
            for seed in range(seeds):
                for arm in arms:
                    bar.update(task, description=f"{arm}, seed {seed}")
                    found += lab.trials(arm, trials, seed)
    return found


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=20, help="of a search (20)")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--json", action="store_true", help="print verdicts and figures as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep the trials and the verdicts here")
    parser.add_argument(
        "--from", dest="kept", type=Path, metavar="FILE", help="judge these trials again, train nothing"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.trials < 12:
        raise UserError("give at least --seeds 1 and --trials 12: with fewer trials a search has no time to search")
    if options.kept:
        earlier = load(options.kept)
        trials, count = earlier.trials, earlier.count
    else:
        trials, count = searched(options.arms, options.seeds, options.trials), options.trials
    rows = [row for row in read_table() if row.draw != "repeat"]
    kept = Kept(count, trials, judge(trials), replay(rows, BUDGETS.error))
    if options.out:
        save(kept, options.out)
    if options.plot:
        from benchmarks.claims.plotting import plot

        plot(trials, options.plot)
    if options.json:
        print(json.dumps(kept.to_json(), indent=1))
        return
    for claim in kept.claims:
        print(f"{claim.verdict.upper():12} {claim.claim}\n{'':12} {claim.words}")
    print(f"the same counts over {len(rows)} candidates of benchmarks/digits_table.csv (median, quartiles over draws)")
    for name, (low, middle, high) in kept.replay.items():
        print(f"{'':12} {name:26} {middle:6.3f}  ({low:.3f} .. {high:.3f})")


if __name__ == "__main__":
    run_cli(main)
