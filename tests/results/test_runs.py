"""Summaries of run folders."""

import pytest

import support.repository  # noqa: F401
from results.runs import load_runs, main
from support.runs import make_run
from tfsparse.errors import UserError


def test_a_run_is_summed_up_and_replaced(tmp_path, capsys):
    run = make_run(tmp_path / "run", trials=30)
    out = tmp_path / "runs.json"
    assert load_runs(out) == []
    assert main([str(tmp_path / "run"), "--out", str(out)]) == 0
    (found,) = load_runs(out)
    assert sum(found["trials"].values()) == 30 and found["trials"]["failed"] >= 1
    spent = sum(sum(record.seconds.values()) for record in run.records)
    assert found["hours"] == pytest.approx(spent / 3600, abs=0.006)
    assert found["command"].startswith("python -m tfsparse.search") and found["budgets"]["ram"] == 16384
    assert found["survivors"] == len(run.survivors)
    assert capsys.readouterr().out.startswith("mnist: ")
    main([str(tmp_path / "run"), "--out", str(out)])
    make_run(tmp_path / "other", trials=3, seed=1, dataset="cifar10", rule="lt-half")
    main([str(tmp_path / "other"), "--out", str(out)])
    assert [one["dataset"] for one in load_runs(out)] == ["cifar10", "mnist"]


def test_errors_are_sentences(tmp_path):
    with pytest.raises(UserError):
        main([str(tmp_path), "--out", str(tmp_path / "runs.json")])
    (tmp_path / "runs.json").write_text("[")
    with pytest.raises(UserError, match="cannot read"):
        load_runs(tmp_path / "runs.json")
