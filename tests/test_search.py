"""The command: what it refuses, in one sentence and exit code 2, what it leaves, and how it stops and goes on."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.processor import processor_seconds
from support.stand_in import settings
from tfsparse.budgets import Budgets
from tfsparse.candidate import FULL_BITS
from tfsparse.errors import UserError
from tfsparse.run_folder import COMPLETED, RunFolder
from tfsparse.search import Interrupts, Options, _again, _check_budgets, _dataset, _settings, main
from tfsparse_datasets import load


def _command(*arguments: str, cwd: Path | None = None, timeout: float = 180) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tfsparse.search", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd)


def _digits(out: Path, *more: str) -> list[str]:
    return ["--dataset", "digits", "--out", str(out), *more]


def test_help_is_quick_and_needs_no_tensorflow():
    done = _command("--help")
    assert done.returncode == 0 and "--budget-ram" in done.stdout
    assert min(processor_seconds("-m", "tfsparse.search", "--help") for _ in range(3)) < 1.0
    code = "import sys, tfsparse.search; print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_error_is_one_sentence_and_exit_code_two(tmp_path):
    done = _command("--dataset", "digits", "--out", str(tmp_path / "run"), "--trials", "0")
    assert done.returncode == 2
    assert done.stderr == "error: --trials 0: give at least 1\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trials", "-3"], "give at least 1"),
        (["--minutes", "0"], "give a number above 0"),
        (["--workers", "0"], "give at least 1"),
        (["--polish", "-1"], "give 0 or more"),
        (["--final-seeds", "0"], "give at least 1"),
        (["--seed", "-1"], "give 0 or more"),
        (["--target", "moon"], "choose one of emulator"),
        (["--target", "socket://127.0.0.1:1"], "nothing answers on socket://127.0.0.1:1"),
        (["--target", "emulator,microbit@emulator"], "cannot be compared"),
        # The limits are those of the board that is named.
        (["--target", "stm32vldiscovery@emulator", "--size", "120x120"], "the chip has 8192"),
        (["--size", "big"], "such as 32x32"),
        (["--size", "²x3"], "such as 32x32"),
        (["--minutes", "inf"], "above 0"),
        (["--minutes", "nan"], "above 0"),
        (["--budget-ram", "9" * 400], "such as 2048"),
        (["--budget-ram", "lots"], "such as 2048"),
        (["--budget-flash", "-5"], "such as 2048"),
        (["--min-accuracy", "120%"], "such as 0.985"),
        (["--rule", "nonsense"], "nonsense"),
        # All 8 x 8 pixels are there before the first layer begins.
        (["--budget-ram", "60"], "at least 64 bytes at once.*feed them with --by-rows"),
        (["--budget-ram", "4", "--by-rows"], "at least .* bytes at once.*with --size"),
        (["--size", "600x600"], "make them smaller with --size"),
    ],
)
def test_wrong_arguments_say_the_way_out(tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        main(_digits(tmp_path / "run", *arguments))
    assert not (tmp_path / "run").exists()


def test_an_interrupt_that_python_dropped_is_raised_by_the_next_write():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with interrupts.held():
            written = True
    assert written


def test_an_unknown_data_set_says_the_way_out(tmp_path):
    with pytest.raises(UserError, match="choose one of"):
        main(["--dataset", "no-such-set", "--out", str(tmp_path / "run")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        main(["--dataset", str(tmp_path / "empty"), "--out", str(tmp_path / "run")])


def test_an_existing_run_needs_resume(tmp_path):
    run = RunFolder.create(tmp_path / "run", settings())
    with pytest.raises(UserError, match="--resume"):
        main(_digits(run.path))


@pytest.mark.parametrize(
    ("changes", "arguments", "word"),
    [
        ({"dataset": "mnist"}, [], "dataset"),
        ({}, ["--seed", "7"], "seed"),
        ({}, ["--budget-ram", "4k"], "budgets"),
        ({}, ["--min-accuracy", "0.9"], "budgets"),
        ({}, ["--rule", "lt-half"], "rule|classes"),
        ({"data_shape": (9, 9, 1)}, ["--size", "10x10"], "data_shape"),
        ({}, ["--by-rows"], "by_rows"),
    ],
)
def test_a_run_resumes_only_with_its_own_settings(tmp_path, changes, arguments, word):
    own = {"dataset": "digits", "data_shape": (8, 8, 1), "classes": 10, **changes}
    run = RunFolder.create(tmp_path / "run", settings(**own))
    with pytest.raises(UserError, match=rf"was begun with ({word}).*same settings"):
        main(_digits(run.path, "--resume", *arguments))


def test_a_resumed_run_names_the_command_that_began_it(tmp_path, monkeypatch):
    def said(earlier, *more):
        arguments = _digits(tmp_path / "run", *more)
        monkeypatch.setattr(sys, "argv", ["search.py", *arguments])
        return _settings(Options.parse(arguments), load("digits"), 0, earlier)

    # make search asks for it where a folder is left of a start that was cut short.
    first = said(None, "--trials", "5", "--resume")
    assert first.command == f"python -m tfsparse.search --dataset digits --out {tmp_path / 'run'} --trials 5"
    assert 0.85 < first.chance < 0.95
    again = said(first, "--trials", "9", "--resume")
    assert (again.trials, again.started, again.command) == (9, first.started, first.command)


def test_what_is_left_out_of_a_resume_is_as_before(tmp_path):
    arguments = _digits(tmp_path / "run", "--size", "12x10", "--seed", "3")
    begun = _settings(Options.parse(arguments), *_dataset(Options.parse(arguments), None), None)
    assert begun.data_shape == (12, 10, 1)
    again = Options.parse(_digits(tmp_path / "run", "--resume"))
    dataset, seed = _dataset(again, begun)
    assert (tuple(dataset.shape), seed) == ((12, 10, 1), 3)
    assert _settings(again, dataset, seed, begun).data_shape == (12, 10, 1)


def test_the_command_to_go_on_names_what_the_folder_does_not_keep(tmp_path):
    told = ["--size", "12x10", "--workers", "2", "--address", "auto", "--final-seeds", "1", "--polish", "0"]
    again = shlex.split(_again(Options.parse(_digits(tmp_path / "run", *told))))
    assert again[:3] == ["python", "-m", "tfsparse.search"]
    assert again[3:] == [*_digits(tmp_path / "run"), "--resume", *told]


def test_a_budget_below_the_image_s_size_needs_feeding_by_rows():
    small = {"data_shape": (40, 40, 3), "budgets": Budgets(ram=1280)}
    _check_budgets(settings(by_rows=True, **small))
    with pytest.raises(UserError, match="feed them with --by-rows"):
        _check_budgets(settings(**small))


def test_an_out_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="another --out"):
        main(_digits(tmp_path / "file" / "run"))


def _processes_below(pid: int) -> list[int]:
    """Every process that descends from this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ctrl_c_leaves_no_process_and_the_run_goes_on(tmp_path):
    """The real search on digits: interrupted once a trial is on disk, resumed, all of it kept, finished."""
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "tfsparse.search",
        *_digits(out, "--trials", "2", "--budget-flash", "16KB", "--by-rows"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline, below = time.monotonic() + 300, []
    while not (out / "trials.jsonl").exists() or not (out / "trials.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
        below = list({*below, *_processes_below(process.pid)})
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "--resume" in said and "Traceback" not in said
    deadline = time.monotonic() + 30
    while any(map(_alive, below)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in below if _alive(pid)]
    kept = (out / "trials.jsonl").read_bytes().splitlines()

    on = ["--resume", "--final-seeds", "2"]
    done = _command(*_digits(out, *on, "--json"), timeout=900)
    assert done.returncode == 0, done.stderr
    folder = RunFolder.open(out)
    assert [record.trial for record in folder.records] == [0, 1]
    assert json.loads(kept[0])["candidate"] == folder.records[0].candidate.to_json()
    assert all(record.figures["fed"] == "rows" for record in folder.records if record.status == COMPLETED)
    survivors = json.loads(done.stdout)
    assert survivors == json.loads((out / "pareto.json").read_text())
    bits = {record.name: record.candidate.training.weight_bits for record in folder.records}
    for one in survivors:
        assert 0 <= one["test_accuracy"] <= 1 and one["seeds"] == 2
        # Which candidates a search proposes is open: weights on few levels are trained there and get no polish.
        assert (one["polish"] is not None) == (bits[one["name"]] == FULL_BITS)
        code = out / "survivors" / one["name"]
        assert {"model.c", "model.h", "figures.json"} <= set(os.listdir(code))
        assert "MODEL_FED_BY_ROWS" in (code / "model.h").read_text() and one["fed"] == "rows"
        assert (out / one["tflite"]).stat().st_size > 500
    assert (out / "report.html").stat().st_size > 1000
    # Nothing is left to do: it says so quickly and changes nothing.
    trials = (out / "trials.jsonl").read_bytes()
    assert _command(*_digits(out, *on)).returncode == 0
    assert (out / "trials.jsonl").read_bytes() == trials
