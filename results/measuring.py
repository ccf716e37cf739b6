"""What an entry's figures are measured with: one way for the command that writes them and the one that checks them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.accuracy import accuracy_of
from hil.host import HostModel
from hil.reference import Reference, quantize
from results.table import DIGITS, FIGURES, RESULTS, ROWS
from tfsparse.compiler import CompiledModel, compile_model
from tfsparse.sensor import model_images

if TYPE_CHECKING:
    from hil.measurement import Measurement
    from hil.measurer import Measurer
    from tfsparse.candidate import Candidate
    from tfsparse_datasets import Split

CACHE = RESULTS.parent / ".cache" / "hil"

SAMPLE = 8
"""Images that the chip is given, too, to compare its outputs byte for byte."""


@dataclass(frozen=True)
class HostRun:
    """A model's generated C as a program of this machine, and TFLite's reference kernels beside it."""

    compiled: CompiledModel
    program: HostModel
    reference: Reference

    def accuracy(self, images: np.ndarray, labels: np.ndarray, progress: Callable[[int], None] | None = None) -> float:
        """Share of right answers of the generated C on uint8 images [N, H, W, C], rounded as the table is."""
        outputs = self.program(quantize(images, self.compiled), progress)
        return round(accuracy_of(outputs, labels, self.compiled), DIGITS)

    def equals_reference(self, images: np.ndarray) -> bool:
        """Whether the generated C gives the reference's outputs byte for byte."""
        inputs = quantize(images, self.compiled)
        return bool(np.array_equal(self.program(inputs), self.reference(inputs)))


@contextmanager
def host_run(tflite: bytes, fed: str) -> Iterator[HostRun]:
    """Compile a model to C and build it for this machine, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="tfsparse-") as folder:
        compiled = compile_model(tflite, Path(folder), by_rows=fed == ROWS)
        yield HostRun(compiled, HostModel(compiled), Reference(tflite, compiled))


@contextmanager
def measurers() -> Iterator[Callable[[str], Measurer]]:
    """The measurer on the emulated STM32F405 for each way to feed a model, made when it is asked for. What they build
    for every image is built once, and kept where `python -m hil.measure` keeps it."""
    from hil.measurer import Measurer

    made: dict[str, Measurer] = {}
    with tempfile.TemporaryDirectory(prefix="tfsparse-") as folder:
        workdir = CACHE if _is_writable(CACHE) else Path(folder)

        def measurer(fed: str) -> Measurer:
            if fed not in made:
                made[fed] = Measurer(workdir=workdir, by_rows=fed == ROWS)
            return made[fed]

        yield measurer


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def measure(measurer: Measurer, tflite: Path, fed: str, images: np.ndarray | None = None) -> Measurement:
    """On the chip, with `images` (uint8 [N, H, W, C]) or with the measurer's own random inputs."""
    if measurer.by_rows != (fed == ROWS):
        raise ValueError(f"the measurer does not feed models as the entry is fed: {fed}")
    return measurer.measure(tflite, images)


def figures_of(measurement: Measurement) -> dict[str, Any]:
    """An entry's sizes. Instructions and stack may depend on the inputs: they are those of the measurer's random ones,
    which are the same wherever they are made, so measure without images for this."""
    return {name: getattr(measurement, name) for name in FIGURES}


def images_for(candidate: Candidate, part: Split) -> np.ndarray:
    """The part's images as the candidate's model takes them, uint8."""
    return model_images(candidate, part.images)
