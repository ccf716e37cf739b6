"""Firmware images by calling arm-none-eabi-gcc directly: a candidate costs compiling its model, and one link."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hil.recipe import TOOLCHAIN, TOOLCHAIN_HINT, Board, Recipe, recipe
from tfsparse.errors import UserError

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
TOOL_PATIENCE = 120.0  # seconds
OVERFLOW = re.compile(r"region [`'](FLASH|RAM)' overflowed by (\d+) bytes")


class BuildError(UserError):
    """An image could not be made."""


class TooBigError(BuildError):
    """The image does not fit into the board's flash or RAM."""


@dataclass(frozen=True)
class ModelSource:
    """A model as C: what `tfsparse.compiler` wrote, or any folder with model.h and C files beside it."""

    directory: Path
    sources: tuple[str, ...]  # names relative to directory

    @classmethod
    def in_folder(cls, directory: Path) -> ModelSource:
        """All C files of `directory`. Raises UserError where there is no model.h, or a name that the protocol cannot
        carry."""
        header = directory / "model.h"
        if not header.is_file():
            raise UserError(
                f"{directory} holds no model.h; name an int8 .tflite or a folder written by python -m tfsparse.compiler"
            )
        named = re.search(r'#define MODEL_NAME "(.*)"', header.read_text())
        if named and "m-ready" in named[1]:
            raise UserError(f"'{named[1]}' in {header} is no name for a model: m-ready ends replies; choose another")
        return cls(directory, tuple(sorted(path.name for path in directory.glob("*.c"))))


@dataclass
class Builder:
    """Builds images for one board.

    The firmware's own objects are kept under `cache`, named by the hash of all that they depend on. Those that see the
    model are put beside the image, so that thousands of candidates do not fill the cache.
    """

    board: Board
    cache: Path
    _gcc_version: str = field(default="", init=False)

    def build(self, elf: Path, runtime: str, model: ModelSource | None = None) -> Path:
        """Compile what changed, link, and return `elf`.

        Raises:
            TooBigError: flash or RAM overflows; the message gives both figures.
            BuildError: no toolchain, or the compiler refuses the model's C.
        """
        directory, sources = (model.directory, model.sources) if model else (None, ())
        return self.build_recipe(elf, recipe(self.board, runtime, directory, sources), directory)

    def build_recipe(self, elf: Path, parts: Recipe, model: Path | None = None) -> Path:
        """The same from a recipe; `model` is the folder whose files are the model's."""
        objects = self.compile(elf.parent, parts, model)
        self.link(elf, objects, parts)
        return elf

    def compile(self, beside: Path, parts: Recipe, model: Path | None = None) -> list[Path]:
        """Objects of all sources, in the recipe's order. Their names hold the hash of all that they depend on.

        Those that see the `model` are put into `beside`.
        """
        self._gcc_version = self._gcc_version or gcc_version()
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            beside.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(f"cannot write to {error.filename} ({error.strerror}); choose another folder") from error
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda source: self._object(source, parts, model, beside), parts.sources))

    def _object(self, source: Path, parts: Recipe, model: Path | None, beside: Path) -> Path:
        cxx = source.suffix == ".cc"
        flags = parts.cxx_flags if cxx else parts.compile_flags
        digest = hashlib.sha256(repr((self._gcc_version, flags, source.name)).encode())
        dependencies = _with_includes(source, parts.include_dirs)
        for path in dependencies:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        sees_model = any(path.parent == model for path in dependencies)
        target = (beside if sees_model else self.cache) / f"{source.stem}-{digest.hexdigest()[:24]}.o"
        if not target.is_file():
            # Through a name of its own, so that a second process building the same never sees half an object.
            partial = _partial(target)
            includes = [f"-I{path}" for path in parts.include_dirs]
            driver = TOOLCHAIN + ("g++" if cxx else "gcc")
            result = run_tool([driver, *flags, *includes, "-c", str(source), "-o", str(partial)])
            if result.returncode:
                partial.unlink(missing_ok=True)
                raise BuildError(f"{source.name} does not compile: {_first_error(result.stderr)}")
            partial.replace(target)
        return target

    def link(self, elf: Path, objects: list[Path], parts: Recipe) -> None:
        """Link `objects`. Where there are libraries, the linker's map, which tells each byte's origin, lies beside."""
        partial = _partial(elf)
        result = run_tool(
            [
                TOOLCHAIN + "gcc",
                *parts.link_flags,
                "-T",
                str(parts.linker_script),
                *(str(path) for path in objects),
                *(str(path) for path in parts.libraries),
                *(("-lm", f"-Wl,-Map={elf.with_suffix('.map')}") if parts.libraries else ()),
                "-o",
                str(partial),
            ]
        )
        if result.returncode:
            partial.unlink(missing_ok=True)
            raise link_error(result.stderr, self.board)
        partial.replace(elf)


def link_error(stderr: str, board: Board) -> BuildError:
    """The linker's complaint as one sentence."""
    excess = {region: int(size) for region, size in OVERFLOW.findall(stderr)}
    if not excess:
        return BuildError(f"the firmware does not link: {_first_error(stderr)}")
    sizes = {"FLASH": ("flash", board.flash_size), "RAM": ("RAM", board.ram_size)}
    wants = " and ".join(
        f"{sizes[region][1] + size:,} bytes of {sizes[region][0]} where the chip has {sizes[region][1]:,}"
        for region, size in sorted(excess.items())
    )
    return TooBigError(f"the model is too big for {board.title}: the firmware with it needs {wants}; use a smaller one")


def _with_includes(source: Path, include_dirs: tuple[Path, ...]) -> list[Path]:
    """`source` and every file it includes in quotes, directly or not, in the order they are met."""
    found: dict[Path, None] = {}
    todo = [source]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = None
        for name in INCLUDE.findall(path.read_text()):
            for folder in (path.parent, *include_dirs):
                if (folder / name).is_file():
                    todo.append(folder / name)
                    break
    return list(found)


def _partial(target: Path) -> Path:
    """A name beside `target` that no other process or thread uses."""
    return target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.part")


def _first_error(stderr: str) -> str:
    if "No space left on device" in stderr:
        return "no space is left on the disk; make room there"
    lines = [line for line in stderr.splitlines() if "error" in line or "undefined" in line]
    return (lines or stderr.splitlines() or ["no message"])[0].strip()


def gcc_version() -> str:
    """Raises BuildError where there is no compiler."""
    gcc = TOOLCHAIN + "gcc"
    if shutil.which(gcc) is None:
        raise BuildError(f"{gcc} is not on PATH; install it with: {TOOLCHAIN_HINT}")
    return run_tool([gcc, "-dumpfullversion"]).stdout


def run_tool(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Raises BuildError where it does not end in time."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TOOL_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"{command[0]} did not end within {TOOL_PATIENCE:.0f} s; try again when the machine is less busy"
        ) from error
