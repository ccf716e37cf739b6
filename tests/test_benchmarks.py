"""The benchmarks' own arithmetic, and that their table is what they say."""

import json
import os

import numpy as np
import pytest

import support.repository  # noqa: F401
from benchmarks import early_stopping
from benchmarks import search as search_benchmark
from benchmarks.digits_table import TABLE, Row, read_table


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_table()


def test_the_table_holds_enough_candidates_that_the_space_allows(rows):
    assert len({row.candidate for row in rows}) >= 400
    assert all(search_benchmark.SPACE.refusal(row.candidate) is None for row in rows[::20])
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
    (problem,) = search_benchmark.problems(["table"])
    # Each of Keras Tuner's own proposals in so many dimensions takes half a minute: here it only begins.
    trials = 4 if method == "keras-tuner" else 8
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


def test_stopping_is_replayed(rows, capsys):
    early_stopping.main(["--seeds", "2", "--trials", "60", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["saved"] < 1 and 0 <= found["hypervolume_lost"] < 0.1
    # Orders in which nothing is hopeless: nothing is saved, nothing lost.
    best = sorted(rows, key=lambda row: row.objectives.error)[:15]
    replay = early_stopping.replay(best)
    assert replay.wrong == replay.hypervolume_lost == 0
