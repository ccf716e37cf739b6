"""What firmware/platform's SCons scripts need from the project, free of SCons itself."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil import tflm
from hil.build import ModelSource
from hil.device import Device
from hil.emulator import start_detached
from hil.footprint import read_footprint
from hil.images import TFLM
from hil.measurer import MODEL_BESIDE, check_ports
from hil.recipe import Recipe, check_model_name, load_board, recipe
from tfsparse.errors import UserError

SLOT_BESIDE = "slot.bin"


@dataclass(frozen=True)
class Request:
    """What the user wants in the image: environment variables first, then the options of platformio.ini."""

    model: str  # path of a .tflite or of a folder with model.h; "": the baseline
    name: str  # what the firmware calls the model
    runtime: str
    by_rows: bool = False

    @classmethod
    def of(cls, option: Any) -> Request:
        """`option`: PlatformIO's env.GetProjectOption."""
        return cls(
            model=os.environ.get("TFSPARSE_MODEL", option("custom_model", "")),
            name=os.environ.get("TFSPARSE_NAME") or option("custom_model_name", "model"),
            runtime=os.environ.get("TFSPARSE_RUNTIME") or option("custom_runtime", "sparse"),
            by_rows=_yes_or_no(os.environ.get("TFSPARSE_BY_ROWS") or option("custom_by_rows", "no")),
        )


def _yes_or_no(text: str) -> bool:
    if text.lower() not in ("yes", "no", "1", "0"):
        raise UserError(f"custom_by_rows and TFSPARSE_BY_ROWS take yes or no, not '{text}'")
    return text.lower() in ("yes", "1")


def image_recipe(board: str, request: Request, project: Path, build_dir: Path) -> Recipe:
    """The recipe of the image that is asked for.

    A .tflite is compiled to C into build_dir/model first, and kept beside the image, where `hil.measure` looks for the
    model of a firmware that already runs. With the runtime tflm the content of the flash slot lies there, too.
    """
    for beside in (MODEL_BESIDE, SLOT_BESIDE):
        (build_dir / beside).unlink(missing_ok=True)
    if not request.model:
        return recipe(load_board(board), "none")
    path = project / request.model  # an absolute path stays as it is
    name = check_model_name(request.name)
    if request.runtime == TFLM:
        if request.by_rows:
            raise UserError("TFLite Micro takes its input as a whole; feed it by rows with the runtime sparse")
        if not path.is_file():
            raise UserError(f"there is no model {path}; the runtime tflm takes a .tflite")
        found = _tflm_recipe(board, path, name, build_dir)
    else:
        source = model_source(path, build_dir / "model", name, by_rows=request.by_rows)
        found = recipe(load_board(board), request.runtime, source.directory, source.sources)
    if path.is_file():
        shutil.copyfile(path, build_dir / MODEL_BESIDE)
    return found


def _tflm_recipe(board: str, path: Path, name: str, build_dir: Path) -> Recipe:
    content, hardware = path.read_bytes(), load_board(board)
    library = tflm.build_library(hardware)
    operators = tflm.operators_of(content)
    tflm.check_operators(operators, library.sources)
    build_dir.mkdir(parents=True, exist_ok=True)
    (build_dir / SLOT_BESIDE).write_bytes(tflm.slot_image(content, name))
    return tflm.image_recipe(hardware, library, operators)


def slot_beside(elf: Path) -> Path | None:
    """The content of the flash slot that goes with an image of `image_recipe`."""
    path = elf.parent / SLOT_BESIDE
    return path if path.is_file() else None


def model_source(model: Path, out: Path, name: str, *, by_rows: bool = False) -> ModelSource:
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
    compiled = compile_model(model, out, name=name, by_rows=by_rows)
    check_ports(compiled)
    return ModelSource(compiled.directory, compiled.sources)


def add_image(env: Any, parts: Recipe, build_dir: Path) -> None:
    """Tell a SCons environment what the image is made of: flags, layout, sources, libraries."""
    env.Append(
        CFLAGS=list(parts.compile_flags),
        CXXFLAGS=list(parts.cxx_flags),
        CPPPATH=[str(path) for path in parts.include_dirs],
        LINKFLAGS=list(parts.link_flags),
        LIBS=[*(env.File(str(path)) for path in parts.libraries), *(("m",) if parts.libraries else ())],
    )
    env.Replace(
        LDSCRIPT_PATH=str(parts.linker_script),
        # The sources come from the recipe, in its order, not from a scan of src_dir.
        SRC_FILTER=["-<*>"],
    )
    env.Append(
        PIOBUILDFILES=[
            env.Object(str(build_dir / "objects" / source.parent.name / (source.stem + ".o")), str(source))
            for source in parts.sources
        ]
    )


def upload_to_emulator(elf: Path, board: str, port: int, state: Path) -> str:
    """(Re)start QEMU with `elf` on `port`, check that exactly this image answers there, and return its URL."""
    url = start_detached(elf, load_board(board), port, state, slot_beside(elf))
    with Device(url) as device:
        found = device.synchronise()
    wanted = read_footprint(elf).build_id
    if found != wanted:
        raise UserError(f"another firmware answers on {url} (build {found[:12]}, not {wanted[:12]}); end that program")
    return url
