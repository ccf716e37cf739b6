"""What the paper claims of pruning and of its counted objectives, held against the trained and measured digits table.

    python -m benchmarks.claims [--seeds 20] [--json] [--plot claims.png]

Nothing is trained: every figure is replayed over benchmarks/digits_table.csv (validation errors; flash, RAM and
instructions of the sparse runtime, from the emulated chip), so it is as good as those 8x8 digits and their short
trainings are. A seed draws rows with replacement; figures are medians over seeds, with quartiles.

`kinds`: the share of the table's hypervolume that as many candidates of one kind of pruning reach, on error,
flash_model and ram_model, and on the counted objectives (error, non-zero weights, layer-wise working memory). The
kinds' candidates are not the same otherwise: two thirds of them come from evolution, which prefers what does well.
`counted`: for an error limit that is drawn, the candidate that is smallest by the counted figure against the one that
is smallest on the chip. `loses`: how often it is the larger one there; `excess`: by how much, where it loses.
`predicts`: Spearman's rank correlation of edges (connections of the dense network, one a multiply-accumulate) and of
non-zero weights with what is measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.digits_table import Row, read_table
from tfsparse.candidate import PRUNINGS
from tfsparse.errors import run_cli
from tfsparse.objectives import ERROR_FLOOR
from tfsparse.pareto import hypervolume
from tfsparse.space import DesignSpace

SPACE = DesignSpace((8, 8, 1), 10)
# Error limits for `counted` are drawn among the errors that at least so many rows stay below.
_AT_LEAST = 10
_LIMITS = 50


def columns(rows: list[Row]) -> dict[str, np.ndarray]:
    """The figures of each row [N]: measured, and counted by the shapes and the non-zero weights."""
    networks = [SPACE.network(row.candidate) for row in rows]
    return {
        "error": np.array([max(row.objectives.error, ERROR_FLOOR) for row in rows]),
        "flash": np.array([row.objectives.flash for row in rows]),
        "ram": np.array([row.objectives.ram for row in rows]),
        "instructions": np.array([row.instructions for row in rows], float),
        "nnz": np.array([max(row.nnz, 1) for row in rows], float),
        "memory": np.array([network.memory_bound for network in networks], float),
        "edges": np.array([network.macs for network in networks], float),
        "kind": np.array([row.candidate.training.pruning for row in rows]),
    }


def kinds(table: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """The share of the whole table's hypervolume that equally many candidates of each kind reach."""
    names = [kind for kind in PRUNINGS if kind in table["kind"]]
    count = min(int((table["kind"] == kind).sum()) for kind in names)
    found = {}
    for label, wanted in (("measured", ("error", "flash", "ram")), ("counted", ("error", "nnz", "memory"))):
        logs = np.log(np.stack([table[name] for name in wanted], axis=1))
        reference = np.quantile(logs, 0.8, axis=0)
        whole = hypervolume(logs, reference)
        for kind in names:
            drawn = rng.choice(np.flatnonzero(table["kind"] == kind), count)
            found[f"{label} {kind}"] = hypervolume(logs[drawn], reference) / whole
    return found


def counted(table: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """How often, and by how much, the winner by a counted figure loses where the figure is measured."""
    drawn = rng.integers(len(table["error"]), size=len(table["error"]))
    errors = np.sort(table["error"][drawn])
    limits = rng.choice(errors[_AT_LEAST:], _LIMITS)
    found = {}
    for by, on in (("nnz", "flash"), ("memory", "ram"), ("edges", "instructions")):
        excess = []
        for limit in limits:
            inside = drawn[table["error"][drawn] <= limit]
            measured = table[on][inside]
            # Of several that count the same the best on the chip is taken: the doubt is the counted figure's.
            winners = table[by][inside] == table[by][inside].min()
            excess.append(measured[winners].min() / measured.min() - 1)
        lost = np.array(excess) > 0
        found[f"{by} on {on}: loses"] = float(lost.mean())
        found[f"{by} on {on}: excess"] = float(np.median(np.array(excess)[lost])) if lost.any() else 0.0
    return found


def predicts(table: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, float]:
    """Rank correlations of edges and non-zero weights with measured figures."""
    drawn = rng.integers(len(table["error"]), size=len(table["error"]))
    return {
        f"{by} with {on}": float(spearmanr(table[by][drawn], table[on][drawn])[0])
        for by in ("edges", "nnz")
        for on in ("flash", "instructions", "error")
    }


CLAIMS = {"kinds": kinds, "counted": counted, "predicts": predicts}


def measure(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Each claim's figures: lower quartile, median and upper quartile over seeds."""
    rows = [row for row in read_table() if row.draw != "repeat"]
    table = columns(rows)
    found = {}
    for name, claim in CLAIMS.items():
        drawn = [claim(table, np.random.default_rng([seed, 7])) for seed in range(seeds)]
        found[name] = {
            figure: np.round(np.quantile([one[figure] for one in drawn], [0.25, 0.5, 0.75]), 4).tolist()
            for figure in drawn[0]
        }
    return found


def plot(found: dict[str, dict[str, list[float]]], path: Path) -> None:
    """A panel of bars for each claim."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(5.5 * len(found), 3.6))
    for panel, (name, figures) in zip(panels, found.items(), strict=True):
        low, middle, high = np.array(list(figures.values())).T
        places = np.arange(len(figures))[::-1]
        panel.barh(places, middle, xerr=[middle - low, high - middle], color="tab:blue", alpha=0.7)
        panel.set_yticks(places, list(figures))
        panel.set_title(name)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.seeds)
    if options.plot:
        plot(found, options.plot)
    if options.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(name)
        for figure, (low, middle, high) in figures.items():
            print(f"  {figure:32} {middle:7.3f}  ({low:.3f} .. {high:.3f})")


if __name__ == "__main__":
    run_cli(main)
