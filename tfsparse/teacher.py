"""A teacher: a wide network, trained once on a data set, whose answers small networks can learn from.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531: beside the labels, a
student learns the teacher's probabilities at a raised temperature. The teacher answers once for every training image,
as it is; these logits are all that students see of it, and they are kept in a file for later runs and other workers.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tfsparse.build import inference_model
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.network import network_of
from tfsparse.rung import Rung
from tfsparse.train import train
from tfsparse_datasets import Dataset

TEACHER = Candidate(
    (
        Block((Layer("plain", 16, 3),), "stride", 2),
        Block((Layer("plain", 24, 3),), "stride", 2),
        Block((Layer("plain", 32, 3),)),
        Block((Layer("plain", 32, 3),), residual=True),
    ),
    head="average",
    training=Training(learning_rate=0.01, batch_size=128, weight_decay=1e-2, dropout=0.2),
)
# Trained once, its quality is what all students see: longer than a student's first rung, but a search of a few minutes
# must be able to wait for it, and on a small set only until it knows it. Every image seen a hundred times, its answers
# would say no more than the labels.
LENGTH = 1.5
PASSES = 25
_BATCH = 500

_known: dict[str, np.ndarray] = {}


def teacher_logits(dataset: Dataset, folder: Path | None = None, *, rung: Rung | None = None) -> np.ndarray:
    """The teacher's logits for the training images, float32 [N, classes].

    They are made at the first call for a data set, which takes as long as training does; afterwards they come from
    memory or from a file in `folder` (if there is one), named after the data and the length of training.
    """
    rung = rung or Rung(min(Rung.of(LENGTH).samples, PASSES * len(dataset.train.labels)))
    name = f"teacher-{_fingerprint(dataset)}-{rung.samples}.npy"
    if name in _known:
        return _known[name]
    path = folder / name if folder is not None else None
    logits = _read(path, dataset)
    if logits is None:
        logits = _train(dataset, rung)
        if path is not None:
            _write(path, logits)
    _known[name] = logits
    return logits


def _fingerprint(dataset: Dataset) -> str:
    """Eight hexadecimal digits that tell one set of training images and labels from another."""
    images, labels = dataset.train.images, dataset.train.labels
    return f"{zlib.crc32(np.ascontiguousarray(labels), zlib.crc32(np.ascontiguousarray(images))):08x}"


def _train(dataset: Dataset, rung: Rung) -> np.ndarray:
    images, validation = dataset.train.images, dataset.validation
    network = network_of(TEACHER, images.shape[1:], len(dataset.class_names))
    parts = (images, dataset.train.labels, validation.images, validation.labels)
    trained = train(network, TEACHER.training, *parts, rung=rung, seed=0, dataset=dataset.name)
    model = inference_model(trained.network, trained.weights)
    starts = range(0, len(images), _BATCH)
    return np.concatenate([np.asarray(model(images[at : at + _BATCH] / np.float32(255))) for at in starts])


def _read(path: Path | None, dataset: Dataset) -> np.ndarray | None:
    """The logits in a file; None where there are none, or a kill left half of them."""
    try:
        logits = np.load(path) if path is not None else None
    except (OSError, ValueError, EOFError):
        return None
    fits = logits is not None and logits.shape == (len(dataset.train.labels), len(dataset.class_names))
    return logits if fits else None


def _write(path: Path, logits: np.ndarray) -> None:
    """Under its name at once: another worker may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.save(file, logits)
    os.replace(file.name, path)
