"""Accuracy against zeros: LeNet-5 on MNIST, dense and then pruned at several KL weights and thresholds.

    python benchmarks/pruning_curve.py --data-dir DATA --out curve.jsonl [--json]

Every line of the table is a training from scratch of the same length as the dense one's: what pruning costs is what
accuracy the zeros cost, not what a longer training gains. `--out` keeps each result as it comes; a run that was stopped
goes on behind the last. One seed by default: at these accuracies a tenth of a point is noise.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tensorflow as tf

from tfsparse.build import inference_model
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.errors import run_cli
from tfsparse.network import network_of
from tfsparse.rewrite import nonzero
from tfsparse.rung import RUNG_SAMPLES, Rung
from tfsparse.train import train
from tfsparse_datasets import load

# LeNet-5 in the words of the design space, with its 6 and 16 maps widened to the 20 and 50 of Caffe's, as the papers on
# pruning take it.
LENET = Candidate(
    (
        Block((Layer("plain", 20, 5),), "max", 2),
        Block((Layer("plain", 50, 5),), "max", 2),
    ),
    dense=(200,),
)
TRAINING = Training(learning_rate=0.005, batch_size=128, weight_decay=1e-3)

# (kind of pruning, KL weight, threshold on log alpha)
POINTS = (
    ("none", 0.0, 3.0),
    ("unstructured", 0.3, 3.0),
    ("unstructured", 1.0, 3.0),
    ("unstructured", 3.0, 3.0),
    ("unstructured", 1.0, 0.0),
    ("both", 1.0, 3.0),
    ("structured", 1.0, 3.0),
)


@dataclass(frozen=True)
class Point:
    """One training: `zeros` and `accuracy` (of the test part) are fractions, memory is the shapes' bound in bytes."""

    pruning: str
    kl_weight: float
    threshold: float
    seed: int
    zeros: float
    accuracy: float
    nnz: int
    macs: int
    memory: int
    seconds: float


def measure(dataset, pruning: str, kl_weight: float, threshold: float, *, seed: int, samples: int) -> Point:
    """Train LeNet-5 once on `samples` images and judge it on the test part."""
    start = perf_counter()
    network = network_of(LENET, dataset.train.images.shape[1:], len(dataset.class_names))
    training = replace(
        TRAINING,
        pruning=pruning,
        kl_weight=kl_weight,
        threshold_convolution=threshold,
        threshold_dense=threshold,
        threshold_group=threshold,
    )
    parts = (dataset.train.images, dataset.train.labels, dataset.validation.images, dataset.validation.labels)
    result = train(network, training, *parts, rung=Rung(samples), seed=seed, dataset=dataset.name)
    model = inference_model(result.network, result.weights)
    right = [
        np.asarray(model(dataset.test.images[at : at + 500] / np.float32(255))).argmax(-1)
        == dataset.test.labels[at : at + 500]
        for at in range(0, len(dataset.test.labels), 500)
    ]
    nnz = nonzero(result.weights)
    return Point(
        pruning,
        kl_weight,
        threshold,
        seed,
        1 - nnz / network.weight_count,
        float(np.concatenate(right).mean()),
        nnz,
        result.network.macs,
        result.network.memory_bound,
        round(perf_counter() - start, 1),
    )


def summary(points: list[Point]) -> dict[str, Any]:
    """The dense accuracy, and how far below it the best nets with at least 90 and 98 % zeros are, in points."""
    dense = max((point.accuracy for point in points if point.pruning == "none"), default=None)
    losses = {}
    for zeros in (0.9, 0.98):
        best = max((point.accuracy for point in points if point.zeros >= zeros), default=None)
        known = dense is not None and best is not None
        losses[f"loss_at_{round(100 * zeros)}_zeros"] = round(100 * (dense - best), 3) if known else None
    return {"dense_accuracy": dense, **losses, "points": [vars(point) for point in points]}


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, help="keep results here, and go on behind those that are there")
    parser.add_argument("--samples", type=int, default=10 * RUNG_SAMPLES, help="training images shown to each net")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    # On one thread a network this small loses little, and runs can go side by side.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset = load(options.dataset, options.data_dir)
    points = []
    if options.out and options.out.exists():
        points = [Point(**json.loads(line)) for line in options.out.read_text().splitlines()]
    done = {(point.pruning, point.kl_weight, point.threshold, point.seed) for point in points}
    for seed in range(options.seeds):
        for pruning, kl_weight, threshold in POINTS:
            if (pruning, kl_weight, threshold, seed) in done:
                continue
            point = measure(dataset, pruning, kl_weight, threshold, seed=seed, samples=options.samples)
            points.append(point)
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(vars(point)) + "\n")
            if not options.json:
                print(
                    f"{pruning:12} KL {kl_weight:<4} threshold {threshold:<4} zeros {100 * point.zeros:6.2f} %  "
                    f"test {100 * point.accuracy:6.2f} %  {point.macs} MACs  {point.memory} B  {point.seconds} s",
                    flush=True,
                )
    found = summary(points)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print({name: value for name, value in found.items() if name != "points"})


if __name__ == "__main__":
    run_cli(main)
