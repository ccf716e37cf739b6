"""Renode's side as far as it can be seen without Renode: what it would be told, and what is said where it is absent.

With Renode on PATH the tests of the firmware and of the boards run on it, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from hil.emulator import EmulatorError
from hil.recipe import board_names, load_board
from hil.renode import RENODE, Renode, machine_script

absent = pytest.mark.skipif(shutil.which(RENODE) is not None, reason="Renode is on PATH")


@absent
def test_without_renode_the_way_out_is_said(digits_tflite):
    command = [sys.executable, "-m", "hil.measure", str(digits_tflite), "--port", "renode"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "error: renode is not on PATH; get it from https://renode.io, or measure on the target emulator\n"
    )


def test_a_board_that_renode_does_not_know(tmp_path):
    with pytest.raises(EmulatorError, match=r"microbit has no renode\.repl"):
        Renode(tmp_path / "a.elf", load_board("microbit"))


def test_the_machine_has_every_register_that_the_board_uses():
    """Each address of board.c, and both memories, lie in a peripheral of renode.repl."""
    for name in board_names():
        board = load_board(name)
        if board.renode_platform is None:
            continue
        spans = spans_of(board.renode_platform.read_text())
        source = (board.folder / "board.c").read_text()
        addresses = [int(found, 16) for found in re.findall(r"0x[0-9A-F]{8}(?=u)", source)]
        addresses = [address for address in addresses if 0x40000000 <= address < 0xE0000000]
        addresses += [board.flash_origin, board.flash_origin + board.flash_size - 1]
        addresses += [board.ram_origin, board.ram_origin + board.ram_size - 1]
        assert len(addresses) > 8, "board.c names no registers"
        for address in addresses:
            assert any(first <= address < last for first, last in spans), hex(address)
        # No more memory than the chip has: what overflows must not find any.
        assert (board.ram_origin, board.ram_origin + board.ram_size) in spans


def spans_of(platform: str) -> list[tuple[int, int]]:
    """[first, end) of the peripherals on the system bus of a .repl; 1 kB where the model itself knows its size."""
    found = []
    for entry in re.split(r"\n(?=\w+:)", platform):
        if place := re.search(r"@ sysbus <?(0x[0-9A-Fa-f]+)(?:, \+(0x[0-9A-Fa-f]+)>)?", entry):
            size = place[2] or (re.search(r"^    size: (\S+)", entry, re.MULTILINE) or [None, "0x400"])[1]
            found.append((int(place[1], 16), int(place[1], 16) + int(size, 16)))
    return found


def test_the_script_names_only_files_of_its_folder(tmp_path):
    """Paths with spaces would end at the space: all is copied to where there are none."""
    source = tmp_path / "a project"
    source.mkdir()
    (source / "firmware.elf").write_bytes(b"image")
    (source / "slot.bin").write_bytes(b"model")
    folder = tmp_path / "machine"
    folder.mkdir()
    text = machine_script(folder, source / "firmware.elf", load_board(), source / "slot.bin", 4321).read_text()
    assert "a project" not in text
    named = re.findall(r"@(\S+)", text)
    assert len(named) == 3
    assert all((folder / name.rpartition("/")[2]).is_file() for name in named)
    assert "slot.bin 0x8040000" in text
    assert 'CreateServerSocketTerminal 4321 "uart" false' in text


def test_a_renode_that_ends_at_its_start_is_a_sentence(tmp_path, monkeypatch):
    """Whatever is called renode on PATH: its last words are the reason, and nothing of it is left."""
    program = tmp_path / RENODE
    program.write_text('#!/bin/sh\necho "12:00:00 [ERROR] no such thing"\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    elf = tmp_path / "a.elf"
    elf.write_bytes(b"image")
    with pytest.raises(EmulatorError, match=r"Renode ended at its start: 12:00:00 \[ERROR\] no such thing"):
        Renode(elf, load_board())


def test_a_renode_that_never_listens_is_ended(tmp_path, monkeypatch):
    program = tmp_path / RENODE
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("hil.renode.START_SECONDS", 2.0)  # a busy machine has started the program by then
    elf = tmp_path / "a.elf"
    elf.write_bytes(b"image")
    with pytest.raises(EmulatorError, match="opened no serial line within 2 s"):
        Renode(elf, load_board())
    child = (tmp_path / "child").read_text().strip()
    deadline = time.monotonic() + 30
    while subprocess.run(["kill", "-0", child], capture_output=True).returncode == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert subprocess.run(["kill", "-0", child], capture_output=True).returncode != 0
