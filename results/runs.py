"""python -m results.runs RUN [RUN ...]: keep what a search's run folder tells of itself, for the page: runs.json.

What was searched with which command, budgets and seed, how many trials of which end, how long it worked and on what.
A run that is there already (the same data, budgets, seed and start) is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from results.records import load_records, save_lines
from results.table import RESULTS
from tfsparse.errors import run_cli

RUNS = RESULTS / "runs.json"


def load_runs(path: Path = RUNS) -> list[dict[str, Any]]:
    """All summaries; none where there is no file yet."""
    return load_records(path)


def summary(run: Path) -> dict[str, Any]:
    """What the page tells of a run folder. UserError where it is none."""
    from tfsparse.run_folder import RunFolder

    folder = RunFolder.open(run, mend=False)
    settings, records = folder.settings, folder.records
    seconds: Counter[str] = Counter()
    for record in (*records, *folder.repeats):
        seconds.update(record.seconds)
    return {
        "dataset": settings.dataset,
        "rule": settings.rule,
        "command": settings.command,
        "budgets": settings.budgets.to_json(),
        "seed": settings.seed,
        "started": settings.started,
        "machine": settings.machine,
        "target": settings.target,
        "trials": dict(sorted(Counter(record.status for record in records).items())),
        "survivors": len(folder.survivors),
        "hours": round(sum(seconds.values()) / 3600, 2),
        "hours_by_phase": {phase: round(spent / 3600, 2) for phase, spent in sorted(seconds.items())},
        "versions": settings.versions,
    }


def put_run(record: dict[str, Any], path: Path = RUNS) -> None:
    """Add a summary, or replace that of the same run."""
    runs = [other for other in load_runs(path) if _key(other) != _key(record)] + [record]
    runs.sort(key=_key)
    save_lines(map(json.dumps, runs), path)


def _key(run: dict[str, Any]) -> tuple[str, str, str, int, str]:
    return run["dataset"], run["rule"] or "", json.dumps(run["budgets"]), run["seed"], run["started"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m results.runs", description="Keep summaries of searches' run folders in results/runs.json."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders of tfsparse.search")
    parser.add_argument("--out", type=Path, default=RUNS, metavar="FILE", help="(default: results/runs.json)")
    options = parser.parse_args(arguments)
    for record in [summary(run) for run in options.runs]:
        put_run(record, options.out)
        ended = ", ".join(f"{count} {status}" for status, count in record["trials"].items())
        print(f"{record['dataset']} {record['rule'] or ''}: {ended}, {record['hours']:g} hours".replace(" :", ":"))
    return 0


if __name__ == "__main__":
    run_cli(main)
