"""The progress display: a live one on terminals of any width, a line a trial elsewhere."""

import io
import re

import pytest
from rich.console import Console

from support.stand_in import evaluate, settings
from tfsparse.display import LiveDisplay, PlainDisplay, Status, display_for, duration, survivors_table
from tfsparse.run_folder import RunFolder
from tfsparse.search import search
from tfsparse.workers import Inline


def _search(path, console: Console) -> RunFolder:
    folder = RunFolder.create(path, settings(5))

    def slow(candidate, **keywords):
        if len(folder.records) == 2:
            raise ValueError("a reason " + "that is long " * 20)
        return evaluate(candidate, pause=0.3, **keywords)

    search(folder, Inline(slow), console)
    return folder


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_terminal_of_any_width_shows_the_search(tmp_path, width):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, legacy_windows=False)
    folder = _search(tmp_path / "run", console)
    assert isinstance(display_for(Status(folder, 5, None, lambda: 0.0), console), LiveDisplay)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", out.getvalue()).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    text = "\n".join(lines)
    assert re.search(r"trials \d/5", text) and "explore" in text and "now trial" in text and "best error" in text
    assert "failed" in text


def test_without_a_terminal_there_is_a_line_a_trial(tmp_path):
    out = io.StringIO()
    console = Console(file=out, width=40)
    assert isinstance(display_for(Status(None, 1, None, lambda: 0.0), console), PlainDisplay)
    folder = _search(tmp_path / "run", console)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(folder.records) == 5
    assert [line.split()[1] for line in lines] == [f"{i}/5" for i in range(1, 6)]
    assert all(" left" in line and "\x1b" not in line for line in lines)
    table = io.StringIO()
    Console(file=table, width=100).print(survivors_table(folder.survivors, folder))
    assert all(record.name in table.getvalue() for record in folder.survivors)


def test_durations_are_readable():
    assert [duration(s) for s in (0.2, 59.6, 61, 3600, 7384)] == [
        "0 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "2 h 03 min"
    ]  # fmt: skip
