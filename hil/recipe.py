"""What a firmware image is made of: a board's and a runtime's sources, flags and layout.

The one place where this is written. PlatformIO's builder (firmware/platform/builder/main.py) and `hil.build` both read
it, so that `pio run` and `hil.measure` make the same image. Standard library only: it also runs inside PlatformIO.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tfsparse.errors import UserError

FIRMWARE = Path(__file__).resolve().parents[1] / "firmware"
BOARDS = FIRMWARE / "boards"
DEFAULT_BOARD = "stm32f405_qemu"

TOOLCHAIN = "arm-none-eabi-"
TOOLCHAIN_HINT = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"

# No -g: it would make the build id depend on paths. Debug builds (`build_type = debug` in platformio.ini) add it.
COMPILE_FLAGS = (
    "-std=gnu99",
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-Wall",
    "-Wextra",
)
LINK_FLAGS = ("-nostartfiles", "-static", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--build-id=sha1")


@dataclass(frozen=True)
class Board:
    """One folder of firmware/boards/: board.json, board.c and whatever else the board needs."""

    name: str
    folder: Path
    title: str
    cpu_flags: tuple[str, ...]
    flash_origin: int
    flash_size: int  # bytes
    ram_origin: int
    ram_size: int  # bytes
    stack_size: int  # bytes
    model_slot: int | None  # where the runtime tflm finds its model in flash; None: it has no place on this board
    qemu_machine: str | None  # None: a real board
    openocd_target: str | None  # OpenOCD's target/NAME.cfg; None: not one to flash
    qemu_icount_shift: int  # an emulated instruction takes 2^shift ns; board.c's hal_tick_scale builds on it

    @property
    def sources(self) -> tuple[Path, ...]:
        return tuple(sorted(self.folder.glob("*.c")))

    @property
    def renode_platform(self) -> Path | None:
        """Renode's description of the machine; None: Renode does not emulate it."""
        path = self.folder / "renode.repl"
        return path if path.is_file() else None

    @property
    def slot_size(self) -> int | None:
        """Bytes of the model slot: from model_slot to the end of flash."""
        return None if self.model_slot is None else self.flash_origin + self.flash_size - self.model_slot


def check_model_name(name: str) -> str:
    """The name itself. Raises UserError where the protocol or C could not carry it."""
    if not re.fullmatch(r"[A-Za-z0-9_.+-]{1,23}", name) or "m-ready" in name:
        raise UserError(f"'{name}' is no name for a model; use up to 23 letters, digits and any of _.+-")
    return name


def board_names() -> list[str]:
    return sorted(path.parent.name for path in BOARDS.glob("*/board.json"))


def board_named(device_name: str) -> str | None:
    """The board whose firmware answers `name%` with this; None where there is none."""
    plain = device_name.removesuffix("-qemu").replace("-", "_")
    return next((name for name in board_names() if name.removesuffix("_qemu") == plain), None)


def load_board(name: str = DEFAULT_BOARD) -> Board:
    """Read a board's folder. Raises UserError for a name that has none, and for a board.json that is none."""
    path = BOARDS / name / "board.json"
    if not path.is_file():
        raise UserError(f"there is no board '{name}'; firmware/boards/ has: {', '.join(board_names())}")
    try:
        return _board_of(name, path.parent, json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} does not describe a board: {reason}; compare it with {DEFAULT_BOARD}'s") from error


def _board_of(name: str, folder: Path, manifest: dict) -> Board:
    own = manifest["tfsparse"]
    return Board(
        name=name,
        folder=folder,
        title=manifest["name"],
        cpu_flags=tuple(own["cpu_flags"]),
        flash_origin=int(own["flash_origin"], 0),
        flash_size=manifest["upload"]["maximum_size"],
        ram_origin=int(own["ram_origin"], 0),
        ram_size=manifest["upload"]["maximum_ram_size"],
        stack_size=own["stack_size"],
        model_slot=int(own["model_slot"], 0) if "model_slot" in own else None,
        qemu_machine=own.get("qemu_machine"),
        openocd_target=own.get("openocd_target"),
        qemu_icount_shift=own.get("qemu_icount_shift", 0),
    )


@dataclass(frozen=True)
class Recipe:
    """Everything a compiler driver needs for one image. Sources stand in link order: the image depends on it."""

    board: Board
    runtime: str
    sources: tuple[Path, ...]
    include_dirs: tuple[Path, ...]
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    linker_script: Path
    cxx_flags: tuple[str, ...] = ()  # in place of compile_flags for .cc files
    libraries: tuple[Path, ...] = ()  # static ones, after all objects


def runtime_names() -> list[str]:
    return sorted(path.parent.name for path in (FIRMWARE / "runtimes").glob("*/runtime.c*"))


def recipe(board: Board, runtime: str, model: Path | None = None, model_sources: tuple[str, ...] = ()) -> Recipe:
    """The image of `runtime` on `board`.

    Args:
        board: from `load_board`.
        runtime: a folder of firmware/runtimes/; "none" is the baseline without a model.
        model: folder that holds model.h and `model_sources` (names relative to it).
    """
    if runtime not in runtime_names():
        raise UserError(f"there is no runtime '{runtime}'; firmware/runtimes/ has: {', '.join(runtime_names())}")
    folders = [FIRMWARE / "hal", FIRMWARE / "core", FIRMWARE / "runtimes", board.folder]
    sources = [
        *sorted((FIRMWARE / "hal").glob("*.c")),
        *sorted((FIRMWARE / "core").glob("*.c")),
        *board.sources,
        *sorted((FIRMWARE / "runtimes" / runtime).glob("*.c*")),
    ]
    if model is not None:
        folders.append(model)
        sources += [model / name for name in sorted(model_sources)]
    symbols = {
        "FLASH_ORIGIN": board.flash_origin,
        "FLASH_SIZE": board.flash_size,
        "RAM_ORIGIN": board.ram_origin,
        "RAM_SIZE": board.ram_size,
        "STACK_SIZE": board.stack_size,
    }
    return Recipe(
        board=board,
        runtime=runtime,
        sources=tuple(sources),
        include_dirs=tuple(folders),
        compile_flags=(*board.cpu_flags, *COMPILE_FLAGS),
        link_flags=(
            *board.cpu_flags,
            *LINK_FLAGS,
            *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()),
        ),
        linker_script=FIRMWARE / "hal" / "sections.ld",
    )
