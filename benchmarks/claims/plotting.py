"""The claims' picture: what each arm reached, and counted figures against measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.claims.judging import PARTS, seeds_of, volumes
from benchmarks.claims.searches import BUDGETS, Trial
from tfsparse.candidate import PRUNINGS

_COLOURS = {
    "inside": "tab:blue",
    "after": "tab:orange",
    "fresh": "tab:grey",
    "dense": "tab:brown",
    "unstructured": "tab:green",
    "structured": "tab:red",
}
_TITLES = {"flash": "flash_model, B", "ram": "ram_model, B"}
_COUNTS = {"nnz": "non-zero weights", "edges": "edges", "memory": "layer-wise working memory, B"}


def plot(trials: Sequence[Trial], path: Path) -> None:
    """Hypervolumes by arm and seed, the fronts behind them, and three counts beside what they stand for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(13.5, 7.6))
    _bars(panels[0][0], trials)
    _fronts(panels[0][1], trials, "flash", ("inside", "after", "fresh"))
    _fronts(panels[0][2], trials, "ram", ("inside", "after", "fresh"))
    for panel, (by, on) in zip(panels[1], (("nnz", "flash"), ("edges", "flash"), ("memory", "ram")), strict=True):
        _against(panel, trials, by, on)
    figure.tight_layout()
    figure.savefig(path, dpi=65)
    plt.close(figure)


def _bars(panel, trials: Sequence[Trial]) -> None:
    found = volumes(trials)
    names = list(found.validation)
    places = np.arange(len(names))
    panel.bar(
        places,
        [np.mean(found.validation[name]) for name in names],
        color=[_COLOURS[name] for name in names],
        alpha=0.45,
    )
    for values, marker, label in ((found.validation, "o", "validation"), (found.test, "x", "test part")):
        for place, name in enumerate(names):
            shift = 0.12 if marker == "x" else -0.12
            panel.plot(
                np.full(len(values[name]), place + shift),
                values[name],
                marker,
                color="black",
                markersize=4.5,
                label=label if place == 0 else None,
            )
    panel.set_xticks(places, names, rotation=20)
    panel.set_title("hypervolume, share of all searches', a mark a seed", fontsize=10)
    panel.legend(fontsize=8)


def _fronts(panel, trials: Sequence[Trial], size: str, parts: Sequence[str]) -> None:
    """The smallest size within each error, a line a seed."""
    for name in parts:
        for seed in seeds_of(trials):
            some = [one for one in trials if one.completed and one.seed == seed and PARTS[name](one)]
            some = sorted((one for one in some if one.error <= 3 * BUDGETS.error), key=lambda one: one.error)
            if not some:
                continue
            best = np.minimum.accumulate([getattr(one, size) for one in some])
            errors = [100 * one.error for one in some]
            label = name if seed == seeds_of(trials)[0] else None
            panel.step(
                [*errors, 300 * BUDGETS.error], [*best, best[-1]], where="post", color=_COLOURS[name], label=label
            )
    panel.axvline(100 * BUDGETS.error, color="black", linestyle=":", linewidth=1)
    panel.set(xlabel="validation error, % (of use: left of the line)", ylabel=_TITLES[size], yscale="log")
    panel.set_title("the smallest within an error, a line a seed", fontsize=10)
    panel.legend(fontsize=8)


def _against(panel, trials: Sequence[Trial], by: str, on: str) -> None:
    done = [one for one in trials if one.completed]
    for kind in PRUNINGS:
        some = [one for one in done if one.pruning == kind]
        panel.scatter(
            [getattr(one, by) for one in some], [getattr(one, on) for one in some], s=9, alpha=0.6, label=kind
        )
    rank = spearmanr([getattr(one, by) for one in done], [getattr(one, on) for one in done])[0]
    panel.set(xlabel=_COUNTS[by], ylabel=_TITLES[on], xscale="log", yscale="log")
    panel.set_title(f"{len(done)} networks, rank correlation {rank:.2f}", fontsize=10)
    panel.legend(fontsize=8, title="pruning", title_fontsize=8)
