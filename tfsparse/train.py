"""One network, trained and pruned for the length of a rung, then compacted.

A candidate that prunes is trained in phases: dense, so that weights find their places; with variational noise, first
on scales of whole groups of weights (structured pruning), then on single weights (unstructured pruning), the KL ramping
up until log alpha tells what is not needed; and with all that at exactly zero, so that what stays recovers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

from tfsparse.augment import augmentation_of
from tfsparse.build import absorb_scales, folded_weights, training_model
from tfsparse.candidate import FULL_BITS, Candidate, Training
from tfsparse.fit import Distillation, EpochResult, Evaluator, fit
from tfsparse.inherit import CALIBRATION_IMAGES, LayerState, TrainedWeights, inherit, layer_states
from tfsparse.layers import (
    DENSE,
    VARIATIONAL,
    GroupScale,
    VariationalDense,
    VariationalLayer,
    group_scales,
    start_noise,
    variational_layers,
    weight_layers,
)
from tfsparse.network import Network
from tfsparse.rewrite import OpWeights, compact
from tfsparse.rung import Rung
from tfsparse.schedule import Schedule

# The phases of each kind of pruning, and what share of the images is seen in them.
PHASES = {
    "none": (("dense", 1.0),),
    "unstructured": (("dense", 0.3), ("weights", 0.45), ("recovery", 0.25)),
    "structured": (("dense", 0.3), ("groups", 0.45), ("recovery", 0.25)),
    "both": (("dense", 0.25), ("groups", 0.25), ("weights", 0.3), ("recovery", 0.2)),
}
# The recovery starts from weights that are nearly right.
RECOVERY_RATE = 0.3
# Noise starts this far below the weights: from the paper's constant variance the climb would be as long as a rung.
FIRST_LOG_ALPHA = -4.0
# Variances have a longer way to go than weights, from nearly nothing to more than the weight itself.
VARIANCE_RATE = 3.0
CLIP_NORM = 2.0
# The KL's weight is counted as if a rung's images were a small set seen this often. A short look at a large set would
# otherwise prune nothing: there the evidence bound trusts the data, which training has hardly seen.
PASSES = 40
# The KL has its full weight where the data speak for the weights with so many nats: some six hundred weights take them
# when they begin to be noisy. With less (Chars4k's two classes after 30,000 images: 150 nats) the evidence bound is
# best where next to no weight is left, although the network would go on to learn: the KL's weight falls with this power
# of the evidence, more than in proportion, as many weights share it then. Both were chosen by validation on Chars4k and
# CIFAR-10, two classes each; trainings on digits and MNIST have more evidence.
FULL_EVIDENCE = 1500.0
EVIDENCE_POWER = 1.5
# An epoch is the unit of progress and of random order; there are at least this many in a phase.
LEAST_EPOCHS = 5
# A training that is watched is judged about so many times on its way.
WATCHED = 8

Watch = Callable[[float, float], bool]
"""Called on the way with the fraction of a training that is done and the validation accuracy there; ends it with
True."""


class TrainingStopped(Exception):
    """A training that its `Watch` ended, after this `fraction` of it."""

    def __init__(self, fraction: float):
        super().__init__(f"stopped after {100 * fraction:.0f} % of its training")
        self.fraction = fraction


@dataclass(frozen=True)
class Trained:
    """A compacted network with its folded weights, its accuracy in floats on the validation part, and the weights as
    trained, for children to inherit."""

    network: Network
    weights: dict[str, OpWeights]
    val_accuracy: float
    states: dict[str, LayerState]


@dataclass(frozen=True)
class Inheritance:
    """The candidate that is trained, and the parent whose weights it starts from."""

    candidate: Candidate
    parent: TrainedWeights


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
    inheritance: Inheritance | None = None,
    teacher: np.ndarray | None = None,
    dataset: str = "",
    progress: Callable[[float], None] = lambda fraction: None,
    watch: Watch | None = None,
) -> Trained:
    """Train on images [N, H, W, C] uint8 with labels [N], from fresh weights or from a parent's, and with the
    `teacher`'s logits [N, classes] where the candidate distils. `dataset` is the data's name: it tells which
    augmentation suits. `progress` is told the fraction done.

    Raises `TrainingDiverged` where the loss is no longer a number, and `TrainingStopped` where `watch` asks for it.
    """
    keras.utils.set_random_seed(seed)
    kinds = {kind for kind, _ in PHASES[training.pruning]}
    model = training_model(network, variational="weights" in kinds, scaled="groups" in kinds)
    if inheritance is not None:
        sample = np.random.default_rng(seed).permutation(len(images))[:CALIBRATION_IMAGES]
        shown = images[sample].astype(np.float32) / 255
        inherit(inheritance.parent, inheritance.candidate, network, model, shown)
    distillation = Distillation(teacher, training.distillation) if teacher is not None else None
    phases = _phases(training, round(rung.samples * training.epochs), len(images))
    total = sum(phase.epochs * _samples(phase, len(images)) for _, phase in phases)
    done, kl_share = 0, 1.0
    for number, (kind, phase) in enumerate(phases):
        _enter(model, kind, training)
        last = number == len(phases) - 1
        if last and training.weight_bits < FULL_BITS:
            # A channel's scale on what others read would take their weights off the levels.
            absorb_scales(network, model)

        def advance(epoch: EpochResult, phase: Schedule = phase, before: int = done) -> None:
            fraction = (before + (epoch.epoch + 1) * _samples(phase, len(images))) / total
            progress(fraction)
            if watch is not None and epoch.val_accuracy is not None and watch(fraction, epoch.val_accuracy):
                raise TrainingStopped(fraction)

        history = fit(
            model,
            images,
            labels,
            replace(phase, kl_weight=kl_share * phase.kl_weight),
            augmentation=augmentation_of(dataset, training.augmentation),
            seed=seed + number,
            progress=advance,
            distillation=distillation,
            # What is pruned first settles; weights get their levels in what follows.
            weight_bits=training.weight_bits if last else FULL_BITS,
            validation=(val_images, val_labels) if watch is not None else None,
            validate_every=max(1, round(total / WATCHED / _samples(phase, len(images)))),
        )
        done += phase.epochs * _samples(phase, len(images))
        if kind == "dense":
            kl_share = _kl_share(history.epochs[-1].loss, labels, rung.samples * training.epochs)
    smaller, weights = compact(network, folded_weights(network, model))
    # The training model computes the same as the compacted network, so it need not be built again to be judged.
    accuracy = Evaluator(model).accuracy(val_images, val_labels)
    return Trained(smaller, weights, accuracy, layer_states(network, model))


def _enter(model: keras.Model, kind: str, training: Training) -> None:
    """Begin a phase: what was noisy before is pruned for good, and what this phase is about becomes noisy."""
    for layer in variational_layers(model):
        if kind == "dense":
            layer.set_phase(DENSE)
        elif layer.phase == VARIATIONAL:
            layer.freeze(_threshold(layer, training))
    noisy = {"groups": group_scales, "weights": weight_layers}.get(kind, lambda model: [])(model)
    for layer in noisy:
        layer.set_phase(VARIATIONAL)
    start_noise(model, FIRST_LOG_ALPHA)


def _phases(training: Training, samples: int, available: int) -> list[tuple[str, Schedule]]:
    """The phases' kinds and schedules, which together show `samples` images."""
    phases = []
    for kind, share in PHASES[training.pruning]:
        changes: dict[str, float] = {"learning_rate": training.learning_rate}
        if kind in ("groups", "weights"):
            changes["variance_rate"] = VARIANCE_RATE
            changes["kl_weight"] = training.kl_weight * available / _counted(samples, available)
            changes["kl_warmup"] = training.kl_warmup
        elif kind == "recovery":
            changes = {"learning_rate": training.learning_rate * RECOVERY_RATE, "warmup": 0.1}
        schedule = Schedule(
            **_epochs(samples * share, available),
            batch_size=training.batch_size,
            decay=training.schedule,
            weight_decay=training.weight_decay,
            clip_norm=CLIP_NORM,
            **changes,
        )
        phases.append((kind, schedule))
    return phases


def _counted(samples: float, available: int) -> float:
    """How many images the KL is weighed against."""
    return min(available, max(1.0, samples / PASSES))


def _kl_share(loss: float, labels: np.ndarray, samples: float) -> float:
    """The share of its weight that the KL has after a dense phase that ended with this cross-entropy (nats): what was
    learnt over the classes' shares alone, of all images that count, against `FULL_EVIDENCE`."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    learnt = max(0.0, float(-(shares * np.log(shares)).sum()) - loss)
    return min(1.0, learnt * _counted(samples, len(labels)) / FULL_EVIDENCE) ** EVIDENCE_POWER


def _epochs(samples: float, available: int) -> dict[str, int]:
    """So many epochs of so many samples that together they show `samples` images of those available."""
    epochs = max(LEAST_EPOCHS, round(samples / available))
    return {"epochs": epochs, "samples_per_epoch": min(available, max(1, round(samples / epochs)))}


def _samples(phase: Schedule, available: int) -> int:
    return min(available, phase.samples_per_epoch or available)


def _threshold(layer: VariationalLayer, training: Training) -> float:
    if isinstance(layer, GroupScale):
        return training.threshold_group
    return training.threshold_dense if isinstance(layer, VariationalDense) else training.threshold_convolution
