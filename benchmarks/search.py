"""Hypervolume against trials: our optimiser and its peers on the same problems.

    python -m benchmarks.search [--seeds 10] [--trials 80] [--json] [--plot curves.png]

Problems: `table` is benchmarks/digits_table.csv, candidates that were really trained and measured on the emulated chip;
`shallow` and `deep` are formulas over the same conditional space, sizes from shapes and errors from a made-up structure
with noise. Minimised are the logarithms of error, flash_model and ram_model; the hypervolume is taken against a fixed
reference (the error that a fifth of the known candidates stay below; the flash and RAM that a tenth of those exceed)
and divided by that of all candidates known. The reference's error is told to all, as the user's least accuracy: to
ours as a budget, to Optuna's samplers as a constraint, to the others as a penalty.

Everyone proposes points of the same space. On the table a point stands for the nearest row that this search has not had
(distance over the parameters that exist in either); ours, which scores a pool of candidates, has the unseen rows as its
pool. Peers: random search, Keras Tuner's BayesianOptimization on a weighted sum of the normalised logarithms, Optuna's
NSGA-II and multi-objective TPE, and ageing evolution with random scalarisation (as uNAS has it).

`trials_ratio_median`: over problems and seeds, the trials that ours takes to the best peer's final hypervolume (the
median over seeds of the peer whose median is highest), over the trials of a search; 2 where it never gets there.

`--methods ours-untold` is ours without the reference's error: what a user gets who does not say which error is of use.

Table, formulas and the seeds from 0 on are what the search was developed with: which features its surrogates have and
how many draws its expected gain is the mean of were chosen by their figures. `--first-seed 100` takes seeds that nobody
has looked at, of the same problems. The table is small (420 candidates), and nearly all of its hypervolume comes from a
few relatives: the best searches end within two per cent of everything there is, and how soon hangs on when the first of
the relatives is met.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.cells import ROOT, Cells, fingerprint
from benchmarks.digits_table import TABLE
from benchmarks.optimisers import curve
from benchmarks.problems import Problem, problems
from tfsparse.errors import UserError, run_cli
from tfsparse.proposals import start_trials

NEVER = 2.0

# The modules of `optimisers` with each method, and its function there. They are imported where they run: Keras Tuner
# brings TensorFlow along.
METHODS = {
    "ours": ("ours", "ours"),
    "random": ("random_search", "random_search"),
    "keras-tuner": ("keras_tuner_bayesian", "keras_tuner_bayesian"),
    "nsga2": ("optuna_samplers", "nsga2"),
    "motpe": ("optuna_samplers", "motpe"),
    "evolution": ("evolution", "evolution"),
    "ours-untold": ("ours", "untold"),
}
_OURS = ("ours", "ours-untold")
_DEFAULT = [method for method in METHODS if method != "ours-untold"]

# What decides how a search goes: everyone's, and beyond its own module a method's.
_SHARED = ("candidate", "space", "network", "morphism", "objectives", "pareto", "budgets")
_ENGINE = [ROOT / "tfsparse" / f"{one}.py" for one in ("proposals", "acquisition", "scalarisation", "surrogate")]
_BEYOND = {
    **dict.fromkeys(_OURS, _ENGINE),
    "keras-tuner": [ROOT / "benchmarks" / "optimisers" / "keras_tuner_oracle.py"],
}


def run(problem: Problem, method: str, trials: int, seed: int) -> list[float]:
    """Hypervolume after each trial, over the best known."""
    module, function = METHODS[method]
    search = getattr(import_module(f"benchmarks.optimisers.{module}"), function)
    return curve(problem, search(problem, trials, seed), trials)


def files(method: str) -> list[Path]:
    """What a result of this method hangs on; another method's code is not among it."""
    here = ROOT / "benchmarks"
    shared = [TABLE, here / "problems.py", here / "optimisers" / "__init__.py"]
    shared += [ROOT / "tfsparse" / f"{module}.py" for module in _SHARED]
    return [*shared, here / "optimisers" / f"{METHODS[method][0]}.py", *_BEYOND.get(method, [])]


def _code(method: str, trials: int) -> str:
    return f"{fingerprint(files(method))}, {start_trials(trials)} start"


def _job(name: str, method: str, trials: int, seed: int) -> tuple[str, str, int, list[float]]:
    if name not in _made:
        (_made[name],) = problems([name])
    return name, method, seed, run(_made[name], method, trials, seed)


_made: dict[str, Problem] = {}


@dataclass(frozen=True)
class Result:
    """Curves [seeds][trials] by problem and method."""

    curves: dict[str, dict[str, list[list[float]]]]
    trials: int

    def best_peer(self, problem: str) -> tuple[str, float]:
        """The peer with the highest median of final hypervolumes, and that."""
        finals = {
            method: float(np.median([curve[-1] for curve in curves]))
            for method, curves in self.curves[problem].items()
            if method not in _OURS
        }
        best = max(finals, key=finals.get)
        return best, finals[best]

    def ratios(self, problem: str) -> list[float]:
        """For each seed, the share of its trials that ours takes to the best peer's final hypervolume."""
        _, goal = self.best_peer(problem)
        reached = [np.flatnonzero(np.array(curve) >= goal) for curve in self.curves[problem]["ours"]]
        return [float((at[0] + 1) / self.trials) if len(at) else NEVER for at in reached]

    def summary(self) -> dict[str, object]:
        """What --json prints."""
        ratios = {problem: self.ratios(problem) for problem in self.curves}
        return {
            "trials_ratio_median": float(np.median([ratio for some in ratios.values() for ratio in some])),
            "trials_ratio": {problem: float(np.median(some)) for problem, some in ratios.items()},
            "best_peer": {problem: self.best_peer(problem)[0] for problem in self.curves},
            "trials": self.trials,
            "curves": {
                problem: {method: np.round(np.median(curves, axis=0), 4).tolist() for method, curves in methods.items()}
                for problem, methods in self.curves.items()
            },
        }


def plot(result: Result, path: Path) -> None:
    """Median curves with quartiles, a panel for each problem."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(result.curves), figsize=(5 * len(result.curves), 4), squeeze=False)
    for panel, (problem, methods) in zip(panels[0], result.curves.items(), strict=True):
        for method, curves in methods.items():
            low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
            number = np.arange(1, result.trials + 1)
            panel.plot(number, middle, label=method, linewidth=2.5 if method == "ours" else 1.2)
            panel.fill_between(number, low, high, alpha=0.12)
        panel.set(title=problem, xlabel="trials", ylabel="hypervolume / best known", ylim=(0, 1.02))
    panels[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0, metavar="SEED", help="the seeds count up from here")
    parser.add_argument("--trials", type=int, default=80)
    problem_names = ["table", "shallow", "deep"]
    parser.add_argument("--problems", nargs="+", default=problem_names, choices=problem_names)
    parser.add_argument("--methods", nargs="+", default=_DEFAULT, choices=list(METHODS))
    parser.add_argument("--workers", type=int, default=2, help="searches at once")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    if min(options.seeds, options.trials, options.workers) < 1 or options.first_seed < 0:
        raise UserError("give at least 1 of --seeds, --trials and --workers, and a --first-seed of 0 or more")
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    cells = Cells("search")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    code = {method: _code(method, options.trials) for method in options.methods}
    curves: dict[str, dict[str, list]] = {
        p: {m: [cells.get(code[m], p, m, options.trials, s) for s in seeds] for m in options.methods}
        for p in options.problems
    }
    columns = [*Progress.get_default_columns()[:-1], TimeRemainingColumn()]
    with ProcessPoolExecutor(options.workers) as pool, Progress(*columns, console=Console(stderr=True)) as bar:
        jobs = [
            pool.submit(_job, problem, method, options.trials, seed)
            # A few seeds of all first; Keras Tuner takes longest.
            for late in (False, True)
            for i, seed in enumerate(seeds)
            for problem in options.problems
            for method in options.methods
            if late == (method == "keras-tuner")
            if curves[problem][method][i] is None
        ]
        for job in bar.track(as_completed(jobs), total=len(jobs), description="searches"):
            problem, method, seed, found = job.result()
            curves[problem][method][seed - options.first_seed] = found
            cells.put(found, code[method], problem, method, options.trials, seed)
    result = Result(curves, options.trials)
    if options.plot:
        plot(result, options.plot)
    if options.json:
        print(json.dumps(result.summary()))
        return
    print(f"{'problem':10} {'method':12} final hypervolume (median, quartiles)")
    for problem, methods in curves.items():
        for method, some in methods.items():
            low, middle, high = np.quantile([curve[-1] for curve in some], [0.25, 0.5, 0.75])
            print(f"{problem:10} {method:12} {middle:.3f}  ({low:.3f} .. {high:.3f})")
    if "ours" in options.methods and set(options.methods) - set(_OURS):
        found = result.summary()
        for problem, ratio in found["trials_ratio"].items():
            peer = found["best_peer"][problem]
            print(f"{problem:10} ours takes {ratio:.2f} of the trials to {peer}'s final hypervolume")
        print(f"trials_ratio_median {found['trials_ratio_median']:.3f}")


if __name__ == "__main__":
    run_cli(main)
