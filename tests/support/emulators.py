"""The emulators that tests run on."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.emulator import _command
from hil.recipe import Board
from hil.renode import RENODE
from hil.targets import EMULATORS


def emulator_class(name: str) -> type:
    """The class behind a name of `hil.targets.EMULATORS`; the test is skipped where Renode is asked for and absent."""
    if name == RENODE and shutil.which(RENODE) is None:
        pytest.skip("Renode is not on PATH (https://renode.io)")
    return EMULATORS[name]


@contextmanager
def on_a_tty(elf: Path, board: Board) -> Iterator[str]:
    """QEMU whose serial line is a terminal of the system, as a board's is: its path."""
    command = _command(elf, board, socket.socket(), wait=False)
    command[command.index("-chardev") + 1] = "pty,id=uart"
    qemu = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield re.search(r"/dev/pts/\d+", qemu.stdout.readline())[0]
    finally:
        qemu.kill()
        qemu.wait()
        qemu.stdout.close()
