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
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.cells import ROOT, Cells, fingerprint
from benchmarks.digits_table import TABLE, read_table, table_space
from tfsparse.budgets import Budgets
from tfsparse.candidate import Candidate
from tfsparse.errors import run_cli
from tfsparse.morphism import FAMILIES, neighbour
from tfsparse.objectives import Objectives
from tfsparse.pareto import hypervolume, non_dominated
from tfsparse.proposals import Observation, Proposal, Proposer, start_trials

SPACE = table_space((8, 8, 1), 10)
NEVER = 2.0


class Problem:
    """A problem over `SPACE`. `known` are many of its objectives, from which the reference and the best come."""

    name: str
    known: list[Objectives]

    def fresh(self, candidate: Candidate, had: set[Candidate]) -> Candidate | None:
        """The candidate that is judged where this one is proposed; None where that is not allowed."""
        return None if candidate in had or SPACE.refusal(candidate) is not None else candidate

    def judge(self, candidate: Candidate) -> Objectives:
        raise NotImplementedError

    @cached_property
    def reference(self) -> np.ndarray:
        """Log objectives beyond which nothing counts [3]."""
        error = float(np.quantile([one.error for one in self.known], 0.2))
        useful = np.array([one.log for one in self.known if one.error <= error])
        return np.array([np.log(error), *np.quantile(useful[:, 1:], 0.9, axis=0)])

    def violation(self, objectives: Objectives) -> float:
        """How far the error is above what is of use, in the logarithm; 0 where it is not."""
        return max(0.0, float(objectives.log[0] - self.reference[0]))

    @property
    def budgets(self) -> Budgets:
        """What ours is told."""
        return Budgets(error=float(np.exp(self.reference[0])))

    @cached_property
    def span(self) -> np.ndarray:
        logs = np.array([one.log for one in self.known])
        inside = logs[(logs <= self.reference).all(axis=1)]
        return self.reference - inside.min(axis=0)

    @cached_property
    def best(self) -> float:
        return hypervolume(self.normalised(self.known), np.ones(3))

    def normalised(self, objectives: list[Objectives]) -> np.ndarray:
        """Objectives [N, 3], 1 at the reference and 0 at the best of each."""
        logs = np.array([one.log for one in objectives])
        return 1 - (self.reference - logs) / self.span


class Table(Problem):
    """The really trained candidates; the first of a candidate's trainings counts."""

    name = "table"

    def __init__(self) -> None:
        self.rows: dict[Candidate, Objectives] = {}
        for row in read_table():
            self.rows.setdefault(row.candidate, row.objectives)
        self.candidates = list(self.rows)
        self.known = list(self.rows.values())
        self._encoded = SPACE.encode(self.candidates)

    def fresh(self, candidate: Candidate, had: set[Candidate]) -> Candidate | None:
        if candidate in self.rows and candidate not in had:
            return candidate
        if SPACE.refusal(candidate) is not None:
            return None
        point = SPACE.encode([candidate])
        either = self._encoded.active | point.active
        # A parameter that exists in one of the two only counts as a whole difference.
        apart = np.where(self._encoded.active == point.active, np.abs(self._encoded.unit - point.unit), 1.0)
        categorical = np.array([parameter.kind in ("choice", "boolean") for parameter in SPACE.parameters])
        apart = np.where(categorical, (apart > 0).astype(float), apart)
        distance = np.where(either, apart**2, 0.0).sum(axis=1)
        for i in np.argsort(distance, kind="stable"):
            if self.candidates[i] not in had:
                return self.candidates[i]
        return None

    def judge(self, candidate: Candidate) -> Objectives:
        return self.rows[candidate]


class Formula(Problem):
    """Sizes from shapes, an error from capacity, structure and training. `depth` tells what structure is worth."""

    def __init__(self, name: str, depth: float):
        self.name, self.depth = name, depth

    @cached_property
    def known(self) -> list[Objectives]:
        """Many at random, and the best that a long evolution finds."""
        rng = np.random.default_rng(99)
        found = {}
        while len(found) < 1500:
            candidate = SPACE.sample(rng)
            if SPACE.refusal(candidate) is None:
                found[candidate] = self.judge(candidate)
        for _ in range(12):
            logs = np.array([one.log for one in found.values()])
            members = [one for one, kept in zip(found, non_dominated(logs), strict=True) if kept]
            for _ in range(250):
                morph = neighbour(SPACE, members[int(rng.integers(len(members)))], rng, list(FAMILIES))
                if morph is not None and SPACE.refusal(morph.candidate) is None:
                    found[morph.candidate] = self.judge(morph.candidate)
        return list(found.values())

    def judge(self, candidate: Candidate) -> Objectives:
        network, training = SPACE.network(candidate), candidate.training
        pruned = training.pruning != "none"
        kept = 0.15 + 0.5 * np.exp(-2 * training.kl_weight) if pruned else 1.0
        weights = kept * network.weight_count
        capacity = np.log(20 + weights) + 0.4 * np.log(network.macs + 100)
        layers = sum(len(block.layers) for block in candidate.blocks)
        error = 4.0 * np.exp(-capacity / 2.4)
        error *= 1 + self.depth * 0.15 * (layers - 3) ** 2 / (1 + 0.3 * sum(b.residual for b in candidate.blocks))
        error *= 1 + 0.5 * (candidate.head == "flatten") * (self.depth > 0.5) + 0.3 * (candidate.input_factor > 1)
        error *= np.exp(0.35 * abs(np.log(training.learning_rate / 0.015)))
        error *= 1 + 1.5 * training.dropout * (weights < 2000)
        rng = np.random.default_rng(zlib.crc32(candidate.id.encode()))
        error = min(0.9, 0.004 + error * np.exp(0.12 * rng.standard_normal()))
        kinds = {layer.convolution for block in candidate.blocks for layer in block.layers}
        flash = 1300 + 450 * len(kinds) + 1.3 * weights
        return Objectives(float(error), float(flash), float(220 + network.memory_bound))


def problems(names: list[str]) -> list[Problem]:
    """The problems of these names."""
    made = {"table": Table, "shallow": lambda: Formula("shallow", 0.2), "deep": lambda: Formula("deep", 1.0)}
    return [made[name]() for name in names]


# A method is a generator: it yields a candidate and is sent (what was judged in its place, its objectives), or None
# where the proposal was not allowed.
Answer = tuple[Candidate, Objectives] | None
Method = Iterator[Candidate]


def ours(problem: Problem, trials: int, seed: int) -> Method:
    """The search's own proposer."""
    proposer = Proposer(SPACE, problem.budgets, seed) if not isinstance(problem, Table) else _Rows(problem, seed)
    observed: list[Observation] = []
    known: set[Candidate] = set()
    while True:
        number = len(observed)
        proposal = proposer.propose(number, number / trials, start_trials(trials), observed, known)
        _, objectives = yield proposal.candidate
        known.add(proposal.candidate)
        observed.append(Observation(number, proposal.candidate, 1.0, objectives))


class _Rows(Proposer):
    """The proposer with the table's unseen rows for a pool."""

    def __init__(self, table: Table, seed: int):
        super().__init__(SPACE, table.budgets, seed)
        self._candidates = table.candidates

    def _pool(self, stage, succeeded, known, rng):
        return [Proposal(one, stage.name, 1.0) for one in self._candidates if one not in known]

    def _morphs(self, proposal, rng):
        return []

    def _quasi_random(self, known, rng):
        left = [one for one in self._candidates if one not in known]
        return left[int(rng.integers(len(left)))]


def random(problem: Problem, trials: int, seed: int) -> Method:
    """Random search."""
    rng = np.random.default_rng(seed)
    while True:
        yield SPACE.sample(rng)


def evolution(problem: Problem, trials: int, seed: int, population: int = 20, tournament: int = 6) -> Method:
    """Ageing evolution (Real et al. 2019), each tournament under random weights (Liberis et al. 2021, uNAS)."""
    rng = np.random.default_rng(seed)
    living: list[tuple[Candidate, Objectives]] = []
    while True:
        if len(living) < population:
            child = SPACE.sample(rng)
        else:
            weights = rng.random(3)
            rivals = rng.choice(len(living), tournament, replace=False)
            fittest = min((living[rival] for rival in rivals), key=lambda one: _penalised(problem, one[1], weights))
            best = fittest[0]
            morph = neighbour(SPACE, best, rng, list(FAMILIES))
            child = morph.candidate if morph is not None else SPACE.sample(rng)
        answer = yield child
        if answer is not None:
            living = [*living, answer][-population:]


def _penalised(problem: Problem, objectives: Objectives, weights: np.ndarray) -> float:
    """A weighted sum to minimise, in which no size makes up for an error that is of no use."""
    return float(weights @ problem.normalised([objectives])[0] + weights.sum() * problem.violation(objectives))


def keras_tuner_bayesian(problem: Problem, trials: int, seed: int) -> Method:
    """Keras Tuner's BayesianOptimization of one weighted sum."""
    import warnings

    import keras_tuner
    from keras_tuner.engine import trial as kt_trial

    from benchmarks.keras_tuner_oracle import ExactGradients

    hyperparameters = keras_tuner.HyperParameters()
    SPACE.declare(hyperparameters)
    oracle = ExactGradients(
        objective=keras_tuner.Objective("score", "min"),
        max_trials=100_000,
        num_initial_points=start_trials(trials),
        hyperparameters=hyperparameters,
        allow_new_entries=False,
        tune_new_entries=False,
        seed=seed + 1,
        max_consecutive_failed_trials=None,
    )
    oracle.verbose = 0
    # Its one length scale often ends at its bound.
    warnings.filterwarnings("ignore", module="sklearn")
    oracle.save = oracle._save_trial = lambda *arguments: None
    while True:
        trial = oracle.create_trial("tuner")
        answer = yield SPACE.candidate(trial.hyperparameters.values)
        if answer is None:
            trial.status = kt_trial.TrialStatus.INVALID
        else:
            oracle.update_trial(trial.trial_id, {"score": _penalised(problem, answer[1], np.ones(3))})
            trial.status = kt_trial.TrialStatus.COMPLETED
        oracle.end_trial(trial)


def _optuna(problem: Problem, sampler) -> Method:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
    while True:
        trial = study.ask()
        answer = yield SPACE.candidate(_suggested(trial))
        if answer is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            trial.set_user_attr("violation", problem.violation(answer[1]))
            study.tell(trial, [float(value) for value in answer[1].log])


def _suggested(trial) -> dict[str, object]:
    """Values of the parameters that exist, asked one after the other; the others' first."""
    values: dict[str, object] = {}
    for one in SPACE.parameters:
        if all(values.get(parent) in wanted for parent, wanted in one.conditions):
            if one.kind == "int":
                values[one.name] = trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
            elif one.kind == "float":
                values[one.name] = trial.suggest_float(one.name, one.low, one.high, log=one.log)
            else:
                choices = [False, True] if one.kind == "boolean" else list(one.choices)
                values[one.name] = trial.suggest_categorical(one.name, choices)
    return values


def _constraints(trial) -> tuple[float]:
    return (trial.user_attrs["violation"],)


def nsga2(problem: Problem, trials: int, seed: int) -> Method:
    """Optuna's NSGA-II; its population is small enough for several generations."""
    import optuna

    sampler = optuna.samplers.NSGAIISampler(population_size=20, seed=seed, constraints_func=_constraints)
    return _optuna(problem, sampler)


def motpe(problem: Problem, trials: int, seed: int) -> Method:
    """Optuna's multi-objective TPE, in groups of parameters that exist together."""
    import optuna

    return _optuna(
        problem,
        optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            n_startup_trials=start_trials(trials),
            seed=seed,
            warn_independent_sampling=False,
            constraints_func=_constraints,
        ),
    )


METHODS: dict[str, Callable[..., Method]] = {
    "ours": ours,
    "random": random,
    "keras-tuner": keras_tuner_bayesian,
    "nsga2": nsga2,
    "motpe": motpe,
    "evolution": evolution,
}


def run(problem: Problem, method: str, trials: int, seed: int) -> list[float]:
    """Hypervolume after each trial, over the best known."""
    proposing = METHODS[method](problem, trials, seed)
    candidate = next(proposing)
    had: set[Candidate] = set()
    found: list[Objectives] = []
    curve: list[float] = []
    while len(curve) < trials:
        judged = problem.fresh(candidate, had)
        if judged is None:
            candidate = proposing.send(None)
            continue
        had.add(judged)
        found.append(problem.judge(judged))
        curve.append(hypervolume(problem.normalised(found), np.ones(3)) / problem.best)
        if len(curve) < trials:
            candidate = proposing.send((judged, found[-1]))
    return curve


# What decides how a search goes: everyone's, and beyond that ours.
_SHARED = ("candidate", "space", "network", "morphism", "objectives", "pareto", "budgets")
_OURS = ("proposals", "acquisition", "scalarisation", "surrogate")


def _code(method: str, trials: int) -> str:
    modules = _SHARED + _OURS if method == "ours" else _SHARED
    here = [Path(__file__), Path(__file__).with_name("keras_tuner_oracle.py"), TABLE]
    code = fingerprint([*here, *(ROOT / "tfsparse" / f"{module}.py" for module in modules)])
    return f"{code}, {start_trials(trials)} start"


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
            if method != "ours"
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
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--problems", nargs="+", default=["table", "shallow", "deep"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    cells = Cells("search")
    code = {method: _code(method, options.trials) for method in options.methods}
    curves: dict[str, dict[str, list]] = {
        p: {m: [cells.get(code[m], p, m, options.trials, s) for s in range(options.seeds)] for m in options.methods}
        for p in options.problems
    }
    columns = [*Progress.get_default_columns()[:-1], TimeRemainingColumn()]
    with ProcessPoolExecutor(2) as pool, Progress(*columns, console=Console(stderr=True)) as bar:
        jobs = [
            pool.submit(_job, problem, method, options.trials, seed)
            # A few seeds of all first; Keras Tuner takes longest.
            for late in (False, True)
            for seed in range(options.seeds)
            for problem in options.problems
            for method in options.methods
            if late == (method == "keras-tuner")
            if curves[problem][method][seed] is None
        ]
        for job in bar.track(as_completed(jobs), total=len(jobs), description="searches"):
            problem, method, seed, curve = job.result()
            curves[problem][method][seed] = curve
            cells.put(curve, code[method], problem, method, options.trials, seed)
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
    if {"ours"} < set(options.methods):
        found = result.summary()
        for problem, ratio in found["trials_ratio"].items():
            peer = found["best_peer"][problem]
            print(f"{problem:10} ours takes {ratio:.2f} of the trials to {peer}'s final hypervolume")
        print(f"trials_ratio_median {found['trials_ratio_median']:.3f}")


if __name__ == "__main__":
    run_cli(main)
