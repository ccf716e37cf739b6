"""The Keras Tuner side: trials, failures, state, and resuming after kills of a real process."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import keras_tuner
import pytest
from rich.console import Console

from support.stand_in import SPACE, Result, evaluate, figures_of, settings
from tfsparse.budgets import Budgets
from tfsparse.errors import UserError
from tfsparse.job import trial_seed
from tfsparse.network import Infeasible
from tfsparse.oracle import Goal, SparseOracle, SparseTuner, metrics_of
from tfsparse.run_folder import COMPLETED, FAILED, INFEASIBLE, RunFolder
from tfsparse.search import search
from tfsparse.workers import Inline

TESTS = Path(__file__).parent


def _oracle(trials: int = 8, seed: int = 0, budgets: Budgets | None = None) -> SparseOracle:
    return SparseOracle(SPACE, budgets or Budgets(), Goal(trials), seed)


def _run(path, judge=evaluate, trials: int = 8, **changes) -> RunFolder:
    """A whole search in this process; goes on where the folder exists."""
    folder = RunFolder.open(path) if RunFolder.exists(path) else RunFolder.create(path, settings(trials, **changes))
    search(folder, Inline(judge), Console(file=open(os.devnull, "w"), width=80))  # noqa: SIM115
    return folder


def _candidates(folder: RunFolder) -> list[str]:
    return [record.candidate.id for record in folder.records]


def test_a_search_runs_its_trials_and_repeats_none(tmp_path):
    folder = _run(tmp_path / "run", trials=8)
    assert [record.trial for record in folder.records] == list(range(8))
    assert {record.status for record in folder.records} == {COMPLETED}
    assert len(set(_candidates(folder))) == 8
    assert [record.stage for record in folder.records] == ["explore"] * 4 + ["exploit"] * 3 + ["refine"]
    assert [record.seed for record in folder.records] == [trial_seed(0, i) for i in range(8)]
    # Keras Tuner's own files are not written.
    assert {item.name for item in folder.path.iterdir()} == {
        "settings.json", "trials.jsonl", "pareto.json", "survivors", "weights"
    }  # fmt: skip


def test_the_same_seed_gives_the_same_search(tmp_path):
    first = _run(tmp_path / "first", trials=7)
    again = _run(tmp_path / "again", trials=7)
    other = _run(tmp_path / "other", trials=7, seed=1)
    assert _candidates(first) == _candidates(again)
    assert not set(_candidates(first)) & set(_candidates(other))


def test_children_of_the_front_inherit_what_was_kept(tmp_path):
    """Morphs in the later stages begin with their parents' weights, and only what may become a parent is kept."""
    given = {}

    def judge(candidate, *, parent, seed, **keywords):
        given[seed] = parent
        return replace(evaluate(candidate, parent=parent, seed=seed, **keywords), weights=candidate.id.encode())

    folder = _run(tmp_path / "run", judge, trials=14)
    by_number = {record.trial: record for record in folder.records}
    heirs = [record for record in folder.records if record.inherited]
    assert heirs and {record.stage for record in heirs} <= {"exploit", "refine"}
    for record in folder.records:
        expected = by_number[record.parent].candidate.id.encode() if record.inherited else None
        assert given[record.seed] == expected
        assert record.rung == {"explore": 1.0, "exploit": 0.5 if record.inherited else 1.0, "refine": 2.0}[record.stage]
    kept = {item.stem for item in (folder.path / "weights").iterdir()}
    survivors = {record.name for record in folder.survivors}
    parents = {by_number[record.parent].name for record in folder.survivors if record.inherited}
    assert survivors <= kept <= survivors | parents
    # Weights that are gone, as in a run of an older version: the child starts fresh.
    shutil.rmtree(folder.path / "weights")
    more = RunFolder.open(folder.path)
    more.with_settings(replace(more.settings, trials=18))
    search(more, Inline(judge), Console(file=open(os.devnull, "w"), width=80))  # noqa: SIM115
    assert len(more.records) == 18 and not more.records[14].inherited


def test_keras_tuner_sees_objective_and_metrics(tmp_path):
    oracle = _oracle(trials=3)
    records = []
    tuner = SparseTuner(oracle, Inline(evaluate), tmp_path, seed=0, write=lambda r, t, w: records.append(r) or r)
    assert isinstance(oracle, keras_tuner.Oracle)
    tuner.search()
    best = oracle.get_best_trials(1)[0]
    assert best.score == pytest.approx(min(1 - record.val_accuracy for record in records))
    for trial, record in zip(oracle.trials.values(), records, strict=True):
        assert trial.status == "COMPLETED"
        assert trial.hyperparameters.values == SPACE.values(record.candidate)
        assert trial.metrics.get_last_value("flash_model") == record.figures["flash_model"]
        assert trial.metrics.get_last_value("ram_model") == record.figures["ram_model"]


def test_failed_and_infeasible_trials_are_recorded_and_the_search_goes_on(tmp_path):
    calls = []

    def judge(candidate, **keywords):
        calls.append(candidate)
        if len(calls) in (2, 3, 4, 5):
            raise ZeroDivisionError(f"of all things, {len(calls)}")
        if len(calls) in (6, 7):
            raise Infeasible("does not fit after all")
        if len(calls) == 8:
            return Result(float("nan"), 0.5, figures_of(SPACE, candidate), b"")
        return evaluate(candidate, **keywords)

    folder = _run(tmp_path / "run", judge, trials=10)
    statuses = [record.status for record in folder.records]
    assert statuses.count(INFEASIBLE) == 2
    assert statuses.count(FAILED) == 5
    # What was turned away does not count as a trained trial; what failed does.
    assert len(statuses) == 12
    assert len(set(calls)) == 12
    reasons = [record.reason for record in folder.records if record.reason]
    assert sum(reason.startswith("ZeroDivisionError: of all things") for reason in reasons) == 4
    assert reasons.count("does not fit after all") == 2
    assert reasons.count("error is no number") == 1
    assert all(record.tflite is None for record in folder.records if record.status != COMPLETED)


def test_ram_that_was_measured_before_the_training_is_learnt_from(tmp_path):
    """What was turned away for its RAM does not count, and the search turns away from it."""

    def held(candidate):
        # Other than shapes let expect.
        return figures_of(SPACE, candidate)["ram_model"] * len(candidate.blocks)

    def judge(candidate, **keywords):
        if held(candidate) > limit:
            raise Infeasible(f"holds {held(candidate)}", ram=held(candidate))
        result = evaluate(candidate, **keywords)
        return replace(result, figures={**result.figures, "ram_model": held(candidate)})

    limit = int(median(held(record.candidate) for record in _run(tmp_path / "free", trials=8).records))
    folder = _run(tmp_path / "run", judge, trials=14, budgets=Budgets(ram=limit))
    away = [record for record in folder.records if record.status == INFEASIBLE]
    assert away and all(record.figures["ram_model"] > limit for record in away)
    assert sum(record.status == COMPLETED for record in folder.records) == 14
    # Most are met at random, at the start; and the folder on disk says the same.
    assert len(away) < 14
    again = RunFolder.open(folder.path)
    assert [record.figures for record in again.records] == [record.figures for record in folder.records]
    oracle = _oracle(trials=20, budgets=Budgets(ram=limit))
    oracle.restore(again.records)
    other = _oracle(trials=20, budgets=Budgets(ram=limit))
    other.set_state(json.loads(json.dumps(oracle.get_state())))
    assert oracle.populate_space("a")["values"] == other.populate_space("a")["values"]


def test_a_search_that_only_fails_ends_with_the_reason(tmp_path):
    def judge(candidate, **keywords):
        raise MemoryError(f"no memory for {candidate.id}")

    with pytest.raises(UserError, match=r"last 5 trials all failed.*no memory.*--resume"):
        _run(tmp_path / "run", judge, trials=10)
    assert len(RunFolder.open(tmp_path / "run").records) == 5


def test_a_tool_that_is_gone_ends_the_search_with_its_sentence(tmp_path):
    """Even late: the same failure again and again is not the candidates'. One alone does not stop the search."""
    calls = []

    def judge(candidate, **keywords):
        calls.append(candidate)
        if len(calls) == 2 or len(calls) > 4:
            raise UserError("arm-none-eabi-gcc is not installed: run make setup")
        return evaluate(candidate, **keywords)

    with pytest.raises(UserError, match="make setup"):
        _run(tmp_path / "run", judge, trials=20)
    records = RunFolder.open(tmp_path / "run").records
    assert [record.status for record in records] == [COMPLETED, FAILED, COMPLETED, COMPLETED] + [FAILED] * 4
    assert records[1].reason == "arm-none-eabi-gcc is not installed: run make setup"


def test_state_is_complete():
    """An oracle made from another's state goes on exactly as that one does."""
    oracle = _oracle(trials=10, seed=5)
    for number in range(10):
        state = json.loads(json.dumps(oracle.get_state()))
        twin = _oracle(trials=3, seed=5)
        twin.goal = oracle.goal
        twin.set_state(state)
        trial, other = oracle.create_trial("tuner0"), twin.create_trial("tuner0")
        assert trial.hyperparameters.values == other.hyperparameters.values
        assert oracle.proposals == twin.proposals and oracle.stage == twin.stage
        result = evaluate(SPACE.candidate(trial.hyperparameters.values))
        if number == 3:
            trial.status = "FAILED"
        else:
            figures = {"val_accuracy": result.val_accuracy, **result.figures}
            oracle.update_trial(
                trial.trial_id,
                {
                    "error": 1 - result.val_accuracy,
                    "flash_model": figures["flash_model"],
                    "ram_model": figures["ram_model"],
                },
            )
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").status == "STOPPED"


def test_records_make_the_same_oracle(tmp_path):
    """Stopped after any trial and restored from the records, a search proposes what it would have proposed."""
    whole = _run(tmp_path / "whole", trials=9, seed=2)
    for stopped in (1, 5, 8):
        oracle = _oracle(trials=9, seed=2)
        oracle.restore(whole.records[:stopped])
        trial = oracle.create_trial("tuner0")
        assert SPACE.candidate(trial.hyperparameters.values) == whole.records[stopped].candidate
        assert oracle.get_best_trials(1)[0].score == pytest.approx(
            min(1 - record.val_accuracy for record in whole.records[:stopped])
        )


def test_gaps_in_the_numbers_are_left(tmp_path):
    """With several workers a kill can leave trial 1 unfinished and trial 2 written."""
    whole = _run(tmp_path / "whole", trials=4)
    oracle = _oracle(trials=4)
    oracle.restore([whole.records[0], whole.records[2]])
    trial = oracle.create_trial("tuner0")
    number, proposal = oracle.proposals[trial.trial_id]
    assert number == 3 and proposal.candidate not in {whole.records[0].candidate, whole.records[2].candidate}


def test_minutes_end_a_search():
    now = [0.0]
    oracle = SparseOracle(SPACE, Budgets(), Goal(seconds=100.0), 0, clock=lambda: now[0])
    stages = []
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        stages.append(oracle.proposals[trial.trial_id][1].stage)
        result = evaluate(SPACE.candidate(trial.hyperparameters.values))
        oracle.update_trial(
            trial.trial_id, {"error": 1 - result.val_accuracy, "flash_model": 1000.0, "ram_model": 100.0}
        )
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        now[0] += 10.0
    assert stages == ["explore"] * 4 + ["exploit"] * 4 + ["refine"] * 2


def test_minutes_count_once_where_trials_ran_side_by_side(tmp_path):
    """Sixty trials of a minute by four workers are a quarter of an hour; folders of one worker do not say so."""
    record = _run(tmp_path / "run", trials=1).records[0]
    side_by_side = [replace(record, trial=i, seconds={"train": 60.0}, elapsed=60.0 * (i // 4 + 1)) for i in range(60)]
    told = {"with": side_by_side, "without": [replace(one, elapsed=None) for one in side_by_side]}
    found = {}
    for name, records in told.items():
        oracle = SparseOracle(SPACE, Budgets(), Goal(seconds=7200.0), 0, clock=lambda: 5.0)
        oracle.restore(records)
        found[name] = oracle.elapsed
    assert found == {"with": 900.0, "without": 3600.0}


def test_a_trial_s_record_says_when_it_ended(tmp_path):
    elapsed = [record.elapsed for record in _run(tmp_path / "run", trials=4).records]
    assert elapsed == sorted(elapsed) and elapsed[0] > 0


def test_metrics_are_numbers():
    from tfsparse.objectives import Objectives

    assert metrics_of(Objectives(0.1, 10.0, 20.0)) == {"error": 0.1, "flash_model": 10.0, "ram_model": 20.0}


def _start(path: Path, trials: int, pause: float, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "support.stand_in", str(path), str(trials), str(pause)]
    environment = {**os.environ, **environment}
    return subprocess.Popen(
        command, cwd=TESTS, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.slow
def test_kills_lose_no_trial_and_repeat_none(tmp_path):
    """SIGKILL at random moments, the first trial included; what is resumed ends as if it had never been killed."""
    trials, path, rng = 10, tmp_path / "run", random.Random(int(time.time()))
    lines: list[bytes] = []
    # The first kill falls into the first trial, the others anywhere in the trials that follow the one that was killed.
    for attempt in range(4):
        process = _start(path, trials, pause=0.3)
        assert process.stdout.readline() == "searching\n"
        while attempt and len((path / "trials.jsonl").read_bytes().splitlines()) == len(lines):
            time.sleep(0.01)
        time.sleep(0.15 if attempt == 0 else rng.uniform(0.0, 0.7))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = (path / "trials.jsonl").read_bytes().splitlines(keepends=True)
        # Whatever was on disk before is there still, byte for byte.
        assert found[: len(lines)] == lines
        lines = [line for line in found if line.endswith(b"\n")]
        if attempt == 0:
            assert not lines
    process = _start(path, trials, pause=0.0)
    process.communicate(timeout=120)
    assert process.returncode == 0
    folder = RunFolder.open(path)
    assert (path / "trials.jsonl").read_bytes().splitlines(keepends=True)[: len(lines)] == lines
    assert [record.trial for record in folder.records] == list(range(trials))
    assert _candidates(folder) == _candidates(_run(tmp_path / "undisturbed", trials=trials))
    models = {item.name for item in folder.survivors_folder.iterdir()}
    assert models == {f"{record.name}.tflite" for record in folder.survivors}


@pytest.mark.slow
def test_a_trial_that_ends_the_process_time_and_again_has_failed(tmp_path):
    """A real SIGABRT, as native code raises it; and before it a kill from outside, which costs no trial."""
    trials, path = 4, tmp_path / "run"
    killed = _start(path, trials, pause=60.0)
    while not (path / "attempts.json").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=60)
    # Once killed, a trial runs again.
    for _ in range(2):
        process = _start(path, trials, pause=0.0, ABORT_AT="2")
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGABRT
        assert [record.status for record in RunFolder.open(path).records] == [COMPLETED] * 2
    process = _start(path, trials, pause=0.0, ABORT_AT="2")
    process.communicate(timeout=120)
    assert process.returncode == 0
    records = RunFolder.open(path).records
    assert [record.status for record in records] == [COMPLETED, COMPLETED, FAILED, COMPLETED]
    assert "the process died 2 times" in records[2].reason
    assert _candidates(RunFolder.open(path))[:3] == _candidates(_run(tmp_path / "undisturbed", trials=trials))[:3]
