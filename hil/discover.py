"""What a model could be measured on: serial ports, emulators that run, boards the firmware knows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from serial.tools import list_ports

from hil.emulator import HOST, QEMU, running_detached
from hil.recipe import board_names, load_board
from hil.renode import RENODE


def serial_ports() -> list[tuple[str, str]]:
    """(device, description) of the system's ports; those of USB first, as boards are there."""
    ports = sorted(list_ports.comports(), key=lambda port: (port.vid is None, port.device))
    return [(port.device, port.description) for port in ports]


def emulators(state: Path) -> list[tuple[str, str]]:
    """(URL, image) of the emulators that `pio run -t upload` has left running. `state`: the folder of their notes."""
    found = []
    for note in sorted(state.glob("emulator-*.json")):
        number = re.fullmatch(r"emulator-(\d+)", note.stem)
        if number and (running := running_detached(int(number[1]), state)):
            found.append((f"socket://{HOST}:{number[1]}", running.elf))
    return found


def print_everything(state: Path) -> None:
    sections = {
        "ports (--port)": serial_ports() or [("none", "connect a board by USB")],
        "emulators that run (--port)": emulators(state) or [("none", "start one with: pio run -t upload")],
        "emulators installed": [(tool, shutil.which(tool) or "not on PATH") for tool in (QEMU, RENODE)],
        "boards (--board)": [(name, _board_line(name)) for name in board_names()],
    }
    for title, rows in sections.items():
        print(f"{title}:")
        width = max(len(first) for first, _ in rows)
        for first, second in rows:
            print(f"  {first:<{width}}  {second}")


def _board_line(name: str) -> str:
    board = load_board(name)
    where = f"emulated by QEMU, {board.qemu_machine}" if board.qemu_machine else "real"
    where += ", and by Renode" if board.renode_platform else ""
    return f"{board.title}: {board.flash_size // 1024} kB flash, {board.ram_size // 1024} kB RAM ({where})"
