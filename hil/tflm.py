"""TFLite Micro for the runtime `tflm`: where its sources come from, its library, its images and its flash slot.

    python -m hil.tflm          bring the sources if there are none, and build the library for the default board

Sources: the folder named by TFLM_DIR (a checkout of TFLite Micro in which `make third_party_downloads` has run), or
else those of July 2020 inside the Rust crate `tfmicro`, which cargo brings into .cache/tflm. Nothing of it is copied
into this repository.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hil import tflm_crate
from hil.build import BuildError, gcc_version, run_tool
from hil.recipe import TOOLCHAIN, Board, Recipe, board_names, load_board, recipe
from hil.tflm_crate import CACHE, CHECKOUT
from tfsparse.errors import UserError, run_cli

# Levels as in TFLite Micro's own Makefile: the framework small, the kernels fast.
FRAMEWORK_LEVEL, KERNEL_LEVEL = "-Os", "-O2"
FLAGS = (
    "-ffunction-sections",
    "-fdata-sections",
    "-w",
    # NDEBUG: an assertion of 2020 in ADD is wrong for the zero point -128, which int8 models have.
    "-DNDEBUG",
    "-DTF_LITE_STRIP_ERROR_STRINGS",
    "-DTF_LITE_STATIC_MEMORY",
    "-DTF_LITE_MCU_DEBUG_LOG",
    "-DGEMMLOWP_ALLOW_SLOW_SCALAR_FALLBACK",
)
CXX_FLAGS = (
    "-std=c++17",
    "-fno-rtti",
    "-fno-exceptions",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-threadsafe-statics",
    "-fno-use-cxa-atexit",
    "-fpermissive",
)
FAILURES = {  # firmware/runtimes/tflm/runtime.cc
    1: "a kernel failed",
    2: "the model's schema version is not this TFLite Micro's",
    3: "it does not allocate: too little RAM, or a kernel refuses the model",
    4: "its input or output is not int8",
}
SLOT_NAME = 24  # bytes, the closing zero included


@dataclass(frozen=True)
class Sources:
    """A copy of TFLite Micro."""

    root: Path  # the folder that holds tensorflow/
    current: bool  # which generation of the interface: that of today, or that of 2020
    framework: tuple[Path, ...]
    kernels: tuple[Path, ...]
    include_dirs: tuple[Path, ...]

    @property
    def identity(self) -> str:
        """Changes with any source or header that the library is made of, wherever they lie."""
        lite = self.root / "tensorflow" / "lite"
        folders = (lite / "micro", lite / "kernels" / "internal", lite / "core", lite / "c", lite / "schema")
        headers = [path for folder in folders for path in folder.rglob("*.h")]
        digest = hashlib.sha256()
        for path in sorted({*self.framework, *self.kernels, *headers}):
            status = path.stat()
            digest.update(f"{path.relative_to(self.root)} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Library:
    """TFLite Micro as a static library for one processor."""

    archive: Path
    sources: Sources
    kernels: frozenset[str]  # names of the archive's members that are kernels


# ---- sources ----


def find_sources() -> Sources:
    """Raises UserError where there are none."""
    if directory := os.environ.get("TFLM_DIR"):
        root = Path(directory).expanduser()
        if not (root / "tensorflow" / "lite" / "micro").is_dir():
            raise UserError(f"TFLM_DIR={directory} holds no tensorflow/lite/micro; name a checkout of TFLite Micro")
        return _sources(root.resolve())
    root = tflm_crate.folder() / "submodules" / "tensorflow"
    if not root.is_dir():
        raise UserError(f"TFLite Micro is not here; bring its sources with: make tflm (or {CHECKOUT})")
    return _sources(root)


def _sources(root: Path) -> Sources:
    lite = root / "tensorflow" / "lite"
    micro = lite / "micro"
    downloads = micro / "tools" / "make" / "downloads"
    if not downloads.is_dir():
        raise UserError(f"{root} lacks third-party code; run in it: make -f tensorflow/lite/micro/tools/make/Makefile "
                        "third_party_downloads")  # fmt: skip
    current = (micro / "micro_log.h").is_file()
    kernels = [*micro.glob("kernels/*.cc"), *lite.glob("kernels/kernel_util.cc")]
    if current:
        converter = root / "tensorflow" / "compiler" / "mlir" / "lite"
        framework = [
            *micro.glob("*.cc"),
            *micro.glob("arena_allocator/*.cc"),
            *micro.glob("memory_planner/*.cc"),
            *micro.glob("tflite_bridge/*.cc"),
            *micro.glob("c/*.cc"),
            *lite.glob("core/api/*.cc"),
            *lite.glob("core/c/*.cc"),
            *converter.glob("core/api/*.cc"),
            *converter.glob("schema/schema_utils.cc"),
        ]
        # Checkouts of before 2026 have these two beside micro/, later ones in it; what is not there is not found.
        for folder in (lite / "kernels" / "internal", micro / "kernels" / "internal"):
            kernels += [*folder.glob("*.cc"), *folder.glob("reference/*.cc")]
    else:
        framework = [*micro.glob("*.cc"), *micro.glob("memory_planner/*.cc"), *lite.glob("core/api/*.cc")]
        framework.append(lite / "c" / "common.c")
        kernels.append(lite / "kernels" / "internal" / "quantization_util.cc")
    includes = (root, downloads, downloads / "gemmlowp", downloads / "flatbuffers" / "include", downloads / "ruy")
    return Sources(root, current, _ours(framework), _ours(kernels), includes)


def _ours(files: list[Path]) -> tuple[Path, ...]:
    """Without tests, what is for a desktop, and what brings all operators in."""
    unwanted = re.compile(
        r"_test\.cc$|test_helper|debug_log|micro_time|debug_tools|all_ops_resolver|mock_|fake_|/c_api|python"
    )
    return tuple(sorted(path for path in files if not unwanted.search(path.as_posix()) or path.name == "common.c"))


# ---- the library ----


def build_library(board: Board) -> Library:
    """The static library for the board's processor, kept in the cache by all that it depends on."""
    sources = find_sources()
    flags = (*board.cpu_flags, *FLAGS)
    key = repr((gcc_version(), sources.identity, flags, CXX_FLAGS, FRAMEWORK_LEVEL, KERNEL_LEVEL))
    includes = tuple(f"-I{path}" for path in sources.include_dirs)
    folder = CACHE / "libraries" / hashlib.sha256(key.encode()).hexdigest()[:16]
    archive = folder / "libtflm.a"
    kernels = {_member(path, sources): path for path in sources.kernels}
    if not archive.is_file():
        with _alone(folder):
            if not archive.is_file():
                members = kernels | {_member(path, sources): path for path in sources.framework}
                _compile_all(archive, members, frozenset(kernels), (*flags, *includes), lenient=sources.current)
    return Library(archive, sources, frozenset(kernels))


def _member(path: Path, sources: Sources) -> str:
    """An object's name: the source's path, since several folders hold an `add.cc`."""
    return "_".join(path.relative_to(sources.root / "tensorflow").with_suffix(".o").parts)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time builds in `folder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise BuildError(f"cannot write to {error.filename} ({error.strerror})") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile_all(
    archive: Path, members: dict[str, Path], kernels: frozenset[str], flags: tuple[str, ...], *, lenient: bool
) -> None:
    """Args: lenient: leave out what does not compile; a current checkout has kernels for other chips, too."""

    def compile_one(name: str) -> str | None:
        source, target = members[name], Path(folder) / name
        driver = (TOOLCHAIN + "gcc",) if source.suffix == ".c" else (TOOLCHAIN + "g++", *CXX_FLAGS)
        level = KERNEL_LEVEL if name in kernels else FRAMEWORK_LEVEL
        result = run_tool([*driver, *flags, level, "-c", str(source), "-o", str(target)])
        if result.returncode and not lenient:
            raise BuildError(f"{source} does not compile: {result.stderr.strip().splitlines()[0]}")
        return None if result.returncode else str(target)

    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            objects = [found for found in pool.map(compile_one, sorted(members)) if found]
        partial = Path(folder) / archive.name
        result = run_tool([TOOLCHAIN + "ar", "rcsD", str(partial), *objects])
        if result.returncode:
            raise BuildError(f"the library cannot be made: {result.stderr.strip()}")
        partial.replace(archive)


# ---- the image ----


def image_recipe(board: Board, library: Library, operators: frozenset[str]) -> Recipe:
    """The firmware with the interpreter and the kernels of `operators`, ready for any model that needs no others."""
    if board.model_slot is None:
        raise UserError(
            f"the board {board.name} has no model_slot in its board.json, which the runtime tflm needs; use another one"
        )
    base = recipe(replace(board, flash_size=board.model_slot - board.flash_origin), "tflm")
    header = _operators_folder(library.sources, operators)
    system = (f"-isystem{path}" for path in library.sources.include_dirs)
    # The identity keeps objects apart that were made with other headers: those are not looked at one by one.
    cxx = (
        *board.cpu_flags,
        *FLAGS,
        *CXX_FLAGS,
        FRAMEWORK_LEVEL,
        *system,
        f"-DTFLM_IDENTITY={library.sources.identity}",
    )
    return replace(
        base,
        include_dirs=(*base.include_dirs, header),
        cxx_flags=cxx,
        libraries=(library.archive,),
        link_flags=(*base.link_flags, f"-Wl,--defsym=_model_slot={board.model_slot:#x}"),
    )


def _operators_folder(sources: Sources, operators: frozenset[str]) -> Path:
    """A folder with operators.h, which firmware/runtimes/tflm/operators.cc includes."""
    names = sorted(operators)
    rows = " ".join(f"X({name}, {_method(name)})" for name in names)
    text = f"#define TFLM_OPERATOR_COUNT {max(1, len(names))}\n#define TFLM_OPERATORS(X) {rows}\n"
    folder = CACHE / "operators" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "operators.h"
    if not path.is_file():
        partial = folder / f"operators.h.{os.getpid()}.part"
        partial.write_text(text)
        partial.replace(path)
    return folder


def _method(operator: str) -> str:
    """CONV_2D -> Conv2D, as in the current generation's resolver.AddConv2D()."""
    return "".join(part if part[0].isdigit() else part.capitalize() for part in operator.split("_")).replace(
        "dv2", "dV2"
    )


def operators_of(tflite: bytes) -> frozenset[str]:
    """Names of the operators in the model, as the schema has them."""
    from tfsparse.compiler.reader import read_model

    return frozenset(operator.kind for operator in read_model(tflite).operators)


def check_operators(operators: frozenset[str], sources: Sources) -> None:
    """Raises UserError where this TFLite Micro has no int8 kernel for one of the model's operators."""
    micro = sources.root / "tensorflow" / "lite" / "micro"
    listing = micro / ("micro_mutable_op_resolver.h" if sources.current else "kernels/micro_ops.h")
    text = listing.read_text()
    missing = [
        name
        for name in sorted(operators)
        if not re.search(rf"\bAdd{_method(name)}\(" if sources.current else rf"\bRegister_{name}\(", text)
    ]
    if missing:
        way_out = "build the model without it" if sources.current else "name a current checkout in TFLM_DIR"
        raise UserError(f"this TFLite Micro has no int8 kernel for {', '.join(missing)}; {way_out}")


def slot_image(tflite: bytes, name: str) -> bytes:
    """What lies in the flash slot: a header of 32 bytes (struct Slot of runtime.cc), then the model."""
    label = name.encode("ascii", "replace")[: SLOT_NAME - 1]
    return struct.pack(f"<4sI{SLOT_NAME}s", b"TFLM", len(tflite), label) + tflite


def slot_crc(tflite: bytes) -> int:
    return zlib.crc32(tflite)


MAP_ROW = re.compile(r"^ (\.(?:text|rodata|data|isr_vector)\S*)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S.*)$", re.MULTILINE)


def kernel_flash(map_file: Path, library: Library) -> int:
    """Bytes of flash that the kernels take in the image, from the linker's map."""
    text = re.sub(
        r"^( \.\S+)\n\s+", r"\1 ", map_file.read_text().partition("Linker script and memory map")[2], flags=re.MULTILINE
    )
    total = 0
    for _, size, origin in MAP_ROW.findall(text):
        member = re.search(r"libtflm\.a\((\S+)\)$", origin)
        added = "/kernels_2020-" in origin
        if added or (member and member[1] in library.kernels):
            total += int(size, 16)
    return total


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m hil.tflm", description=__doc__.split("\n")[0])
    arguments.add_argument("--board", default=None, help=f"one of: {', '.join(board_names())}")
    options = arguments.parse_args()
    if not os.environ.get("TFLM_DIR"):
        tflm_crate.fetch()
    library = build_library(load_board(options.board) if options.board else load_board())
    print(f"TFLite Micro is ready: {library.archive}")
    return 0


if __name__ == "__main__":
    run_cli(main)
