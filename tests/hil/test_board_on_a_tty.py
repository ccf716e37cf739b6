"""From the box to figures: a blank board on a terminal is flashed by its programmer, and measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hil import device
from hil.measure import Measurer
from hil.recipe import BOARDS
from support.tflite_models import small_digits_like_tflite
from support.tty_board import IMAGE, SLOT, TtyBoard


@pytest.fixture
def flashable(tmp_path, monkeypatch) -> str:
    """The emulated board's name, made to have a programmer."""
    boards = tmp_path / "boards"
    shutil.copytree(BOARDS, boards)
    manifest = boards / "stm32f405_qemu" / "board.json"
    content = json.loads(manifest.read_text())
    content["tfsparse"]["openocd_target"] = "stm32f4x"
    manifest.write_text(json.dumps(content))
    monkeypatch.setattr("hil.recipe.BOARDS", boards)
    # A blank board is silent, and is waited for: seconds less.
    monkeypatch.setattr(device.Device.__init__, "__kwdefaults__", {"name": None, "patience": 5.0})
    return "stm32f405_qemu"


def figures(measurement):
    return replace(measurement, target="", seconds={})


def test_a_blank_board_is_flashed_and_measured(
    flashable, measurer, tflm_measurer, digits_tflite, tmp_path, monkeypatch
):
    other: Path = tmp_path / "other.tflite"
    other.write_bytes(small_digits_like_tflite(seed=1))
    with TtyBoard(tmp_path / "board", monkeypatch) as board:
        name = f"{flashable}@{board.path}"
        with Measurer(name, workdir=tmp_path / "sparse", upload=True) as there:
            found = there.measure(digits_tflite)
            assert found.target == name
            assert figures(found) == figures(measurer.measure(digits_tflite))
            there.measure(digits_tflite)  # it holds that already
            assert board.calls == [[IMAGE]]
            assert figures(there.measure(other)) == figures(measurer.measure(other))
        # From now on the board says itself which one it is.
        with Measurer(board.path, "tflm", tmp_path / "tflm", upload=True) as there:
            assert figures(there.measure(digits_tflite)) == figures(tflm_measurer.measure(digits_tflite))
            assert figures(there.measure(other)) == figures(tflm_measurer.measure(other))
        assert board.calls == [[IMAGE], [IMAGE], [IMAGE, SLOT], [SLOT]]
