"""Candidates an hour: ours on two one-thread workers against the plain way, with the same candidates, epochs and data.

    python benchmarks/throughput.py --data-dir DATA [--candidates 6] [--json]

Both judge the same candidates from fresh weights, all the way: training, int8, C, the emulated chip. The plain way is
one process with two threads whose every phase is Keras' `model.fit` on a tf.data pipeline, its learning rate and KL
weight set by a schedule and a callback, without XLA (which makes the variational layers slower on a CPU); conversion
and measurement are the same code. `ratio` is ours over plain; by phases it shows where the time goes. One run of each,
one after the other, on a machine that should do nothing else.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

from tfsparse.candidate import Candidate
from tfsparse.errors import run_cli
from tfsparse.quiet import child_importing

CORES = 2


@dataclass(frozen=True)
class Way:
    """One way's figures: wall-clock seconds of all candidates, and seconds by phase, summed over candidates."""

    seconds: float
    candidates: int
    phases: dict[str, float]
    accuracies: list[float] = field(default_factory=list)

    @property
    def per_hour(self) -> float:
        return 3600 * self.candidates / self.seconds


@dataclass
class _Worker:
    """What a worker process keeps between candidates."""

    dataset: Any = None
    measurer: Any = None


_worker = _Worker()


def prepare(threads: int, dataset: str, data_dir: Path | None) -> None:
    """Begin a worker: TensorFlow on so many threads, the data, a measurer of its own."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    child_importing("tfsparse.trial")
    import tensorflow as tf

    from hil.measure import Measurer
    from tfsparse_datasets import load

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    _worker.dataset = load(dataset, data_dir)
    _worker.measurer = Measurer(target="emulator", runtime="sparse", workdir=Path(tempfile.mkdtemp()))


def judge(candidate: Candidate, seed: int, rung: float, plain: bool) -> tuple[float, dict[str, float]]:
    """One candidate's validation accuracy and seconds by phase, in a worker."""
    from tfsparse import train
    from tfsparse.rung import Rung
    from tfsparse.trial import evaluate

    loop = plain_fit if plain else train.fit
    with mock.patch.object(train, "fit", loop):
        result = evaluate(candidate, _worker.dataset, rung=Rung.of(rung), seed=seed, measurer=_worker.measurer)
    return result.val_accuracy, result.seconds


def plain_fit(
    model, images, labels, schedule, *, augmentation, seed, progress=None, distillation=None, **options
) -> None:
    """A phase of training as Keras' own tools have it: tf.data and `model.fit`."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfsparse.layers import KLWeight, set_kl_weight

    keras.utils.set_random_seed(seed % 2**31)
    steps = max(1, min(schedule.samples_per_epoch or len(images), len(images)) // schedule.batch_size)
    rates = schedule.learning_rates(steps * schedule.epochs).astype(np.float32)
    kl_weights = schedule.kl_weights(steps * schedule.epochs) / len(images)

    class Rate(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return tf.gather(rates, tf.minimum(tf.cast(step, tf.int32), len(rates) - 1))

    height, width, channels = images.shape[1:]
    reach = int(augmentation.reach)

    def augmented(image, answer):
        image = tf.cast(image, tf.float32) / 255
        if reach:
            image = tf.pad(image, [[reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
            image = tf.image.random_crop(image, [height, width, channels])
        if augmentation.flip:
            image = tf.image.random_flip_left_right(image)
        if augmentation.brightness:
            gain = 1 + tf.random.uniform([], -1, 1) * augmentation.brightness
            image = tf.minimum(image * gain, 1)
        return image, answer

    answers = labels.astype(np.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if distillation is not None:
        weight, temperature = distillation.weight, distillation.temperature
        classes = distillation.logits.shape[1]
        taught = tf.nn.softmax(distillation.logits / temperature).numpy()
        answers = np.concatenate([np.eye(classes, dtype=np.float32)[labels], taught], axis=1)

        def loss(truth, logits):
            hard = tf.nn.softmax_cross_entropy_with_logits(truth[:, :classes], logits)
            soft = tf.nn.softmax_cross_entropy_with_logits(truth[:, classes:], logits / temperature)
            return (1 - weight) * hard + weight * temperature**2 * soft

    data = tf.data.Dataset.from_tensor_slices((images, answers)).shuffle(10_000).repeat()
    data = data.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).batch(schedule.batch_size).prefetch(2)
    optimiser = keras.optimizers.AdamW(
        Rate(), schedule.weight_decay, beta_2=schedule.beta2, global_clipnorm=schedule.clip_norm
    )
    kl = KLWeight(0.0)
    set_kl_weight(model, kl)
    warming = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: kl.assign(float(kl_weights[epoch * steps : (epoch + 1) * steps].mean()))
    )
    model.compile(optimiser, loss, jit_compile=False)
    # Keras would shuffle arrays itself, and says that this pipeline it does not.
    warnings.filterwarnings("ignore", message=".*shuffle=True.*")
    model.fit(data, epochs=schedule.epochs, steps_per_epoch=steps, callbacks=[warming], verbose=0)
    set_kl_weight(model, None)


def run(candidates: list[Candidate], options: argparse.Namespace, *, plain: bool) -> Way:
    """Judge all candidates one way; the workers' start is not counted (a search pays it once)."""
    workers, threads = (1, CORES) if plain else (CORES, 1)
    spawn = multiprocessing.get_context("spawn")
    arguments = (threads, options.dataset, options.data_dir)
    with ProcessPoolExecutor(workers, spawn, initializer=prepare, initargs=arguments) as pool:
        # As many trifles as workers at once, so that each has begun.
        list(pool.map(_rest, range(workers)))
        start = perf_counter()
        jobs = [pool.submit(judge, one, seed, options.rung, plain) for seed, one in enumerate(candidates)]
        results = [job.result() for job in jobs]
        seconds = perf_counter() - start
    phases: dict[str, float] = {}
    for _, spent in results:
        for phase, value in spent.items():
            phases[phase] = round(phases.get(phase, 0.0) + value, 2)
    return Way(round(seconds, 2), len(candidates), phases, [round(accuracy, 4) for accuracy, _ in results])


def _rest(number: int) -> None:
    import time

    time.sleep(1.0)


def chosen(dataset: str, data_dir: Path | None, count: int, seed: int) -> list[Candidate]:
    """Candidates as a search begins: spread over the whole space."""
    from tfsparse.budgets import Budgets
    from tfsparse.proposals import Proposer
    from tfsparse.space import DesignSpace
    from tfsparse_datasets import load

    data = load(dataset, data_dir)
    hard = Budgets(flash=1024 * 1024, ram=128 * 1024)
    space = DesignSpace(tuple(data.shape), len(data.class_names), hard)
    proposer = Proposer(space, Budgets(None, None), seed)
    known: list[Candidate] = []
    for trial in range(count):
        known.append(proposer.propose(trial, 0.0, count + 1, [], known).candidate)
    return known


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--candidates", type=int, default=6)
    parser.add_argument("--rung", type=float, default=1.0, help="length of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    candidates = chosen(options.dataset, options.data_dir, options.candidates, options.seed)
    ways = {"plain": run(candidates, options, plain=True), "ours": run(candidates, options, plain=False)}
    ratio = ways["ours"].per_hour / ways["plain"].per_hour
    if options.json:
        found = {name: {**vars(way), "per_hour": round(way.per_hour, 1)} for name, way in ways.items()}
        print(json.dumps({"ratio": round(ratio, 3), "candidates": len(candidates), **found}, indent=2))
        return
    for name, way in ways.items():
        spent = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in way.phases.items())
        print(f"{name:6} {way.per_hour:7.1f} candidates an hour  ({way.seconds:.1f} s; by phase, in s: {spent})")
    print(f"ratio  {ratio:7.2f}")


if __name__ == "__main__":
    run_cli(main)
