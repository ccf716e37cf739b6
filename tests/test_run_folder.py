"""The run folder: round trips, torn lines, survivors, and what users get told."""

import json
import resource
import signal
from dataclasses import replace

import pytest

from support.stand_in import SPACE, evaluate, settings
from tfsparse.budgets import Budgets
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.errors import UserError
from tfsparse.run_folder import COMPLETED, FAILED, FORMAT, INFEASIBLE, Record, RunFolder, locked

DESIGN_KEYS = {
    "trial", "status", "stage", "parent", "seed", "val_accuracy", "test_accuracy", "nnz", "model_size_counted",
    "working_memory_1", "working_memory_2", "macs", "payload", "flash_model", "flash_total", "ram_model", "ram_total",
    "instructions", "target", "runtime", "bit_exact", "seconds", "candidate",
}  # fmt: skip


def _record(trial: int, filters: int, accuracy: float | None = None) -> tuple[Record, bytes]:
    candidate = Candidate((Block((Layer("plain", filters, 3),), factor=2),))
    result = evaluate(candidate)
    accuracy = result.val_accuracy if accuracy is None else accuracy
    record = Record(
        trial, COMPLETED, "explore", trial, candidate, val_accuracy=accuracy, figures=result.figures,
        seconds={"train": 1.25},
    )  # fmt: skip
    return record, result.tflite


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", settings())


def test_records_come_back_as_they_were(folder):
    written = [folder.append(*_record(i, filters)) for i, filters in enumerate((2, 4, 8))]
    failed = Record(3, FAILED, "exploit", 3, SPACE.smallest, rung=2.0, parent=1, morph="filters", reason="went wrong")
    refused = Record(4, INFEASIBLE, "exploit", 4, SPACE.smallest, reason="too big")
    written += [folder.append(failed), folder.append(refused)]
    again = RunFolder.open(folder.path)
    assert list(again.records) == written
    assert again.settings == folder.settings
    assert not again.notices


def test_a_record_has_the_contract_s_keys(folder):
    folder.append(*_record(0, 4))
    folder.append(Record(1, FAILED, "explore", 1, SPACE.smallest, reason="went wrong"))
    for line in (folder.path / "trials.jsonl").read_text().splitlines():
        assert set(json.loads(line)) >= DESIGN_KEYS
    assert {"tflite", "name", "within_budgets"} | DESIGN_KEYS <= set(
        json.loads((folder.path / "pareto.json").read_text())[0]
    )


def test_survivors_are_the_front_and_only_theirs_are_kept(folder):
    folder.append(*_record(0, 8, accuracy=0.5))
    folder.append(*_record(1, 4, accuracy=0.6))
    folder.append(*_record(2, 2, accuracy=0.4))
    folder.append(*_record(3, 9, accuracy=0.1))
    assert [record.trial for record in folder.survivors] == [1, 2]
    assert {item.name for item in folder.survivors_folder.iterdir()} == {"trial-0001.tflite", "trial-0002.tflite"}
    pareto = json.loads((folder.path / "pareto.json").read_text())
    assert [one["name"] for one in pareto] == ["trial-0001", "trial-0002"]
    for one in pareto:
        model = folder.path / one["tflite"]
        assert model.read_bytes().decode() == f"model of {Candidate.from_json(one['candidate']).id}"


def test_survivors_keep_to_the_budgets(tmp_path):
    small, tflite = _record(0, 2, accuracy=0.4)
    budgets = Budgets(flash=small.figures["flash_model"])
    folder = RunFolder.create(tmp_path / "run", settings(budgets=budgets))
    folder.append(*_record(1, 8, accuracy=0.9))
    assert [(r.trial, r.objectives.within(budgets)) for r in folder.survivors] == [(1, False)]
    folder.append(small, tflite)
    assert [(r.trial, r.objectives.within(budgets)) for r in folder.survivors] == [(0, True)]


def test_test_accuracy_comes_late_and_stays(folder):
    folder.append(*_record(0, 4))
    folder.amend([replace(folder.records[0], test_accuracy=0.5)])
    assert RunFolder.open(folder.path).records[0].test_accuracy == 0.5
    assert json.loads((folder.path / "pareto.json").read_text())[0]["test_accuracy"] == 0.5


def test_a_torn_last_line_is_dropped_wherever_it_tore(folder):
    for i in range(3):
        folder.append(*_record(i, i + 2))
    path = folder.path / "trials.jsonl"
    whole = path.read_bytes()
    start = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(start, len(whole) - 2, 7):
        path.write_bytes(whole[:end])
        again = RunFolder.open(folder.path)
        assert [record.trial for record in again.records] == [0, 1]
        assert bool(again.notices) == (end > start)
        assert path.read_bytes() == whole[:start]
    # Only the line break is missing: nothing is lost.
    path.write_bytes(whole[:-1])
    assert len(RunFolder.open(folder.path).records) == 3
    assert path.read_bytes() == whole
    RunFolder.open(folder.path).append(*_record(3, 9))
    assert len(RunFolder.open(folder.path).records) == 4


def test_a_damaged_line_in_the_middle_is_named(folder):
    for i in range(3):
        folder.append(*_record(i, i + 2))
    path = folder.path / "trials.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:50] + "\n" + lines[2])
    with pytest.raises(UserError, match=r"line 2 .*damaged"):
        RunFolder.open(folder.path)
    assert path.read_text().count("\n") == 3


def test_an_existing_run_is_not_overwritten(folder):
    with pytest.raises(UserError, match="--resume"):
        RunFolder.create(folder.path, settings())


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        RunFolder.create(tmp_path / "letters", settings())
    with pytest.raises(UserError, match="is a file"):
        RunFolder.create(tmp_path / "letters" / "a.txt", settings())
    with pytest.raises(UserError, match="holds no run"):
        RunFolder.open(tmp_path / "letters")


def test_a_creation_that_was_cut_short_is_begun_anew(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trials.jsonl").touch()
    assert not RunFolder.exists(tmp_path / "run")
    # Half of settings.json lies beside its place.
    (tmp_path / "run" / ".settings.json.new").write_text('{"dataset": "dig')
    RunFolder.create(tmp_path / "run", settings())
    assert RunFolder.open(tmp_path / "run").settings == settings()


def test_another_version_says_so(folder):
    path = folder.path / "settings.json"
    data = json.loads(path.read_text())
    for version in (FORMAT + 1, 0, None):
        path.write_text(json.dumps({**data, "format": version}))
        with pytest.raises(UserError, match="format"):
            RunFolder.open(folder.path)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        RunFolder.open(folder.path)
    start = [{**_record(0, 4)[0].candidate.to_json(), "wider": True}]
    for damaged in ({"format": FORMAT}, {**data, "start": start}, {**data, "start": ["none"]}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(UserError, match="damaged"):
            RunFolder.open(folder.path)


def test_a_missing_trials_file_says_so(folder):
    (folder.path / "trials.jsonl").unlink()
    with pytest.raises(UserError, match="missing"):
        RunFolder.open(folder.path)


def test_a_full_disk_loses_nothing(folder):
    """/dev/full stands for a disk without room: every write to it fails with ENOSPC, as on a full disk."""
    folder.append(*_record(0, 4))
    kept = (folder.path / "trials.jsonl").read_bytes()
    (folder.path / "trials.jsonl").rename(folder.path / "kept")
    (folder.path / "trials.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"No space left.*--resume"):
        folder.append(*_record(1, 6))
    assert [record.trial for record in folder.records] == [0]
    (folder.path / "trials.jsonl").unlink()
    (folder.path / "kept").rename(folder.path / "trials.jsonl")
    assert (folder.path / "trials.jsonl").read_bytes() == kept
    folder.append(*_record(1, 6))
    assert len(RunFolder.open(folder.path).records) == 2


def test_a_line_for_which_half_the_room_is_left_leaves_nothing(folder):
    """A limit to files' sizes stands for the disk's end: a part of the line is written, as on a disk that fills up."""
    folder.append(*_record(0, 4))
    path = folder.path / "trials.jsonl"
    kept = path.read_bytes()
    failed = Record(1, FAILED, "explore", 1, SPACE.smallest, reason="went wrong " * 2000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 4000, before[1]))
    try:
        with pytest.raises(UserError, match="free some space"):
            folder.append(failed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == kept
    folder.append(failed)
    assert len(RunFolder.open(folder.path).records) == 2


def test_two_searches_cannot_hold_a_folder(folder):
    with locked(folder.path), pytest.raises(UserError, match="another search is running"), locked(folder.path):
        pass
    with locked(folder.path):
        pass


def _sized(trial: int, accuracy: float, flash: int) -> tuple[Record, bytes]:
    record, tflite = _record(trial, 4, accuracy)
    return replace(record, figures={**record.figures, "flash_model": flash}), tflite


def test_a_polished_model_takes_its_place_only_where_none_is_lost(folder):
    folder.append(*_sized(0, 0.90, 5000))
    folder.append(*_sized(1, 0.88, 5010))  # dominated: its model is not kept
    folder.append(*_sized(2, 0.91, 5020))
    first = folder.survivors[-1]
    assert first.trial == 0

    def polished(accuracy, flash):
        return replace(first, val_accuracy=accuracy, figures={**first.figures, "flash_model": flash})

    assert folder.could_replace(polished(0.905, 5000))
    assert folder.could_replace(polished(0.92, 5004))  # the better one's model goes, as it should
    # Trial 1 would come back, of which no model is left.
    assert not folder.could_replace(polished(0.905, 5015))
    # Trial 2 is better in both.
    assert not folder.could_replace(polished(0.905, 5030))
