"""Firmware onto a real board over its ST-LINK, by OpenOCD or stlink-tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hil.recipe import TOOLCHAIN, Board
from tfsparse.errors import UserError

PACKAGES = {"openocd": "openocd", "st-flash": "stlink-tools"}
DEFAULT_TOOL = "openocd"
UPLOAD_PATIENCE = 120.0  # seconds


class UploadError(UserError):
    """The board could not be flashed."""


def chosen_tool() -> str:
    """TFSPARSE_UPLOAD, or the default."""
    return os.environ.get("TFSPARSE_UPLOAD") or DEFAULT_TOOL


def upload_commands(
    elf: Path | None, board: Board, tool: str, slot: Path | None = None, serial: str | None = None
) -> list[list[str]]:
    """What puts `elf`, and `slot` at the board's model slot, on a real board and starts it anew.

    Args:
        elf: None: the firmware stays as it is.
        tool: openocd or st-flash.
        serial: of the ST-LINK, where several are connected.

    Raises UploadError for another tool and where it is not on PATH.
    """
    if tool not in PACKAGES:
        known = ", ".join(PACKAGES)
        raise UploadError(
            f"'{tool}' is no way to upload; set TFSPARSE_UPLOAD (or custom_upload in platformio.ini) to one of: {known}"
        )
    if shutil.which(tool) is None:
        raise UploadError(f"{tool} is not on PATH; install it with: apt-get install {PACKAGES[tool]}")
    return (_openocd if tool == "openocd" else _st_flash)(elf, board, slot, serial)


def _openocd(elf: Path | None, board: Board, slot: Path | None, serial: str | None) -> list[list[str]]:
    programs = [f"program {{{elf}}} verify"] if elf else []
    if slot:
        programs.append(f"program {{{slot}}} {board.model_slot:#x} verify")
    command = ["openocd", "-f", "interface/stlink.cfg"]
    if serial:
        command += ["-c", f"adapter serial {serial}"]
    command += ["-f", f"target/{board.openocd_target}.cfg"]
    for program in programs:
        command += ["-c", program]
    return [[*command, "-c", "reset run", "-c", "exit"]]


def _st_flash(elf: Path | None, board: Board, slot: Path | None, serial: str | None) -> list[list[str]]:
    write = ["st-flash", *(("--serial", serial) if serial else ()), "--reset", "write"]
    commands = []
    if elf:
        binary = elf.with_suffix(".bin")
        commands.append([TOOLCHAIN + "objcopy", "-O", "binary", str(elf), str(binary)])
        commands.append([*write, str(binary), f"{board.flash_origin:#x}"])
    if slot:
        commands.append([*write, str(slot), f"{board.model_slot:#x}"])
    return commands


def upload_to_board(
    elf: Path | None, board: Board, tool: str, slot: Path | None = None, serial: str | None = None
) -> None:
    """Flash the board; for the arguments see `upload_commands`. Raises UploadError where it does not work."""
    if board.openocd_target is None:
        raise UploadError(f"the board {board.name} has no openocd_target in its board.json: it cannot be flashed")
    for command in upload_commands(elf, board, tool, slot, serial):
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=UPLOAD_PATIENCE
            )
        except subprocess.TimeoutExpired as error:
            raise UploadError(
                f"{command[0]} did not end within {UPLOAD_PATIENCE:.0f} s; unplug the board and connect it again"
            ) from error
        if result.returncode:
            said = ((result.stderr or result.stdout).strip().splitlines() or ["no message"])[-1]
            raise UploadError(f"{command[0]} could not flash the board ({said}); is it connected by USB?")
