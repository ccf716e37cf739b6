"""One candidate's way from the design space to figures: train and prune, convert, compile, measure on the target."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hil.build import TooBigError
from hil.measure import Measurement, Measurer
from tfsparse.candidate import Candidate
from tfsparse.compiler import check_model
from tfsparse.convert import CALIBRATION_IMAGES, CHOOSING_IMAGES, to_int8, untrained_model
from tfsparse.errors import UserError
from tfsparse.fit import TrainingDiverged
from tfsparse.inherit import TrainedWeights
from tfsparse.network import Infeasible, Network, network_of
from tfsparse.rung import Rung
from tfsparse.sensor import model_images
from tfsparse.teacher import teacher_logits
from tfsparse.train import Inheritance, Watch, train
from tfsparse_datasets import Dataset

# The target is given this many images of the validation part; its outputs must equal the reference's.
MEASURED_IMAGES = 4

# Pruning single weights may empty a channel: a candidate is trained although it holds so much more than the budget.
RAM_MARGIN = 1.1

# Bytes; what is not the arena of ram_model is less.
LARGEST_STACK = 4096

Progress = Callable[[str, float], None]
"""Called with a phase (size, train, convert, measure) and the fraction of it that is done."""


class TrialFailed(Exception):
    """A candidate that could not be judged; the message says why. The search records it and goes on."""


@dataclass(frozen=True)
class TrialResult:
    """What one trial found. `val_accuracy` is the int8 model's; `figures` are a measurement's words (see
    `hil.measure`); `weights` is what children inherit
    (`inherit.TrainedWeights.to_bytes`); `curve` holds the validation accuracy after fractions of the
    training, as far as it was watched."""

    val_accuracy: float
    float_val_accuracy: float
    figures: dict[str, Any]
    tflite: bytes
    note: str | None
    seconds: dict[str, float]
    weights: bytes
    curve: tuple[tuple[float, float], ...] = ()


def evaluate(
    candidate: Candidate,
    dataset: Dataset,
    *,
    rung: Rung,
    seed: int,
    measurer: Measurer,
    workdir: Path | None = None,
    parent: bytes | None = None,
    cache: Path | None = None,
    teacher_rung: Rung | None = None,
    ram_budget: int | None = None,
    progress: Progress = lambda phase, fraction: None,
    watch: Watch | None = None,
) -> TrialResult:
    """Train, prune, convert, compile and measure one candidate; everything is decided on the validation part.

    It starts from fresh weights, or from what it inherits of `parent` (`TrialResult.weights`). A candidate that distils
    is taught by the data set's teacher (`teacher.teacher_logits`), whose answers are kept in the folder `cache`
    and which learns for `teacher_rung` (None: as long as a short search can wait for).
    `watch` is shown the training's validation accuracy on its way and may end it. What the target refuses of the
    untrained network is not worth a training: feeding it by rows, if the measurer does that, and with a `ram_budget`
    (bytes of ram_model) more RAM, which is measured where the shapes alone do not show that it fits.

    Raises `train.TrainingStopped` where `watch` ends it, `Infeasible` where the candidate has no network for these
    images, cannot be fed by rows, holds too much RAM or does not fit the chip, and `TrialFailed` where training
    diverges or the target answers otherwise than the reference.
    """
    clock = _Clock()
    images = model_images(candidate, dataset.train.images)
    validation = model_images(candidate, dataset.validation.images)
    network = network_of(candidate, images.shape[1:], len(dataset.class_names))
    limited = ram_budget is not None and not candidate.training.prunes_groups and _may_exceed(network, ram_budget)
    if limited or measurer.by_rows:
        progress("size", 0.0)
        untrained = untrained_model(network, pruned=candidate.training.pruning != "none")
        if measurer.by_rows:
            _check_feeding(untrained)
        if limited:
            _check_ram(untrained, measurer, ram_budget, workdir)
        clock.lap("size")
    curve: list[tuple[float, float]] = []

    def watched(fraction: float, accuracy: float) -> bool:
        curve.append((round(fraction, 3), round(accuracy, 5)))
        return watch(fraction, accuracy)

    progress("train", 0.0)
    try:
        trained = train(
            network,
            candidate.training,
            images,
            dataset.train.labels,
            validation,
            dataset.validation.labels,
            rung=rung.affordable(network.macs),
            seed=seed,
            dataset=dataset.name,
            teacher=teacher_logits(dataset, cache, rung=teacher_rung) if candidate.training.distillation else None,
            inheritance=Inheritance(candidate, TrainedWeights.from_bytes(parent)) if parent is not None else None,
            progress=lambda fraction: progress("train", fraction),
            watch=watched if watch is not None else None,
        )
    except TrainingDiverged as error:
        raise TrialFailed(f"training diverged: {error}") from error
    clock.lap("train")

    progress("convert", 0.0)
    calibration = np.random.default_rng(seed).permutation(len(images))[:CALIBRATION_IMAGES]
    floats = validation.astype(np.float32) / 255
    converted = to_int8(
        trained.network,
        trained.weights,
        images[calibration].astype(np.float32) / 255,
        floats,
        dataset.validation.labels,
        trained.val_accuracy,
        weight_bits=candidate.training.weight_bits,
        choosing_images=None if rung.whole else CHOOSING_IMAGES,
    )
    clock.lap("convert")

    progress("measure", 0.0)
    measurement = _measure(converted.tflite, measurer, workdir, validation[:MEASURED_IMAGES])
    progress("measure", 1.0)
    if not measurement.bit_exact:
        raise TrialFailed("the target's outputs differ from the reference's: the figures cannot be trusted")
    weights = TrainedWeights.of(candidate, dataset.train.images.shape[1:], len(dataset.class_names), trained.states)
    return TrialResult(
        val_accuracy=converted.accuracy,
        float_val_accuracy=trained.val_accuracy,
        figures=measurement.to_json(),
        tflite=converted.tflite,
        note=converted.note,
        seconds={**clock.seconds, **measurement.seconds},
        weights=weights.to_bytes(),
        curve=tuple(curve),
    )


def _check_feeding(untrained: bytes) -> None:
    """Infeasible where the network cannot be fed by rows, which hangs on its layers alone."""
    try:
        check_model(untrained, by_rows=True)
    except UserError as error:
        raise Infeasible(str(error)) from error


def _may_exceed(network: Network, budget: int) -> bool:
    """Whether the network might hold more RAM than the budget: its largest layer is far from certain to fit.

    Shortcuts keep a third map alive beside a layer's input and output.
    """
    return 3 * network.memory_bound + LARGEST_STACK > budget


def _check_ram(untrained: bytes, measurer: Measurer, budget: int, workdir: Path | None) -> None:
    """Infeasible where the untrained network holds more RAM on the target than the budget.

    RAM hangs on the shapes and hardly on the weights, and a measurement costs a fraction of a training.
    """
    held = _measure(untrained, measurer, workdir).ram_model
    if held > RAM_MARGIN * budget:
        raise Infeasible(f"holds {held} bytes of RAM on the target before its training, over the {budget}", ram=held)


def _measure(tflite: bytes, measurer: Measurer, workdir: Path | None, inputs: np.ndarray | None = None) -> Measurement:
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(tflite)
        try:
            return measurer.measure(path, inputs)
        except TooBigError as error:
            raise Infeasible(str(error)) from error


class _Clock:
    """Seconds of wall-clock by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = now - self._last
        self._last = now
