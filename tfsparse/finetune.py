"""Quantisation-aware polish of survivors: a short training with int8's rounding simulated, zeros kept.

It is worth its name only where it helps: a polished model takes a survivor's place if its int8 accuracy on the
validation part is better. The training runs in a process of its own, since TensorFlow Model Optimization asks for
another Keras than everything else here (`qat`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from hil.build import TooBigError
from hil.measure import Measurer
from tfsparse.attempts import GIVEN_UP, MOST, Attempts
from tfsparse.augment import augmentation_of
from tfsparse.build import fold_normalisation, inference_model
from tfsparse.candidate import FULL_BITS
from tfsparse.convert import CALIBRATION_IMAGES, STRENGTHS, Converted, rescaled, to_int8
from tfsparse.errors import UserError
from tfsparse.fit import Evaluator
from tfsparse.inherit import TrainedWeights
from tfsparse.job import own_figures
from tfsparse.network import WEIGHTED, Network
from tfsparse.quiet import child_importing
from tfsparse.rewrite import OpWeights, compact
from tfsparse.run_folder import Record, RunFolder
from tfsparse.schedule import Schedule
from tfsparse.sensor import model_images
from tfsparse.trial import MEASURED_IMAGES
from tfsparse_datasets import Dataset

# Weights are nearly right: few images, small steps.
IMAGES = 30_000
LEARNING_RATE = 1e-3
BATCH = 64


class FinetuneFailed(Exception):
    """The polish came to nothing; the message says why. The survivor stays as it was."""


class Polisher:
    """Polishes networks, one after the other, in a process that is started for the first and ended with this."""

    def __enter__(self) -> Polisher:
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, spawn, initializer=child_importing, initargs=("tfsparse.qat",))
        self._process = self._pool.submit(os.getpid)
        return self

    def __exit__(self, kind, *exception) -> None:
        if kind is not None and self._process.done() and self._process.exception() is None:
            # Nobody waits for what it does now, and it does not heed Ctrl-C.
            with suppress(ProcessLookupError):
                os.kill(self._process.result(), signal.SIGKILL)
        self._pool.shutdown(cancel_futures=True)

    def polish(self, weights: TrainedWeights, dataset: Dataset, *, seed: int, images: int = IMAGES) -> Converted:
        """Train the compacted network of `weights` on so many images of the training part; its new int8 model.

        Raises `FinetuneFailed`.
        """
        shown = model_images(weights.candidate, dataset.train.images)
        network, folded = compacted(weights)
        chosen = np.random.default_rng(seed).permutation(len(shown))[:CALIBRATION_IMAGES]
        calibration = shown[chosen].astype(np.float32) / 255
        batch = min(BATCH, len(shown))
        task = {
            "network": network,
            "weights": rescaled(network, folded, calibration, STRENGTHS[0]),
            "images": shown,
            "labels": dataset.train.labels,
            "schedule": Schedule(epochs=1, batch_size=batch, learning_rate=LEARNING_RATE, warmup=0.1, clip_norm=2.0),
            "steps": max(1, images // batch),
            "augmentation": augmentation_of(dataset.name, weights.candidate.training.augmentation),
            "seed": seed % 2**32,
        }
        try:
            polished = self._pool.submit(_polish, task).result()
        except BrokenProcessPool as error:
            raise FinetuneFailed("its process was killed, by a lack of memory perhaps") from error
        except Exception as error:
            raise FinetuneFailed(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
        validation = model_images(weights.candidate, dataset.validation.images)
        labels = dataset.validation.labels
        accuracy = Evaluator(inference_model(network, polished)).accuracy(validation, labels)
        return to_int8(network, polished, calibration, validation.astype(np.float32) / 255, labels, accuracy)


def compacted(weights: TrainedWeights) -> tuple[Network, dict[str, OpWeights]]:
    """A trained candidate's network without what is pruned, and its folded weights."""
    network, folded = weights.network, {}
    for op in network.ops:
        if op.kind not in WEIGHTED:
            continue
        state = weights.layers[op.name]
        kernel = state.kernel
        bias = state.bias if state.bias is not None else np.zeros(kernel.shape[-1], np.float32)
        if state.normalisation is not None:
            kernel, bias = fold_normalisation(kernel, bias, *state.normalisation)
        folded[op.name] = OpWeights(kernel.astype(np.float32), bias.astype(np.float32))
    return compact(network, folded)


def polish_survivors(
    folder: RunFolder,
    dataset: Dataset,
    measurer: Measurer,
    most: int,
    say: Callable[[str], None],
    hold: Callable[[], AbstractContextManager] = nullcontext,
) -> None:
    """Polish the survivors with the least errors, at most so many, that it was not tried on yet.

    A model whose int8 accuracy on the validation part is better afterwards, and that survives still (its bytes may have
    grown), takes the survivor's place; each one's gain is in its record, on disk before the next begins. What is put
    there is written within `hold()`, which keeps interrupts off.
    """
    # A polish would take weights off the few levels that they were trained on, and they would take more bytes.
    ours = [one for one in folder.survivors[:most] if one.candidate.training.weight_bits == FULL_BITS]
    waiting = [one for one in ours if one.polish is None and folder.weights_of(one.trial)]
    if not waiting:
        return
    attempts = Attempts(folder.path)
    with Polisher() as polisher:
        for record in waiting:
            name = f"polish of {record.name}"
            try:
                if attempts.died(name) >= MOST:
                    raise FinetuneFailed(GIVEN_UP)
                with attempts.at(name):
                    weights = TrainedWeights.from_bytes(folder.weights_of(record.trial))
                    polished = polisher.polish(weights, dataset, seed=record.seed)
                    gain = round(polished.accuracy - record.val_accuracy, 6)
                    better = _measured(record, polished, dataset, measurer) if gain > 0 else None
            except (FinetuneFailed, TooBigError) as error:
                say(f"{record.name}: no polish, {error}")
                with hold():
                    folder.amend([replace(record, polish=0.0)])
                continue
            except UserError as error:
                # A target that does not answer, say: another time it may.
                say(f"{record.name}: not polished now, {error}")
                continue
            if better is None or not folder.could_replace(better):
                say(f"{record.name}: polish does not help ({100 * gain:+.2f} points on validation)")
                with hold():
                    folder.amend([replace(record, polish=min(gain, 0.0))])
            else:
                say(f"{record.name}: polish gains {100 * gain:.2f} points on validation")
                with hold():
                    folder.replace_model(replace(better, polish=gain, test_accuracy=None), polished.tflite)


def _measured(record: Record, polished: Converted, dataset: Dataset, measurer: Measurer) -> Record | None:
    """The record with the polished model's figures; None where the target's outputs are not the reference's."""
    validation = model_images(record.candidate, dataset.validation.images)
    with tempfile.TemporaryDirectory(prefix="tfsparse-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(polished.tflite)
        measurement = measurer.measure(path, validation[:MEASURED_IMAGES])
    if not measurement.bit_exact:
        return None
    return replace(
        record, val_accuracy=polished.accuracy, note=polished.note, figures=own_figures(measurement.to_json())
    )


def _polish(task: dict) -> dict[str, OpWeights]:
    from tfsparse import qat

    return qat.polish(qat.Task(**task))
