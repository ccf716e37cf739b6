"""A run as one page: report.html, self-contained, made from the run folder alone.

    python -m tfsparse.report RUN

Neither TensorFlow nor the network is needed, neither to make the page nor to read it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfsparse import charts
from tfsparse.charts import Point
from tfsparse.compiler import LayerReport, compile_model
from tfsparse.errors import UserError, run_cli
from tfsparse.job import FIRST_PHASE
from tfsparse.network import Infeasible, network_of
from tfsparse.objectives import ERROR_FLOOR
from tfsparse.pareto import hypervolume
from tfsparse.picture import lay_out
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, STOPPED, Record, RunFolder, Settings, Spread

# Each picture takes some kilobytes; a page of hundreds would no longer open at once.
MAX_PICTURES = 30
MAX_REASONS = 100

_UNFINISHED = (FAILED, STOPPED, INFEASIBLE)


@dataclass(frozen=True)
class Column:
    """One figure of the survivors' table. `kind` is how the figure came about, `unit` is empty or "B"."""

    word: str
    label: str
    kind: str
    unit: str = ""


# METHOD.md: every figure that is published names its kind.
COLUMNS = (
    Column("flash_model", "flash, model", "measured", "B"),
    Column("ram_model", "RAM, model", "measured", "B"),
    Column("instructions", "of one inference", "measured"),
    Column("flash_total", "flash, all firmware", "measured", "B"),
    Column("ram_total", "RAM, all firmware", "measured", "B"),
    Column("payload", "constant tables", "payload", "B"),
    Column("nnz", "non-zero weights", "counted"),
    Column("model_size_counted", "model size", "counted", "B"),
    Column("working_memory_1", "inputs + weights", "counted", "B"),
    Column("working_memory_2", "inputs + outputs", "counted", "B"),
    Column("macs", "multiply-accumulates", "counted"),
)
KINDS = {
    "measured": "from the firmware's ELF file and from the target itself",
    "payload": "bytes of the model's constant tables in the generated C",
    "counted": "the paper's formulas on the int8 graph, one byte a weight: no indices, no code",
}
_DASH, _NARROW_SPACE = "\u2013", "\u202f"
PHASES = ("propose", FIRST_PHASE, "train", "convert", "compile", "measure")


def write_report(run: Path) -> Path:
    """Write RUN/report.html from the other files in RUN and return its path.

    Raises UserError where RUN is no run folder or cannot be written.
    """
    folder = RunFolder.open(Path(run), mend=False)
    survivors = folder.survivors
    compiled = {record.trial: _compiled(folder.path, record) for record in survivors[:MAX_PICTURES]}
    spreads = {record.trial: folder.spread(record) for record in survivors}
    page = render(folder.settings, folder.records, survivors, compiled, spreads)
    path = folder.path / "report.html"
    beside = path.with_name(".report.html.new")
    try:
        beside.write_text(page, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): free some space or mend the rights") from error
    return path


def render(
    settings: Settings,
    records: Sequence[Record],
    survivors: Sequence[Record],
    compiled: Mapping[int, Sequence[LayerReport]],
    spreads: Mapping[int, Spread | None] | None = None,
) -> str:
    """The page as HTML text. `compiled` holds survivors' layers as the compiler sees them, `spreads` how far seeds lie
    apart, by trial."""
    spreads = spreads or {}
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "duration": duration}
    completed = [record for record in records if record.status == COMPLETED]
    within = [record for record in survivors if record.objectives.within(settings.budgets)]
    stages = list(dict.fromkeys(record.stage for record in completed))
    return environment.get_template("report.html").render(
        settings=settings,
        counts=Counter(record.status for record in records),
        spreads={trial: str(spread) for trial, spread in spreads.items() if spread},
        most_seeds=max((spread.seeds for spread in spreads.values() if spread), default=1),
        records=records,
        survivors=survivors,
        within={record.trial for record in within},
        limited=_limited(settings),
        best=survivors[0] if survivors else None,
        columns=COLUMNS,
        groups=[(kind, what, sum(column.kind == kind for column in COLUMNS)) for kind, what in KINDS.items()],
        charts=_charts(settings, completed, {record.trial for record in survivors}, stages),
        stages=stages,
        pictures={record.trial: _picture(settings, record) for record in survivors[:MAX_PICTURES]},
        compiled=compiled,
        knobs={record.trial: _knobs(record) for record in survivors},
        turned_away=[(status, [one for one in records if one.status == status]) for status in _UNFINISHED],
        max_reasons=MAX_REASONS,
        phases=_phases(records),
    )


def number(value: Any) -> str:
    """Thousands apart by a narrow space, or a dash where there is no figure."""
    return _DASH if value is None else f"{value:,}".replace(",", _NARROW_SPACE)


def percent(fraction: float | None) -> str:
    return _DASH if fraction is None else f"{100 * fraction:.2f}{_NARROW_SPACE}%"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _charts(
    settings: Settings, completed: Sequence[Record], survivors: set[int], stages: Sequence[str]
) -> list[tuple[str, str]]:
    """(title, SVG) of each chart that the data give."""
    if not completed:
        return []

    def points(word: str) -> list[Point]:
        return [
            Point(
                record.trial if word == "trial" else max(record.figures[word], 1),
                max(1 - record.val_accuracy, ERROR_FLOOR),
                stages.index(record.stage),
                _tooltip(record),
                record.trial in survivors,
                record.objectives.within(settings.budgets),
            )
            for record in completed
        ]

    budgets = settings.budgets
    drawn = [
        ("Error against flash", charts.front_chart(points("flash_model"), budgets.flash, name="flash",
                                                   x_label="flash_model (measured)")),
        ("Error against RAM", charts.front_chart(points("ram_model"), budgets.ram, name="ram",
                                                 x_label="ram_model (measured)")),
    ]  # fmt: skip
    if len(completed) >= 2:
        title = "Best error so far" + (" inside the budgets" if _limited(settings) else "")
        drawn.append((title, charts.best_chart(points("trial"), _best_so_far(settings, completed), name="best",
                                               label=title)))  # fmt: skip
        drawn.append(("Hypervolume", charts.hypervolume_chart(*_hypervolumes(completed), name="volume")))
    return drawn


def _limited(settings: Settings) -> bool:
    return any(settings.budgets.to_json().values())


def _tooltip(record: Record) -> str:
    figures = record.figures
    return (
        f"trial {record.trial} ({record.stage}): {percent(record.val_accuracy)} on validation, "
        f"flash_model {number(figures['flash_model'])} B, ram_model {number(figures['ram_model'])} B, "
        f"payload {number(figures.get('payload'))} B"
    )


def _best_so_far(settings: Settings, completed: Sequence[Record]) -> list[tuple[float, float]]:
    """(trial, error) wherever a trial inside the budgets is better than all before it."""
    steps: list[tuple[float, float]] = []
    for record in completed:
        error = max(record.objectives.error, ERROR_FLOOR)
        if record.objectives.within(settings.budgets) and (not steps or error < steps[-1][1]):
            steps.append((record.trial, error))
    return steps


def _hypervolumes(completed: Sequence[Record]) -> tuple[list[int], list[float]]:
    """The share of the box between the best and worst logarithms seen that the first n trials dominate."""
    points = np.array([record.objectives.log for record in completed])
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    unit = (points - low) / span
    # A little beyond the worst, so that a front's extreme points count for something.
    reference = np.full(3, 1.05)
    volumes = [hypervolume(unit[: n + 1], reference) / 1.05**3 for n in range(len(unit))]
    return [record.trial for record in completed], volumes


def _picture(settings: Settings, record: Record):
    try:
        return lay_out(network_of(record.candidate, settings.data_shape, settings.classes))
    except (Infeasible, ValueError):
        # A folder of another version may hold candidates that this one no longer builds.
        return None


def _compiled(folder: Path, record: Record) -> Sequence[LayerReport]:
    """What pruning, compaction and the compiler left of a survivor; nothing where its model cannot be read."""
    if record.tflite is None:
        return ()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return compile_model(folder / record.tflite, Path(scratch)).layers
        except UserError:
            return ()


def _knobs(record: Record) -> list[tuple[str, str]]:
    """The candidate's training and pruning knobs as (name, value)."""
    knobs = record.candidate.to_json()["training"]
    if knobs["pruning"] == "none":
        knobs = {name: value for name, value in knobs.items() if not name.startswith(("kl_", "threshold_"))}
    return [
        (name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else str(value))
        for name, value in knobs.items()
    ]


def _phases(records: Sequence[Record]) -> list[tuple[str, float, float]]:
    """(phase, seconds over all trials, share of the whole), the known phases first."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.seconds)
    names = [*(name for name in PHASES if name in total), *sorted(total.keys() - set(PHASES))]
    whole = sum(total.values()) or 1.0
    return [(name, total[name], total[name] / whole) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tfsparse.report", description="Make RUN/report.html anew.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder of python -m tfsparse.search")
    print(write_report(parser.parse_args().run))
    return 0


if __name__ == "__main__":
    run_cli(main)
