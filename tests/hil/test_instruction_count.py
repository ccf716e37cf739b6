"""Instructions counted a second way: QEMU logs every instruction it executes, one at a time, and the log is counted.

The figure that is reported comes from an emulated timer under -icount; the log knows neither timer nor icount.
"""

from __future__ import annotations

import socket
import subprocess

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from hil.build import Builder, ModelSource
from hil.device import Device
from hil.emulator import HOST, _command
from hil.measure import Measurer
from hil.recipe import board_names, load_board
from tfsparse.compiler import compile_model


def span_of_inference(elf) -> tuple[int, int]:
    """[first, end) of model_invoke in the image."""
    with elf.open("rb") as stream:
        (symbol,) = ELFFile(stream).get_section_by_name(".symtab").get_symbol_by_name("model_invoke")
    start = symbol["st_value"] & ~1  # without the Thumb bit
    return start, start + symbol["st_size"]


def executed_between(log, first: int, last: int) -> int:
    """Instructions of the log from the first at address `first` up to the one at `last`, both counted."""
    count, inside = 0, False
    with log.open() as lines:
        for line in lines:
            if not line.startswith("Trace"):
                continue
            address = int(line.split("/")[1], 16)
            if address == first:
                inside = True
            if inside:
                count += 1
                if address == last:
                    return count
    raise AssertionError("the log holds no whole inference")


@pytest.mark.parametrize("name", [name for name in board_names() if load_board(name).qemu_machine])
def test_a_log_of_every_instruction_agrees_within_one_per_cent(name, digits_tflite, tmp_path):
    """On each emulated part: each counts with a timer of its own."""
    board = load_board(name)
    compiled = compile_model(digits_tflite, tmp_path / "model")
    builder = Builder(board, tmp_path / "objects")
    elf = builder.build(tmp_path / "firmware.elf", "sparse", ModelSource(compiled.directory, compiled.sources))
    log = tmp_path / "trace.log"
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        command = _command(elf, board, listener, wait=True)
        at = command.index("-icount")
        del command[at : at + 2]
        command += ["-singlestep", "-d", "exec,nochain", "-D", str(log)]
        qemu = subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
    try:
        with Device(f"socket://{HOST}:{port}") as device:
            device.wait_ready()
            device.load(bytes(compiled.input_size))
            device.infer(1, 0)
    finally:
        qemu.kill()
        qemu.wait()
    start, end = span_of_inference(elf)
    counted = executed_between(log, start, last_of(elf, start, end))
    with Measurer(workdir=tmp_path / "work", board=name) as measurer:
        reported = measurer.measure(digits_tflite, np.zeros((1, 8, 8, 1), np.int8)).instructions
    assert counted == pytest.approx(reported, rel=0.01)


def last_of(elf, start: int, end: int) -> int:
    """Address of the instruction with which the function in [start, end) returns."""
    listing = subprocess.check_output(
        ["arm-none-eabi-objdump", "-d", f"--start-address={start}", f"--stop-address={end}", str(elf)], text=True
    )
    returns = [line for line in listing.splitlines() if "pc}" in line or "bx\tlr" in line]
    return int(returns[-1].split(":")[0], 16)
