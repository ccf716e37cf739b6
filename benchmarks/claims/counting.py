"""Counted figures against measured ones, over any set of candidates that were trained and measured.

A set is a dictionary of columns [N]: `error`, `flash`, `ram`, `instructions` as measured, `nnz` (non-zero weights),
`memory` (the larger of the layer-wise bounds over activations), `edges` (the connections of the network before pruning,
one a multiply-accumulate), and `kind` of pruning. There are two: the trials of the searches, and
benchmarks/digits_table.csv, replayed over draws of its rows with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from benchmarks.claims.searches import Trial
from benchmarks.digits_table import Row, table_space
from tfsparse.objectives import ERROR_FLOOR
from tfsparse.pareto import non_dominated

Columns = dict[str, np.ndarray]

# The paper's counted objectives, each with the figure that it stands for on the chip.
COUNTED = (("nnz", "flash"), ("memory", "ram"))
# What edges and non-zero weights may tell.
TOLD = ("flash", "instructions")
# An error limit counts where at least so many candidates stay below it: of few, anything wins.
_AT_LEAST = 10
_QUARTILES = (0.25, 0.5, 0.75)


def columns_of_rows(rows: Sequence[Row]) -> Columns:
    """Of the digits table; its `memory` is by the shapes before pruning, as it keeps no others."""
    space = table_space((8, 8, 1), 10)
    networks = [space.network(row.candidate) for row in rows]
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


def columns_of_trials(trials: Sequence[Trial]) -> Columns:
    """Of those trials that came to something."""
    done = [trial for trial in trials if trial.completed]
    numbers = ("error", "flash", "ram", "instructions", "nnz", "memory", "edges")
    columns = {name: np.array([getattr(trial, name) for trial in done], float) for name in numbers}
    columns["error"] = np.maximum(columns["error"], ERROR_FLOOR)
    return {**columns, "kind": np.array([trial.pruning for trial in done])}


def losses(columns: Columns, most: float) -> dict[str, float]:
    """How often, and by how much, the winner by a counted figure loses where that is measured.

    Limits on the error are all errors up to `most` that enough candidates stay below; within each the candidate that is
    smallest by the counted figure stands against the one that is smallest on the chip. `loses`: the share of limits
    where it is larger there; `excess`: by what share, in the median of those. `front`: the share of the counted
    objectives' front (error, non-zero weights, memory) that others dominate once it is measured.
    """
    errors = np.sort(columns["error"])
    limits = [limit for limit in errors[_AT_LEAST - 1 :] if limit <= most]
    found = {}
    for by, on in COUNTED:
        excess = []
        for limit in limits:
            inside = columns["error"] <= limit
            counted, measured = columns[by][inside], columns[on][inside]
            # Of several that count the same the best on the chip is taken: the doubt is the counted figure's.
            excess.append(measured[counted == counted.min()].min() / measured.min() - 1)
        lost = np.array(excess) > 0
        found[f"{by} on {on}: loses"] = float(lost.mean()) if len(lost) else float("nan")
        found[f"{by} on {on}: excess"] = float(np.median(np.array(excess)[lost])) if lost.any() else 0.0
    useful = columns["error"] <= most
    counted, measured = (
        np.stack([columns[name][useful] for name in ("error", *names)], axis=1) for names in zip(*COUNTED, strict=True)
    )
    front = non_dominated(counted)
    found["front"] = float(np.mean(~non_dominated(measured)[front])) if front.any() else float("nan")
    return found


def told(columns: Columns) -> dict[str, float]:
    """Spearman's rank correlation of edges and of non-zero weights with what is measured."""
    return {f"{by} with {on}": float(spearmanr(columns[by], columns[on])[0]) for by in ("edges", "nnz") for on in TOLD}


def replay(rows: Sequence[Row], most: float, draws: int = 20) -> dict[str, list[float]]:
    """Lower quartile, median and upper quartile of `losses` and `told` over draws of the table's rows."""
    columns = columns_of_rows(rows)
    found = []
    for draw in range(draws):
        drawn = np.random.default_rng([draw, 7]).integers(len(rows), size=len(rows))
        sample = {name: column[drawn] for name, column in columns.items()}
        found.append({**losses(sample, most), **told(sample)})
    return {name: np.round(np.quantile([one[name] for one in found], _QUARTILES), 4).tolist() for name in found[0]}
