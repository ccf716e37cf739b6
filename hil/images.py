"""Firmware images with a model in them, for every runtime, and the baseline that is taken off."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hil import tflm
from hil.build import Builder, ModelSource, TooBigError
from hil.footprint import Footprint, read_footprint
from hil.measurement import MeasurementError, check_image
from hil.recipe import Board

if TYPE_CHECKING:
    from hil.device import Memory
    from tfsparse.compiler import CompiledModel

TFLM = "tflm"


@dataclass(frozen=True)
class Image:
    """A firmware image with its model, ready to run. Sizes in bytes."""

    runtime: str
    elf: Path
    footprint: Footprint
    payload: int
    slot: Path | None = None  # what lies in the board's model slot beside the image
    slot_model: int = 0  # bytes of the model in it
    kernels: int | None = None  # flash of the kernels, where they can be told apart
    slot_crc: int | None = None
    by_rows: bool = False

    @property
    def settings(self) -> str:
        """What `pio run` is told, beside the model, to build this image."""
        runtime = "" if self.runtime == "sparse" else f"TFSPARSE_RUNTIME={self.runtime} "
        return runtime + ("TFSPARSE_BY_ROWS=yes " if self.by_rows else "")

    def check_slot(self, memory: Memory, target: str, tflite: Path) -> None:
        """The device must hold this very model, and be able to run it."""
        if memory.slot_crc != self.slot_crc:
            raise MeasurementError(f"{target} holds another model in its flash slot than {tflite}; upload it again")
        if memory.failure:
            reason = tflm.FAILURES.get(memory.failure, f"error {memory.failure}")
            raise MeasurementError(f"TFLite Micro does not run {tflite} on this board: {reason}")

    def check_device(self, memory: Memory, compiled: CompiledModel) -> None:
        """What the device tells of its model must be what was built."""
        # The arena of TFLite Micro is planned on the device; ours is planned by the compiler.
        arena = memory.arena if self.slot else compiled.arena
        told = (memory.runtime, memory.input, memory.row, memory.output, memory.arena, memory.payload)
        row = 0 if self.slot else compiled.row_size
        planned = (self.runtime, compiled.input_size, row, compiled.output_size, arena, self.payload)
        if told != planned:
            raise MeasurementError(f"the device tells {told} of its model and the plan is {planned}: they must agree")

    def parts(self, baseline: Footprint) -> dict[str, int | None]:
        """What the image has beyond the baseline, the model apart."""
        if self.kernels is None:
            return {}
        code = self.footprint.flash_total - baseline.flash_total
        return {"flash_kernels": self.kernels, "flash_framework": code - self.kernels}


class ImageBuilder:
    """Builds images for one board. What they share is made once and kept under `workdir`."""

    def __init__(self, board: Board, workdir: Path):
        self.board = board
        self._workdir = workdir
        self._builder = Builder(board, workdir / "objects")

    @cached_property
    def baseline(self) -> Footprint:
        """The same firmware without a model."""
        return read_footprint(self._builder.build(self._workdir / "baseline.elf", "none"))

    @cached_property
    def _library(self) -> tflm.Library:
        return tflm.build_library(self.board)

    def build(self, runtime: str, content: bytes, compiled: CompiledModel, name: str, folder: Path) -> Image:
        """The image of a model, in `folder`.

        Args:
            content: the .tflite; compiled: its C and figures; name: what the firmware calls it.

        Raises:
            TooBigError: it does not fit.
            UserError: a tool is missing, or the runtime cannot run this model.
        """
        return (self._tflm if runtime == TFLM else self._sparse)(content, compiled, name, folder)

    def _sparse(self, content: bytes, compiled: CompiledModel, name: str, folder: Path) -> Image:
        """The generated C in an image of its own."""
        source = ModelSource(compiled.directory, compiled.sources)
        elf = self._builder.build(folder / "firmware.elf", "sparse", source)
        footprint = read_footprint(elf)
        check_image(footprint, compiled)
        return Image("sparse", elf, footprint, compiled.payload, by_rows=compiled.row_size > 0)

    def _tflm(self, content: bytes, compiled: CompiledModel, name: str, folder: Path) -> Image:
        """TFLite Micro and the kernels that the model needs, made once a set of operators; the model in its slot."""
        if self._library is None:
            self._library = tflm.build_library(self.board)
        operators = tflm.operators_of(content)
        tflm.check_operators(operators, self._library.sources)
        recipe = tflm.image_recipe(self.board, self._library, operators)
        objects = self._builder.compile(self._builder.cache, recipe)
        key = hashlib.sha256(repr((recipe.libraries, recipe.link_flags, objects)).encode()).hexdigest()[:16]
        elf = self._workdir / TFLM / key / "firmware.elf"
        if not elf.is_file():
            elf.parent.mkdir(parents=True, exist_ok=True)
            self._builder.link(elf, objects, recipe)
        slot = folder / "slot.bin"
        slot.write_bytes(tflm.slot_image(content, name))
        if slot.stat().st_size > self.board.slot_size:
            raise TooBigError(
                f"the model takes {slot.stat().st_size:,} bytes and its flash slot has {self.board.slot_size:,}; "
                "use a smaller one"
            )
        kernels = tflm.kernel_flash(elf.with_suffix(".map"), self._library)
        crc = tflm.slot_crc(content)
        return Image(TFLM, elf, read_footprint(elf), len(content), slot, len(content), kernels, crc)
