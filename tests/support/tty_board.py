"""A board as the host sees one: a terminal that outlives firmware, and a programmer that puts firmware behind it.

Behind the terminal is an emulator; `openocd` on PATH is a stand-in that takes OpenOCD's own commands, keeps what they
program as the chip's flash would, and starts the emulator anew with it.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import socket
import sys
import threading
import time
import tty
from pathlib import Path

from hil.emulator import HOST, start_detached, stop_detached
from hil.recipe import load_board
from support.ports import free_port

IMAGE, SLOT = "firmware.elf", "slot.bin"  # the chip's flash, in the board's folder
FOLDER, PORT = "TTY_BOARD_FOLDER", "TTY_BOARD_PORT"  # how the programmer is told of the board


class TtyBoard:
    """A context manager; `path` is the terminal. `calls` are the programmer's, each its list of `program` commands.

    Args:
        folder: for its flash and its programmer.
        monkeypatch: of the test; puts the programmer on PATH.
    """

    def __init__(self, folder: Path, monkeypatch):
        self._folder, self._port = folder, free_port()
        tools = folder / "bin"
        tools.mkdir(parents=True)
        (tools / "openocd").write_text(f'#!/bin/sh\nexec {sys.executable} -m support.tty_board "$@"\n')
        (tools / "openocd").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        monkeypatch.setenv(FOLDER, str(folder))
        monkeypatch.setenv(PORT, str(self._port))
        self._ended = threading.Event()
        self._ours, self._theirs = pty.openpty()  # both stay open: nobody at the terminal is no error
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._thread = threading.Thread(target=self._carry, daemon=True)

    @property
    def calls(self) -> list[list[str]]:
        log = self._folder / "calls"
        return [line.split("\t") for line in log.read_text().splitlines()] if log.exists() else []

    def __enter__(self) -> TtyBoard:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)
        stop_detached(self._port, self._folder)
        os.close(self._ours)
        os.close(self._theirs)

    def _carry(self) -> None:
        """Between the terminal and whatever emulator there is; without one, what is sent is lost."""
        while not self._ended.is_set():
            try:
                chip = socket.create_connection((HOST, self._port))
            except OSError:
                if select.select([self._ours], [], [], 0.02)[0]:
                    os.read(self._ours, 4096)
                continue
            with chip:
                chip.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._carry_to(chip)

    def _carry_to(self, chip: socket.socket) -> None:
        while not self._ended.is_set():
            for source in select.select([chip, self._ours], [], [], 0.05)[0]:
                try:
                    if source is chip:
                        if not (data := chip.recv(4096)):
                            return
                        os.write(self._ours, data)
                    else:
                        chip.sendall(os.read(self._ours, 4096))
                except OSError:
                    return


def program(arguments: list[str]) -> None:
    """What OpenOCD does with `program {FILE} [ADDRESS] verify`: the file is in flash from then on."""
    folder, board = Path(os.environ[FOLDER]), load_board()
    commands = [match for each in arguments if (match := re.fullmatch(r"program \{(.*)\} ?(0x\w+)? ?verify", each))]
    for command in commands:
        assert command[2] in (None, f"{board.model_slot:#x}")
        shutil.copyfile(command[1], folder / (SLOT if command[2] else IMAGE))
    with (folder / "calls").open("a") as log:
        print(*(SLOT if command[2] else IMAGE for command in commands), sep="\t", file=log)
    slot = folder / SLOT
    start_detached(folder / IMAGE, board, int(os.environ[PORT]), folder, slot if slot.exists() else None)
    time.sleep(0.1)  # the chip boots before the programmer ends


if __name__ == "__main__":
    program(sys.argv[1:])
