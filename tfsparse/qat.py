"""Quantisation-aware training that keeps zeros: the work of `finetune`'s own process.

TensorFlow Model Optimization works on tf_keras alone, and importing it turns the whole process over to that: nothing
but `finetune.Polisher`'s child imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer

from tfsparse.augment import Augmentation
from tfsparse.build import inference_model
from tfsparse.network import WEIGHTED, Network
from tfsparse.rewrite import OpWeights, Weights
from tfsparse.schedule import Schedule

# The ranges of activations are looked up anew so many times: the scheme's moving averages are slower than the training.
REFRESHED = 10
CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class Task:
    """A network to polish, with folded and rescaled weights, and what it is trained on: uint8 images [N, H, W, C] and
    labels [N], for so many `steps`."""

    network: Network
    weights: Weights
    images: np.ndarray
    labels: np.ndarray
    schedule: Schedule
    steps: int
    augmentation: Augmentation
    seed: int


def polish(task: Task) -> dict[str, OpWeights]:
    """The weights after training with int8's rounding simulated; every zero weight is still zero."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(task.seed)
    floats = inference_model(task.network, task.weights, every_tensor=True, framework=tf_keras)
    model = _quantised(task)
    schedule = task.schedule
    optimiser = tf_keras.optimizers.Adam(
        schedule.learning_rate, beta_1=schedule.beta1, beta_2=schedule.beta2, global_clipnorm=schedule.clip_norm
    )
    model.compile(optimiser, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(task.seed)
    calibration = task.images[rng.permutation(len(task.images))[:CALIBRATION_IMAGES]].astype(np.float32) / 255
    batch = min(schedule.batch_size, len(task.images))
    for step, rate in enumerate(schedule.learning_rates(task.steps)):
        if step % max(1, task.steps // REFRESHED) == 0:
            weights = _weights(task, model)
            _assign(floats, weights)
            _set_ranges(model, task.network, floats(calibration))
        chosen = rng.choice(len(task.images), batch, replace=False)
        moves, gains = task.augmentation.draw(rng, 1, batch)
        images = task.augmentation.move(tf.constant(task.images[chosen]), tf.constant(moves[0]))
        images = task.augmentation.brighten(tf.cast(images, tf.float32) / 255, tf.constant(gains[0]))
        optimiser.learning_rate.assign(rate)
        model.train_on_batch(images, task.labels[chosen])
        _clear_depthwise_zeros(task, model)
    return _weights(task, model)


def _quantised(task: Task) -> tf_keras.Model:
    model = inference_model(task.network, task.weights, framework=tf_keras)
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    return tfmot.quantization.keras.quantize_apply(annotated, scheme)


def _variables(task: Task, model: tf_keras.Model) -> dict[str, tuple[tf.Variable, tf.Variable]]:
    """Each weighted op's kernel and bias."""
    named = {variable.name.partition(":")[0]: variable for variable in model.trainable_weights}
    found = {}
    for op in task.network.ops:
        if op.kind in WEIGHTED:
            kernel = "depthwise_kernel" if op.kind == "depthwise" else "kernel"
            found[op.name] = named[f"{op.name}/{kernel}"], named[f"{op.name}/bias"]
    return found


def _clear_depthwise_zeros(task: Task, model: tf_keras.Model) -> None:
    """The scheme keeps the zeros of convolutions and dense layers, but not those of depthwise convolutions."""
    variables = _variables(task, model)
    for op in task.network.ops:
        if op.kind == "depthwise":
            kernel, _ = variables[op.name]
            kernel.assign(kernel * (task.weights[op.name].kernel[..., None] != 0))


def _weights(task: Task, model: tf_keras.Model) -> dict[str, OpWeights]:
    found = {}
    for name, (kernel, bias) in _variables(task, model).items():
        start = task.weights[name].kernel
        found[name] = OpWeights(kernel.numpy().reshape(start.shape) * (start != 0), bias.numpy())
    return found


def _assign(model: tf_keras.Model, weights: Weights) -> None:
    for name, values in weights.items():
        kernel, bias = model.get_layer(name).trainable_weights
        kernel.assign(values.kernel.reshape(kernel.shape))
        bias.assign(values.bias)


def _set_ranges(model: tf_keras.Model, network: Network, tensors: Mapping[str, tf.Tensor]) -> None:
    """Set the ranges of activations to those of the float network's `tensors`, by op."""
    for layer in model.layers:
        name = layer.name.removeprefix("quant_").removesuffix("_relu")
        tensor = tensors.get(network.ops[0].name if isinstance(layer, QuantizeLayer) else name)
        for variable in layer.weights if tensor is not None else ():
            kind = variable.name.rpartition("/")[2].partition(":")[0]
            if "kernel" not in kind and kind.endswith(("_min", "_max")):
                variable.assign(tf.reduce_max(tensor) if kind.endswith("_max") else tf.reduce_min(tensor))
