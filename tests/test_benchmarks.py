"""The benchmarks' own arithmetic, and that their table is what they say."""

import json
import os

import keras_tuner
import numpy as np
import pytest
from scipy.optimize import approx_fprime

import support.repository  # noqa: F401
from benchmarks import cells, early_stopping, problems
from benchmarks import search as search_benchmark
from benchmarks.digits_table import TABLE, Row, read_table
from benchmarks.optimisers.keras_tuner_oracle import ExactGradients


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_table()


def test_the_table_holds_enough_candidates_that_the_space_allows(rows):
    assert len({row.candidate for row in rows}) >= 400
    assert all(problems.SPACE.refusal(row.candidate) is None for row in rows[::20])
    assert all(row.objectives.flash > 500 and row.instructions > 0 and len(row.curve) >= 5 for row in rows)
    repeated = [row for row in rows if row.draw == "repeat"]
    firsts = {row.candidate: row for row in reversed(rows) if row.draw != "repeat"}
    assert len(repeated) >= 20 and all(firsts[row.candidate].seed != row.seed for row in repeated)
    assert os.path.getsize(TABLE) < 1_000_000


def test_rows_are_written_as_they_are_read(rows):
    columns = ("draw", "seed", "error", "flash", "ram", "nnz", "instructions", "curve", "seconds", "candidate")
    for row in rows[::50]:
        assert Row.of(dict(zip(columns, map(str, row.cells()), strict=True))) == row


@pytest.mark.parametrize("method", search_benchmark.METHODS)
def test_every_method_searches_the_table(method):
    (problem,) = problems.problems(["table"])
    trials = 8
    curve = search_benchmark.run(problem, method, trials, seed=0)
    assert len(curve) == trials and all(0 <= one <= 1 + 1e-9 for one in curve)
    assert np.all(np.diff(curve) >= -1e-12)
    assert curve == search_benchmark.run(problem, method, trials, seed=0)


def test_the_ratio_is_of_trials_to_the_best_peers_median():
    curves = {
        "p": {
            "ours": [[0.1, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4]],
            "a": [[0, 0, 0, 0.5]] * 2,
            "b": [[0, 0, 0, 0.2]] * 2,
        }
    }
    result = search_benchmark.Result(curves, 4)
    assert result.best_peer("p") == ("a", 0.5)
    assert result.ratios("p") == [0.5, search_benchmark.NEVER]


def test_results_of_runs_are_kept_and_a_torn_line_is_not(tmp_path):
    kept = cells.Cells("some", tmp_path)
    kept.put([0.5, 1.0], "code", "table", 3)
    with (tmp_path / "some.jsonl").open("a") as file:
        file.write('[["code", "table", 4], [0.')
    again = cells.Cells("some", tmp_path)
    assert again.get("code", "table", 3) == [0.5, 1.0] and again.get("code", "table", 4) is None
    again.put([0.7], "code", "table", 4)
    assert cells.Cells("some", tmp_path).get("code", "table", 4) == [0.7]


def test_comments_change_no_fingerprint(tmp_path):
    one, other = tmp_path / "a.py", tmp_path / "b.py"
    one.write_text("x = 1\n")
    other.write_text("# new\nx = 1  # and here\n")
    same = cells.fingerprint([one]) == cells.fingerprint([other])
    other.write_text("x = 2\n")
    assert same and cells.fingerprint([one]) != cells.fingerprint([other])


def test_a_searchs_result_hangs_on_its_own_optimiser_only():
    modules = {method: {one.name for one in search_benchmark.files(method)} for method in search_benchmark.METHODS}
    assert all(one.exists() for method in search_benchmark.METHODS for one in search_benchmark.files(method))
    shared = set.intersection(*modules.values())
    assert {"problems.py", "space.py", "digits_table.csv"} <= shared
    own = {method: files - shared for method, files in modules.items()}
    assert own["random"] == {"random_search.py"} and own["nsga2"] == own["motpe"] == {"optuna_samplers.py"}
    assert own["keras-tuner"] == {"keras_tuner_bayesian.py", "keras_tuner_oracle.py"}
    assert own["ours"] >= {"ours.py", "proposals.py", "surrogate.py"}


def test_keras_tuners_bound_has_its_value_and_gradient():
    """Against scikit-learn's prediction and finite differences."""
    rng = np.random.default_rng(0)
    oracle = ExactGradients(objective=keras_tuner.Objective("score", "min"), seed=1)
    points = rng.random((12, 5))
    oracle.gpr.fit(points, points.sum(axis=1) + np.sin(9 * points[:, 0]))
    at = rng.random(5)
    value, gradient = oracle.bound(at)
    mean, deviation = oracle.gpr.predict(at[None], return_std=True)
    assert np.isclose(value, mean[0] - oracle.beta * deviation[0])
    np.testing.assert_allclose(gradient, approx_fprime(at, lambda x: oracle.bound(x)[0], 1e-7), rtol=1e-3, atol=1e-4)


def test_keras_tuner_proposes_the_same_with_exact_gradients():
    """The values of every trial, against Keras Tuner's own oracle on a small conditional space."""

    def searched(kind) -> list[list[float]]:
        space = keras_tuner.HyperParameters()
        space.Float("rate", 1e-3, 1.0, sampling="log")
        space.Choice("kind", ["a", "b"])
        with space.conditional_scope("kind", ["b"]):
            space.Int("width", 1, 64)
        oracle = kind(
            objective=keras_tuner.Objective("score", "min"), num_initial_points=4, hyperparameters=space, seed=2
        )
        oracle.verbose = 0
        oracle.save = oracle._save_trial = lambda *arguments: None
        found = []
        for _ in range(8):
            trial = oracle.create_trial("tuner")
            values = trial.hyperparameters.values
            width = values["width"] if values["kind"] == "b" else 20
            score = np.log10(values["rate"]) ** 2 + abs(np.log(width / 9)) - (values["kind"] == "b")
            oracle.update_trial(trial.trial_id, {"score": float(score)})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
            found.append([np.log(values["rate"]), values["kind"] == "b", np.log(width)])
        return found

    plain = searched(keras_tuner.oracles.BayesianOptimizationOracle)
    np.testing.assert_allclose(searched(ExactGradients), plain, atol=1e-3)


def test_keras_tuner_learns_from_what_is_refused():
    """Half of a line is refused; without learning it, the bound stays least there."""
    space = keras_tuner.HyperParameters()
    space.Float("x", 0.0, 1.0)
    oracle = ExactGradients(
        objective=keras_tuner.Objective("score", "min"),
        max_trials=14,
        num_initial_points=3,
        hyperparameters=space,
        seed=1,
    )
    oracle.verbose = 0
    oracle.save = oracle._save_trial = lambda *arguments: None
    refused = []
    for _ in range(14):
        trial = oracle.create_trial("tuner")
        x = trial.hyperparameters.values["x"]
        refused.append(x > 0.5)
        if x > 0.5:
            trial.status = "INVALID"
        else:
            oracle.update_trial(trial.trial_id, {"score": -x})
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert any(refused) and sum(refused[-6:]) <= 3
    best = max(trial.hyperparameters.values["x"] for trial in oracle.trials.values() if trial.status == "COMPLETED")
    assert 0.4 < best <= 0.5


def test_stopping_is_replayed(rows, capsys):
    early_stopping.main(["--seeds", "2", "--trials", "60", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["saved"] < 1 and 0 <= found["hypervolume_lost"] < 0.1
    # Orders in which nothing is hopeless: nothing is saved, nothing lost.
    best = sorted(rows, key=lambda row: row.objectives.error)[:15]
    replay = early_stopping.replay(best)
    assert replay.wrong == replay.hypervolume_lost == 0
