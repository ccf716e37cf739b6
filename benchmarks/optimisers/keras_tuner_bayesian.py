"""Keras Tuner's BayesianOptimization of one weighted sum."""

from __future__ import annotations

import warnings

import keras_tuner
import numpy as np
from keras_tuner.engine import trial as kt_trial

from benchmarks.optimisers import Method
from benchmarks.optimisers.keras_tuner_oracle import ExactGradients
from benchmarks.problems import SPACE, Problem
from tfsparse.candidate import Candidate
from tfsparse.proposals import start_trials


def keras_tuner_bayesian(problem: Problem, trials: int, seed: int) -> Method:
    """Proposals of its oracle. A candidate that the space refuses has the worst score seen so far; of a candidate that
    it proposes again it is told the same score again; neither counts as a trial."""
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
    scores: dict[Candidate, float] = {}
    while True:
        trial = oracle.create_trial("tuner")
        candidate = SPACE.candidate(trial.hyperparameters.values)
        answer = yield candidate
        score = scores.get(candidate)
        if answer is not None:
            score = scores[candidate] = problem.penalised(answer[1], np.ones(3))
        if score is None:
            trial.status = kt_trial.TrialStatus.INVALID
        else:
            oracle.update_trial(trial.trial_id, {"score": score})
            trial.status = kt_trial.TrialStatus.COMPLETED
        oracle.end_trial(trial)
