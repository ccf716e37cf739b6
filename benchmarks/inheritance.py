"""What inheriting pays: how much training a child needs from fresh weights to be as good as one that inherits.

    python benchmarks/inheritance.py [--seeds 5] [--json]

For each seed one parent is trained for a whole rung, and children of several families of morphs for a few lengths, each
once with what it inherits and once from fresh weights. The curves are mean validation accuracies over families and
seeds; `ratio` is, at the accuracy of the shortest inheriting training, how many times as much training fresh weights
need for the same (interpolated on the logarithm of the length).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.errors import run_cli
from tfsparse.inherit import TrainedWeights
from tfsparse.network import network_of
from tfsparse.rung import RUNG_SAMPLES, Rung
from tfsparse.train import Inheritance, train
from tfsparse_datasets import Dataset, load

PARENT = Candidate(
    (
        Block((Layer("plain", 6, 3),)),
        Block((Layer("separable", 8, 3),), factor=2),
    ),
    head="depthwise",
)
# Lengths of the children's training, of a whole rung.
LENGTHS = (0.05, 0.15, 0.4, 0.8)


def children(parent: Candidate) -> dict[str, Candidate]:
    """One child of each of the commonest families of morphs."""
    first, second = parent.blocks
    wider = replace(second, layers=(Layer("separable", 12, 3),))
    deeper = replace(first, layers=(*first.layers, Layer("separable", 6, 3)))
    residual = Block((Layer("separable", 8, 3),), residual=True)
    return {
        "filters": replace(parent, blocks=(first, wider)),
        "kernel": replace(parent, blocks=(replace(first, layers=(Layer("plain", 6, 5),)), second)),
        "add layer": replace(parent, blocks=(deeper, second)),
        "add block": replace(parent, blocks=(first, second, residual)),
        "convolution": replace(parent, blocks=(first, replace(second, layers=(Layer("plain", 8, 3),)))),
        "pruning": replace(parent, training=replace(parent.training, pruning="unstructured", kl_weight=0.5)),
    }


def curves(dataset: Dataset, *, seeds: int, samples: int, tell: bool) -> dict[str, list[dict[str, Any]]]:
    """Every training's family, length and accuracy, by start: `inherited` and `fresh`."""
    found: dict[str, list[dict[str, Any]]] = {"inherited": [], "fresh": []}
    shape, classes = dataset.train.images.shape[1:], len(dataset.class_names)
    parts = (dataset.train.images, dataset.train.labels, dataset.validation.images, dataset.validation.labels)
    for seed in range(seeds):
        network = network_of(PARENT, shape, classes)
        parent = train(network, PARENT.training, *parts, rung=Rung(samples), seed=seed)
        weights = TrainedWeights.of(PARENT, shape, classes, parent.states)
        for family, child in children(PARENT).items():
            network = network_of(child, shape, classes)
            for length in LENGTHS:
                for start, inheritance in (("inherited", Inheritance(child, weights)), ("fresh", None)):
                    rung = Rung(round(length * samples))
                    result = train(
                        network, child.training, *parts, rung=rung, seed=1000 + seed, inheritance=inheritance
                    )
                    record = {"seed": seed, "family": family, "length": length, "accuracy": result.val_accuracy}
                    found[start].append(record)
            if tell:
                last = [f"{found[start][-1]['accuracy']:.4f}" for start in found]
                print(
                    f"seed {seed} (parent {parent.val_accuracy:.4f}) {family}: at the end {' '.join(last)}", flush=True
                )
    return found


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean curves, by family as well, and how much more training fresh weights need."""

    def curve(start: str, family: str | None = None) -> list[float]:
        chosen = [one for one in found[start] if family in (None, one["family"])]
        return [float(np.mean([one["accuracy"] for one in chosen if one["length"] == length])) for length in LENGTHS]

    families = sorted({one["family"] for one in found["fresh"]})
    return {
        "lengths": LENGTHS,
        "ratio": ratio(curve("inherited"), curve("fresh")),
        "ratios": {family: ratio(curve("inherited", family), curve("fresh", family)) for family in families},
        "inherited": curve("inherited"),
        "fresh": curve("fresh"),
        "families": {family: {start: curve(start, family) for start in ("inherited", "fresh")} for family in families},
    }


def ratio(inherited: list[float], fresh: list[float]) -> float:
    """How many times the shortest length fresh weights need for what inheriting has there; the longest length where
    they never get it, so that the ratio is a lower bound there."""
    best = np.maximum.accumulate(fresh)
    if inherited[0] >= best[-1]:
        return LENGTHS[-1] / LENGTHS[0]
    return float(np.exp(np.interp(inherited[0], best, np.log(LENGTHS))) / LENGTHS[0])


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=RUNG_SAMPLES, help="images of a whole rung")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    # Trainings this small gain nothing from more threads.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    dataset = load(options.dataset, options.data_dir)
    found = summary(curves(dataset, seeds=options.seeds, samples=options.samples, tell=not options.json))
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print("training    inherited  fresh")
    for length, one, other in zip(found["lengths"], found["inherited"], found["fresh"], strict=True):
        print(f"{length:8} x  {100 * one:8.2f} %  {100 * other:.2f} %")
    by_family = ", ".join(f"{family} {value:.1f}" for family, value in found["ratios"].items())
    print(f"fresh weights need {found['ratio']:.1f} times the training ({by_family})")


if __name__ == "__main__":
    run_cli(main)
