"""The boards that QEMU emulates: parts with little memory, where a model runs as exactly as on the default one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from hil.build import Builder, TooBigError
from hil.device import Device, FaultError
from hil.emulator import Emulator
from hil.footprint import read_footprint
from hil.measure import Measurer
from hil.recipe import BOARDS, TOOLCHAIN, board_names, load_board
from hil.upload import UploadError, upload_commands, upload_to_board
from support.emulators import emulator_class
from support.handmade import handmade_model
from tfsparse.errors import UserError

EMULATED = [name for name in board_names() if load_board(name).qemu_machine]
LOOP = '{{ uint32_t n = {count}; __asm volatile(".syntax unified\\n1: subs %0, #1\\n bne 1b" : "+l"(n) :: "cc"); }}'
REAL = [name for name in board_names() if load_board(name).qemu_machine is None]
DIVE = (
    "__attribute__((noinline)) static int dive(int depth) {"
    " volatile char room[64]; room[0] = (char)depth; return dive(depth + 1) + room[0]; }"
)


@pytest.fixture(scope="module", params=[*EMULATED, "stm32f405_qemu@renode"])
def board(request, tmp_path_factory):
    """(Board, start): start(**handmade_model's arguments) -> the device."""
    name, _, kind = request.param.partition("@")
    board, emulate = load_board(name), emulator_class(kind or "emulator")
    folder: Path = tmp_path_factory.mktemp(board.name)
    builder = Builder(board, folder / "objects")
    with ExitStack() as stack:

        def start(**model: object) -> Device:
            number = len(list(folder.glob("image*")))
            image = folder / f"image{number}"
            elf = builder.build(image / "firmware.elf", "sparse", handmade_model(image / "model", **model))
            emulator = stack.enter_context(emulate(elf, board))
            device = stack.enter_context(Device(emulator.url, name=board.name))
            device.settle()
            return device

        yield board, start


def test_there_are_three():
    assert set(EMULATED) >= {"stm32f405_qemu", "stm32vldiscovery", "microbit"}


@pytest.mark.parametrize("name", [name for name in EMULATED if name != "stm32f405_qemu"])
def test_a_digits_model_runs_bit_exactly(name, digits_tflite, measurer, tmp_path):
    with Measurer(workdir=tmp_path, board=name) as there:
        found = there.measure(digits_tflite)
    here = measurer.measure(digits_tflite)
    assert found.bit_exact
    assert found.target == f"{name}@emulator"
    assert found.ram_total <= load_board(name).ram_size
    assert found.ram_total < 3000
    assert (found.payload, found.arena, found.macs) == (here.payload, here.arena, here.macs)
    # Cortex-M3 lacks the DSP extension that dense kernels use on -M4; -M0 knows still fewer instructions: no division.
    most = 1.2 if name == "stm32vldiscovery" else 2.8
    assert here.instructions <= found.instructions < most * here.instructions


def test_renode_gives_the_figures_that_qemu_gives(digits_tflite, measurer, tmp_path):
    emulator_class("renode")
    with Measurer("renode", workdir=tmp_path) as renode:
        found = renode.measure(digits_tflite)
    assert found.bit_exact
    here = measurer.measure(digits_tflite)
    assert (found.flash_model, found.ram_model) == (here.flash_model, here.ram_model)
    assert found.instructions == pytest.approx(here.instructions, rel=0.01)


def test_instructions_are_exact(board):
    """10,000 rounds of a two-instruction loop more cost 20,000 instructions more, to the last one, on every board."""
    _, start = board
    counts = []
    for rounds in (20_000, 30_000):
        device = start(body=LOOP.format(count=rounds))
        device.load(bytes(16))
        counts.append(device.infer())
        assert device.infer() == counts[-1]
    assert counts[1] - counts[0] == 20_000


def test_long_counts_hold(board):
    """Past the 24 bits of a SysTick period: its interrupts cost next to nothing."""
    _, start = board
    device = start(body=LOOP.format(count=4_000_000))
    device.load(bytes(16))
    assert 8_000_000 <= device.infer() < 8_000_400


def test_faults_and_overflows_are_reported(board):
    _, start = board
    device = start(body='__asm volatile(".short 0xde00");')
    device.load(bytes(16))
    with pytest.raises(FaultError, match=r"Hard fault: sp=0x2000\w{4} pc=0x0\w{7} lr=0x"):
        device.infer()
    assert device.model() == "handmade"
    device = start(body="result[0] = (int8_t)dive(0);", helpers=DIVE)
    device.load(bytes(16))
    with pytest.raises(FaultError, match=r"Stack overflow"):
        device.infer()
    assert device.model() == "handmade"


def test_inputs_arrive_whole(board):
    """Blocks are larger than the receive ring of 128 bytes and the FIFO of any UART."""
    _, start = board
    device = start(inputs=1500)
    sent = bytes(i * 7 % 256 for i in range(1500))
    device.load(sent)
    assert device.buffer() == sent


def test_too_big_for_a_small_part(tmp_path):
    builder = Builder(load_board("stm32vldiscovery"), tmp_path / "objects")
    with pytest.raises(TooBigError, match=r"bytes of RAM where the chip has 8,192; use a smaller one"):
        builder.build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "m", inputs=4000))


def test_the_command_line_takes_a_board(digits_tflite):
    def measure(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hil.measure", str(digits_tflite), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    result = measure("--board", "stm32vldiscovery", "--json", "--name", "digits", "--repeat", "2")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ram_total"] < 8192
    assert "firmware/boards/ has:" in measure("--board", "arduino").stderr
    listing = measure("--list").stdout
    assert all(name in listing for name in board_names())
    assert "8 kB RAM (emulated by QEMU, stm32vldiscovery)" in listing


@pytest.mark.parametrize("name", REAL)
def test_real_boards_compile(name, tmp_path):
    """Compiled only: there is no hardware here."""
    board = load_board(name)
    builder = Builder(board, tmp_path / "objects")
    image = read_footprint(builder.build(tmp_path / "a.elf", "sparse", handmade_model(tmp_path / "model")))
    assert 6_000 < image.flash_total < 12_000
    assert image.sections[".stack"] == board.stack_size
    assert board.openocd_target
    assert "Not run on hardware" in (board.folder / "board.c").read_text()
    with pytest.raises(UserError, match=r"not one that QEMU emulates; measure it with --port"):
        Emulator(tmp_path / "a.elf", board)


def test_there_are_four_real_boards():
    assert set(REAL) >= {"nucleo_f446re", "nucleo_f401re", "nucleo_l476rg", "blackpill_f411ce"}


# What a board's programmer is told: the tools here only write down how they were called.
NOTE = '#!/bin/sh\necho "$(basename "$0") $*" >> "$(dirname "$0")/calls"\n'
REFUSE = "#!/bin/sh\necho no device found >&2\nexit 1\n"


def put_on_path(folder: Path, monkeypatch, *tools: str, text: str = NOTE) -> Path:
    """Programs of these names come first on PATH; returns the file that holds their calls."""
    folder.mkdir(exist_ok=True)
    for tool in tools:
        (folder / tool).write_text(text)
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


def test_upload_tools_that_are_missing_or_fail(tmp_path, monkeypatch):
    board = load_board("nucleo_l476rg")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        for tool, package in (("openocd", "openocd"), ("st-flash", "stlink-tools")):
            with pytest.raises(UploadError, match=f"apt-get install {package}"):
                upload_commands(tmp_path / "a.elf", board, tool)
    with pytest.raises(UploadError, match=r"custom_upload in platformio.ini\) to one of: openocd, st-flash"):
        upload_commands(tmp_path / "a.elf", board, "dfu")
    with pytest.raises(UploadError, match="no openocd_target"):
        upload_to_board(tmp_path / "a.elf", load_board("microbit"), "openocd")
    put_on_path(tmp_path / "bin", monkeypatch, "openocd", text=REFUSE)
    with pytest.raises(UploadError, match=r"openocd could not flash the board \(no device found\); is it connected"):
        upload_to_board(tmp_path / "a.elf", board, "openocd")


def test_what_the_upload_tools_are_told(tmp_path, monkeypatch):
    board = load_board("nucleo_f446re")
    calls = put_on_path(tmp_path / "bin", monkeypatch, "openocd", "st-flash", TOOLCHAIN + "objcopy")
    upload_to_board(Path("a.elf"), board, "openocd", Path("slot.bin"), serial="066C")
    upload_to_board(None, board, "openocd", Path("slot.bin"))
    upload_to_board(Path("a.elf"), board, "st-flash", Path("slot.bin"), serial="066C")
    assert calls.read_text().splitlines() == [
        "openocd -f interface/stlink.cfg -c adapter serial 066C -f target/stm32f4x.cfg -c program {a.elf} verify "
        "-c program {slot.bin} 0x8040000 verify -c reset run -c exit",
        "openocd -f interface/stlink.cfg -f target/stm32f4x.cfg -c program {slot.bin} 0x8040000 verify "
        "-c reset run -c exit",
        TOOLCHAIN + "objcopy -O binary a.elf a.bin",
        "st-flash --serial 066C --reset write a.bin 0x8000000",
        "st-flash --serial 066C --reset write slot.bin 0x8040000",
    ]


@pytest.fixture
def clocked_board(tmp_path, monkeypatch) -> str:
    """The emulated board, made to say that it counts cycles at 168 MHz."""
    boards = tmp_path / "boards"
    shutil.copytree(BOARDS, boards)
    source = boards / "stm32f405_qemu" / "board.c"
    instructions = (BOARDS.parent / "hal" / "emulated_board.h").read_text()
    cycles = instructions.replace('"instruction"', '"cycle"').replace("lap_unit = 1;", "lap_unit = 168;")
    source.write_text(source.read_text().replace('#include "emulated_board.h"', cycles))
    # Includes go by the folder's place.
    shutil.copytree(BOARDS.parent / "hal", tmp_path / "hal")
    monkeypatch.setattr("hil.recipe.BOARDS", boards)
    return "stm32f405_qemu"


def test_a_board_that_counts_cycles_gives_milliseconds(clocked_board, digits_tflite, measurer, tmp_path):
    with Measurer(workdir=tmp_path / "work", board=clocked_board) as there:
        found = there.measure(digits_tflite)
    instructions = measurer.measure(digits_tflite).instructions
    assert (found.instructions, found.cycles) == (None, instructions)
    assert found.milliseconds == pytest.approx(instructions / 168e3)
