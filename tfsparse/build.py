"""Networks as Keras models: one to train and prune, one to convert.

The training model follows each `normalised` op by batch normalisation, and its weighted layers are variational where
the candidate prunes single weights; where it prunes groups of weights, scales stand between them. The inference model
holds folded weights and computes exactly what the chip will, but in floats.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from types import ModuleType

import keras
import numpy as np

from tfsparse.groups import GroupMembers, group_members, scales_on_the_way
from tfsparse.layers import (
    FusedBatchNormalization,
    GroupScale,
    VariationalConv2D,
    VariationalDense,
    VariationalDepthwiseConv2D,
    group_scales,
)
from tfsparse.network import WEIGHTED, Network, Op
from tfsparse.rewrite import OpWeights, Ranges, Weights

# Batch normalisation's running figures follow within some ten steps: trials are short.
MOMENTUM = 0.9
EPSILON = 1e-3
# Most weights belong to two groups: the channel's that they make, and the one's that they read.
GROUP_SHARE = 0.5

_PLAIN = {"conv": "Conv2D", "depthwise": "DepthwiseConv2D", "dense": "Dense"}
_VARIATIONAL = {
    "conv": VariationalConv2D,
    "depthwise": VariationalDepthwiseConv2D,
    "dense": VariationalDense,
}


def training_model(network: Network, *, variational: bool, scaled: bool = False) -> keras.Model:
    """A Keras model of the logits, weights fresh. `variational`: its weighted layers learn which weights to drop;
    `scaled`: scales of channels, units and the first dense layer's inputs learn which of those to drop."""
    layers = _VARIATIONAL if variational else {kind: getattr(keras.layers, name) for kind, name in _PLAIN.items()}
    scales = {name: _scale_layer(network, name, among) for name, among in group_members(network).items()}
    scaled_tensors: dict[tuple[str, str], keras.KerasTensor] = {}

    def read(op: Op, name: str, tensor: keras.KerasTensor) -> keras.KerasTensor:
        for scale in scales_on_the_way(network, op, name) if scaled else ():
            if (name, scale) not in scaled_tensors:
                scaled_tensors[name, scale] = scales[scale](tensor)
            tensor = scaled_tensors[name, scale]
        return tensor

    def apply(op: Op, tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
        tensors = [read(op, name, tensor) for name, tensor in zip(op.inputs, tensors, strict=True)]
        if op.kind in WEIGHTED:
            tensor = layers[op.kind](**_arguments(op), use_bias=not op.normalised, name=op.name)(tensors[0])
        else:
            tensor = _unweighted(op, tensors, keras.layers)
        if op.normalised:
            normalisation = FusedBatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{op.name}_normalisation")
            tensor = normalisation(tensor)
        if op.activation == "relu":
            tensor = keras.layers.ReLU(name=f"{op.name}_relu")(tensor)
        if op.dropout:
            tensor = keras.layers.Dropout(op.dropout, name=f"{op.name}_dropout")(tensor)
        return tensor

    image = keras.Input(network.input_shape, name="image")
    return keras.Model(image, _wire(network, image, apply)[network.output.name], name="candidate")


def effective_kernel(network: Network, model: keras.Model, op: Op) -> np.ndarray:
    """A weighted op's kernel (`Network.kernel_shape`, float32) as the training model's inference uses it: pruned
    weights exactly zero, and the scales of its inputs multiplied in, so that a pruned group's weights are zero too."""
    layer = model.get_layer(op.name)
    kernel = np.asarray(layer.effective_kernel() if hasattr(layer, "effective_kernel") else layer.kernel)
    if op.kind == "depthwise":
        return kernel.reshape(kernel.shape[:3])
    return kernel * _input_scale(network, model, op, op.inputs[0])[:, None]


def absorb_scales(network: Network, model: keras.Model) -> None:
    """Multiply the scales of groups into the kernels that read them; from then on they are 1, or 0 where pruned, and
    do not train. The model computes the same."""
    scales = group_scales(model)
    for op in network.ops:
        if scales and op.kind in ("conv", "dense"):
            layer = model.get_layer(op.name)
            layer.kernel.assign(layer.kernel * _input_scale(network, model, op, op.inputs[0])[:, None])
    for layer in scales:
        kept = np.asarray(layer.effective_kernel()) != 0
        layer.kernel.assign(kept.astype(np.float32))
        layer.trainable = False


def folded_weights(network: Network, model: keras.Model) -> dict[str, OpWeights]:
    """The training model's weights as inference uses them: pruned weights exactly zero, scales and batch normalisation
    folded."""
    folded = {}
    for op in network.ops:
        if op.kind not in WEIGHTED:
            continue
        layer = model.get_layer(op.name)
        kernel = effective_kernel(network, model, op)
        channels = kernel.shape[-1]
        bias = np.asarray(layer.bias) if layer.use_bias else np.zeros(channels, np.float32)
        if op.normalised:
            norm = model.get_layer(f"{op.name}_normalisation")
            parts = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
            kernel, bias = fold_normalisation(kernel, bias, *(np.asarray(part) for part in parts))
        folded[op.name] = OpWeights(kernel.astype(np.float32), bias.astype(np.float32))
    return folded


def fold_normalisation(
    kernel: np.ndarray, bias: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (..., channels) and bias (channels,) of an op together with the batch normalisation that follows it."""
    scale = gamma / np.sqrt(variance + EPSILON)
    return kernel * scale, beta + (bias - mean) * scale


def _scale_layer(network: Network, name: str, members: GroupMembers) -> GroupScale:
    """A scale layer. Its KL counts by the square root of the weights in a group: counted once, KL is no match for the
    likelihood and prunes next to nothing; counted for every weight, it makes whole layers collapse, since noise that a
    channel's positions and readers share does more harm than as much noise in single weights."""
    size = sum(prod(network.kernel_shape(op)) / channels for op, channels in members)
    return GroupScale(group_size=GROUP_SHARE * sqrt(size), name=name)


def _input_scale(network: Network, model: keras.Model, op: Op, name: str) -> np.ndarray:
    """What the scales between op and the unscaled tensor `name` multiply its channels by, (channels,)."""
    made = network.op(name)
    scale = np.ones(network.shapes[name][-1], np.float32)
    if made.kind == "flatten":
        scale = np.tile(_input_scale(network, model, made, made.inputs[0]), prod(network.shapes[made.inputs[0]][:-1]))
    elif made.kind == "concat":
        scale = np.concatenate([_input_scale(network, model, made, part) for part in made.inputs])
    present = {layer.name: layer for layer in group_scales(model)}
    for layer in scales_on_the_way(network, op, name):
        if layer in present:
            scale = scale * np.asarray(present[layer].effective_kernel())
    return scale


def inference_model(
    network: Network,
    weights: Weights,
    *,
    batch: int | None = None,
    every_tensor: bool = False,
    framework: ModuleType = keras,
) -> keras.Model:
    """A Keras model that computes the logits, or with `every_tensor` a dictionary of each op's output.

    `batch` fixes the batch size: conversion with 1 leaves out operators that only work out shapes. `framework` is keras
    or tf_keras, which has the same layers.
    """
    layers = framework.layers

    def apply(op: Op, tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
        if op.kind in WEIGHTED:
            kernel = weights[op.name].kernel
            layer = getattr(layers, _PLAIN[op.kind])(**_arguments(op), activation=op.activation, name=op.name)
            tensor = layer(tensors[0])
            layer.set_weights([kernel[..., None] if op.kind == "depthwise" else kernel, weights[op.name].bias])
            return tensor
        tensor = _unweighted(op, tensors, layers)
        return layers.ReLU(name=f"{op.name}_relu")(tensor) if op.activation == "relu" else tensor

    image = framework.Input(batch_shape=(batch, *network.input_shape), name="image")
    tensors = _wire(network, image, apply)
    return framework.Model(image, tensors if every_tensor else tensors[network.output.name], name="survivor")


def channel_ranges(network: Network, weights: Weights, images: np.ndarray) -> Ranges:
    """Each tensor's range by channel over `images`, float [N, H, W, C]."""
    model = inference_model(network, weights, every_tensor=True)
    tensors = {name: np.asarray(values) for name, values in model(images).items()}
    axes = {name: tuple(range(values.ndim - 1)) for name, values in tensors.items()}
    return Ranges(
        low={name: values.min(axis=axes[name]) for name, values in tensors.items()},
        high={name: values.max(axis=axes[name]) for name, values in tensors.items()},
    )


def _wire(
    network: Network,
    image: keras.KerasTensor,
    apply: Callable[[Op, list[keras.KerasTensor]], keras.KerasTensor],
) -> dict[str, keras.KerasTensor]:
    tensors: dict[str, keras.KerasTensor] = {}
    for op in network.ops:
        tensors[op.name] = image if op.kind == "input" else apply(op, [tensors[name] for name in op.inputs])
    return tensors


def _arguments(op: Op) -> dict[str, object]:
    """A weighted op's arguments to its Keras layer."""
    if op.kind == "dense":
        return {"units": op.channels}
    window = {"kernel_size": op.kernel, "strides": op.stride, "padding": op.padding}
    return window if op.kind == "depthwise" else {"filters": op.channels, **window}


def _unweighted(op: Op, tensors: list[keras.KerasTensor], layers: ModuleType) -> keras.KerasTensor:
    if op.kind == "add":
        return layers.Add(name=op.name)(tensors)
    if op.kind == "concat":
        return layers.Concatenate(name=op.name)(tensors)
    if op.kind == "flatten":
        return layers.Flatten(name=op.name)(tensors[0])
    pool = layers.MaxPooling2D if op.kind == "max_pool" else layers.AveragePooling2D
    return pool(op.kernel, strides=op.stride, padding=op.padding, name=op.name)(tensors[0])
