"""One network, trained and pruned for the length of a rung, then compacted.

A candidate that prunes is trained in two phases: with variational noise and the KL ramping up, until log alpha tells
which weights are not needed; then, with those at exactly zero, for the rest of the rung, so that the weights that stay
recover what the noise cost them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from tfsparse.augment import Augmentation
from tfsparse.build import folded_weights, training_model
from tfsparse.candidate import Training
from tfsparse.fit import EpochResult, Evaluator, fit
from tfsparse.layers import VariationalLayer, freeze
from tfsparse.network import Network
from tfsparse.rewrite import OpWeights, compact
from tfsparse.schedule import Schedule

# A rung of length 1 shows this many training images, whatever the data set's size: trials cost about the same on all.
RUNG_SAMPLES = 60_000

# Of a pruning candidate's images, this share is seen after the weights are pruned.
RECOVERY = 0.3
# The recovery starts from weights that are nearly right.
RECOVERY_RATE = 0.3
# Variances have a longer way to go than weights, from nearly nothing to more than the weight itself.
VARIANCE_RATE = 2.0
CLIP_NORM = 2.0
# The KL's weight is counted as if a rung's images were a small set seen this often. A short look at a large set would
# otherwise prune nothing: there the evidence bound trusts the data, which training has hardly seen.
PASSES = 40
# An epoch is the unit of progress and of random order; there are at least this many in a phase.
LEAST_EPOCHS = 5


@dataclass(frozen=True)
class Rung:
    """How long a candidate is trained: `samples` training images where its `epochs` knob is 1."""

    samples: int

    @classmethod
    def of(cls, length: float) -> Rung:
        """A rung of `length` times the shortest."""
        return cls(round(RUNG_SAMPLES * length))


@dataclass(frozen=True)
class Trained:
    """A compacted network with its folded weights, and its accuracy in floats on the validation part."""

    network: Network
    weights: dict[str, OpWeights]
    val_accuracy: float


def train(
    network: Network,
    training: Training,
    images: np.ndarray,
    labels: np.ndarray,
    val_images: np.ndarray,
    val_labels: np.ndarray,
    *,
    rung: Rung,
    seed: int,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Trained:
    """Train on images [N, H, W, C] uint8 with labels [N]; `progress` is told the fraction done.

    Raises `TrainingDiverged` where the loss is no longer a number.
    """
    keras.utils.set_random_seed(seed)
    pruned = training.pruning != "none"
    model = training_model(network, variational=pruned)
    phases = _phases(training, round(rung.samples * training.epochs), len(images))
    total = sum(phase.epochs * _samples(phase, len(images)) for phase in phases)
    done = 0
    for number, phase in enumerate(phases):
        if number == 1:
            freeze(model, lambda layer: _threshold(layer, training))

        def advance(epoch: EpochResult, phase: Schedule = phase, before: int = done) -> None:
            progress((before + (epoch.epoch + 1) * _samples(phase, len(images))) / total)

        fit(
            model,
            images,
            labels,
            phase,
            augmentation=Augmentation(shift=2 * training.augmentation),
            seed=seed + number,
            progress=advance,
        )
        done += phase.epochs * _samples(phase, len(images))
    smaller, weights = compact(network, folded_weights(network, model))
    # The training model computes the same as the compacted network, so it need not be built again to be judged.
    return Trained(smaller, weights, Evaluator(model).accuracy(val_images, val_labels))


def _phases(training: Training, samples: int, available: int) -> tuple[Schedule, ...]:
    """The schedules of the phases, which together show `samples` images."""
    common = {
        "batch_size": training.batch_size,
        "decay": training.schedule,
        "weight_decay": training.weight_decay,
        "clip_norm": CLIP_NORM,
    }
    if training.pruning == "none":
        return (Schedule(**_epochs(samples, available), learning_rate=training.learning_rate, **common),)
    return (
        Schedule(
            **_epochs(samples * (1 - RECOVERY), available),
            learning_rate=training.learning_rate,
            variance_rate=VARIANCE_RATE,
            kl_weight=training.kl_weight * available / min(available, max(1.0, samples / PASSES)),
            kl_warmup=training.kl_warmup,
            **common,
        ),
        Schedule(
            **_epochs(samples * RECOVERY, available),
            learning_rate=training.learning_rate * RECOVERY_RATE,
            warmup=0.1,
            **common,
        ),
    )


def _epochs(samples: float, available: int) -> dict[str, int]:
    """So many epochs of so many samples that together they show `samples` images of those available."""
    epochs = max(LEAST_EPOCHS, round(samples / available))
    return {"epochs": epochs, "samples_per_epoch": min(available, max(1, round(samples / epochs)))}


def _samples(phase: Schedule, available: int) -> int:
    return min(available, phase.samples_per_epoch or available)


def _threshold(layer: VariationalLayer, training: Training) -> float:
    dense = "dense" in type(layer).__name__.lower()
    return training.threshold_dense if dense else training.threshold_convolution
