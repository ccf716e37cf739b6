"""The figures of one model on one target, and how they come from the image and from what the device tells."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tfsparse.errors import UserError

if TYPE_CHECKING:
    from hil.device import Memory
    from hil.footprint import Footprint
    from tfsparse.compiler import CompiledModel

ARENA_SYMBOL = "arena"
DB_SYMBOL = "db_buffer"
WHOLE, ROWS = "whole", "rows"
COUNTED = ("nnz", "model_size_counted", "working_memory_1", "working_memory_2", "macs")


class MeasurementError(UserError):
    """A measurement failed, or its parts disagree: there is no figure to trust."""


@dataclass(frozen=True)
class Measurement:
    """The figures of one model on one target, in DESIGN.md's words. Sizes in bytes; None = could not be known."""

    target: str
    runtime: str
    fed: str  # how the model takes its input: WHOLE or by ROWS
    flash_total: int | None  # .isr_vector + .text + .rodata + .data
    flash_model: int | None  # flash_total minus the baseline's
    payload: int | None  # the model's constant tables
    ram_total: int | None  # .data + .bss + the stack's high-water mark during an inference
    # Statics beyond the baseline's, without the harness's copy of the input, + stack. All of the input is in it, or,
    # where it is fed by rows, those held at a time.
    ram_model: int | None
    stack: int | None  # what an inference needs
    arena: int | None
    instructions: int | None  # of one inference; the largest of the inputs' (emulator only)
    cycles: int | None  # the same on a chip with a cycle counter
    milliseconds: float | None  # cycles at the chip's clock
    bit_exact: bool | None  # every output equal to the reference's; None: no reference at hand
    nnz: int | None
    model_size_counted: int | None
    working_memory_1: int | None
    working_memory_2: int | None
    macs: int | None
    inputs: int  # how many inputs were run and compared
    accuracy: float | None  # on the device, where labels were given
    seconds: dict[str, float]  # compile, measure
    max_difference: int | None = None  # of an output element from the reference's, in quantisation steps
    # Of the runtime tflm: flash_model = payload (the .tflite itself) + flash_kernels + flash_framework
    flash_kernels: int | None = None
    flash_framework: int | None = None
    arena_head: int | None = None  # of the arena: activations
    arena_tail: int | None = None  # of the arena: what lives as long as the interpreter

    def to_json(self) -> dict:
        """Same keys as a trial's record."""
        return asdict(self)


def check_image(image: Footprint, compiled: CompiledModel) -> None:
    """What the compiler planned must be what the linker placed."""
    arena, payload = image.size_of(ARENA_SYMBOL), tables_size(image, compiled)
    if arena != compiled.arena:
        raise MeasurementError(f"the plan has an arena of {compiled.arena} bytes and the image one of {arena}")
    if payload != compiled.payload:
        raise MeasurementError(f"the plan has tables of {compiled.payload} bytes and the image of {payload}")


def tables_size(image: Footprint, compiled: CompiledModel) -> int:
    """Bytes of the model's constant tables in the image: those of all layers, and the arrays named LAYER_role."""
    layers = "|".join(re.escape(layer.name) for layer in compiled.layers)
    table = re.compile(rf"streams|prefix_codes|({layers})_[a-z]+")
    return sum(s.size for s in image.symbols if s.is_object and s.section == ".rodata" and table.fullmatch(s.name))


def figures_of(
    image: Footprint, baseline: Footprint, memory: Memory, ticks: int | None, slot_model: int = 0
) -> dict[str, int | float | None]:
    """The figures that an image and a run on the device give together, with the baseline taken off.

    Args:
        slot_model: bytes of a model that lies in flash beside the image; its arena then is no static of the image.
    """
    statics = image.statics - image.size_of(DB_SYMBOL)
    baseline_statics = baseline.statics - baseline.size_of(DB_SYMBOL)
    arena, db = (memory.arena, memory.input) if slot_model else (0, 0)
    return {
        "flash_total": image.flash_total + slot_model,
        "flash_model": image.flash_total + slot_model - baseline.flash_total,
        "ram_total": image.statics + arena + db + memory.stack_invoke,
        "ram_model": statics - baseline_statics + arena + memory.stack,
        **device_figures(memory, ticks),
    }


def device_figures(memory: Memory, ticks: int | None) -> dict[str, int | float | None]:
    """What the device alone tells."""
    cycles = ticks if memory.tick == "cycle" else None
    return {
        "stack": memory.stack,
        "instructions": ticks if memory.tick == "instruction" else None,
        "cycles": cycles,
        "milliseconds": None if cycles is None else cycles / memory.ticks_per_lap / 1000,
    }


def counted_figures(compiled: CompiledModel) -> dict[str, int]:
    """The paper's figures, which the compiler counts."""
    return {name: getattr(compiled, name) for name in COUNTED}
