"""What firmware/platform/builder/main.py (PlatformIO's SCons script) needs from the project, free of SCons itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hil.build import ModelSource
from hil.device import Device
from hil.emulator import start_detached
from hil.footprint import read_footprint
from hil.measurer import MODEL_BESIDE
from hil.recipe import TOOLCHAIN, Board, Recipe, check_model_name, load_board, recipe
from tfsparse.errors import UserError

UPLOAD_PATIENCE = 120.0  # seconds


def image_recipe(board: str, model: str, project: Path, build_dir: Path, name: str = "model") -> Recipe:
    """The recipe of the image with `model`: a .tflite, a folder with model.h, or "" for the baseline.

    A .tflite is compiled to C into build_dir/model first, and kept beside the image, where `hil.measure` looks for the
    model of a firmware that already runs.
    """
    beside = build_dir / MODEL_BESIDE
    beside.unlink(missing_ok=True)
    if not model:
        return recipe(load_board(board), "none")
    path = project / model  # an absolute `model` stays as it is
    source = model_source(path, build_dir / "model", check_model_name(name))
    if path.is_file():
        shutil.copyfile(path, beside)
    return recipe(load_board(board), "sparse", source.directory, source.sources)


def model_source(model: Path, out: Path, name: str) -> ModelSource:
    """The C of `model`; a .tflite is compiled into `out` under `name`, a folder of C has a name already."""
    if model.is_dir():
        return ModelSource.in_folder(model)
    if not model.is_file():
        raise UserError(f"there is no model {model}; custom_model and TFSPARSE_MODEL take a .tflite or a folder of C")
    try:
        from tfsparse.compiler import compile_model
    except ImportError as error:
        raise UserError(
            f"this Python cannot compile models ({error}); run PlatformIO from the project's environment: .venv/bin/pio"
        ) from error
    compiled = compile_model(model, out, name=name)
    return ModelSource(compiled.directory, compiled.sources)


def upload_to_emulator(elf: Path, board: str, port: int, state: Path) -> str:
    """(Re)start QEMU with `elf` on `port`, check that exactly this image answers there, and return its URL."""
    url = start_detached(elf, load_board(board), port, state)
    with Device(url) as device:
        found = device.synchronise()
    wanted = read_footprint(elf).build_id
    if found != wanted:
        raise UserError(f"another firmware answers on {url} (build {found[:12]}, not {wanted[:12]}); end that program")
    return url


def upload_commands(elf: Path, board: Board, tool: str) -> list[list[str]]:
    """What puts `elf` on a real board. `tool`: openocd (default) or st-flash.

    Raises UserError for another tool and where it is not on PATH.
    """
    binary, program = elf.with_suffix(".bin"), f"program {{{elf}}} verify reset exit"
    commands = {
        "openocd": [
            ["openocd", *("-f", "interface/stlink.cfg"), *("-f", f"target/{board.openocd_target}.cfg"), "-c", program]
        ],
        "st-flash": [
            [TOOLCHAIN + "objcopy", "-O", "binary", str(elf), str(binary)],
            ["st-flash", "--reset", "write", str(binary), f"{board.flash_origin:#x}"],
        ],
    }
    if tool not in commands:
        raise UserError(f"'{tool}' is no way to upload; set custom_upload to one of: {', '.join(commands)}")
    if shutil.which(tool) is None:
        package = {"openocd": "openocd", "st-flash": "stlink-tools"}[tool]
        raise UserError(f"{tool} is not on PATH; install it with: apt-get install {package}")
    return commands[tool]


def upload_to_board(elf: Path, board: Board, tool: str) -> None:
    """Flash `elf` over the board's ST-LINK."""
    for command in upload_commands(elf, board, tool):
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=UPLOAD_PATIENCE
        )
        if result.returncode:
            said = ((result.stderr or result.stdout).strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{command[0]} could not flash the board ({said}); is it connected by USB?")
