"""Optuna's samplers of several objectives."""

from __future__ import annotations

import optuna

from benchmarks.optimisers import Method
from benchmarks.problems import SPACE, Problem
from tfsparse.proposals import start_trials


def _optuna(problem: Problem, sampler) -> Method:
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
    sampler = optuna.samplers.NSGAIISampler(population_size=20, seed=seed, constraints_func=_constraints)
    return _optuna(problem, sampler)


def motpe(problem: Problem, trials: int, seed: int) -> Method:
    """Optuna's multi-objective TPE, in groups of parameters that exist together."""
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
