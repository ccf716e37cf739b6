"""int8 `.tflite` models for tests: random ones over all operators the compiler knows, and a small one for digits.

Built with Keras and the TFLite converter, which are imported on first use (some seconds). The same arguments give the
same model on one machine.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from functools import cache
from io import StringIO
from types import ModuleType

import numpy as np

from hil.reference import open_interpreter
from tfsparse.compiler.flatbuffer import root


@cache
def _tensorflow() -> ModuleType:
    """TensorFlow, quiet and on one thread."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    return tf


def convert(model: object, calibration: np.ndarray, *, io: str = "int8", per_channel: bool = True) -> bytes:
    """A Keras model as int8 `.tflite`. `calibration`: float32 [N, ...inputs]; `io`: type of input and output."""
    tf = _tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    converter._experimental_disable_per_channel = not per_channel
    with contextlib.redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants ranges of inputs, which it takes from the calibration
        return converter.convert()


def prune(model: object, rng: np.random.Generator, zeros: float) -> None:
    """Set a random share `zeros` of every kernel to zero, vary the channels' scales, and make biases of some size."""
    for weights in model.trainable_weights:
        value = weights.numpy()
        if value.ndim > 1:
            value *= (rng.random(value.shape) >= zeros) * np.exp(rng.normal(0, 1, value.shape[-1]))
        else:
            value = rng.normal(0, 0.2, value.shape)
        weights.assign(value.astype(np.float32))


class _Graph:
    """A random graph that grows layer by layer from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.layers = _tensorflow().keras.layers

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, *choices: object) -> object:
        return choices[self.rng.integers(len(choices))]

    def activation(self, x: object) -> object:
        """None, or one that the converter fuses into the layer before it."""
        kind = self.pick("none", "relu", "relu", "relu6", "clip")
        if kind == "clip":
            return _tensorflow().keras.ops.clip(x, -1.0, 1.0)
        return x if kind == "none" else self.layers.ReLU(6.0 if kind == "relu6" else None)(x)

    def window(self, x: object, largest: int) -> dict[str, object]:
        """Kernel, stride, dilation and padding that fit the map `x`."""
        size = min(int(x.shape[1]), int(x.shape[2]))
        kernel = tuple(int(self.rng.integers(1, min(size, largest) + 1)) for _ in range(2))
        stride = int(self.rng.integers(1, 4)) if size > 2 else 1
        dilation = int(self.pick(1, 1, 2)) if stride == 1 and (max(kernel) - 1) * 2 < size else 1
        padding = self.pick("same", "valid")
        return {"kernel_size": kernel, "strides": stride, "padding": padding, "dilation_rate": dilation}

    def convolution(self, x: object) -> object:
        channels = int(x.shape[3])
        if self.chance(0.4):
            window = self.window(x, 5)
            multiplier = int(self.pick(1, 1, 2, 3))
            x = self.layers.DepthwiseConv2D(depth_multiplier=multiplier, use_bias=self.chance(0.7), **window)(x)
        else:
            groups = int(self.pick(1, 1, 1, channels if channels < 5 else 1))
            filters = groups * int(self.rng.integers(1, 10 // groups + 1))
            x = self.layers.Conv2D(filters, use_bias=self.chance(0.7), groups=groups, **self.window(x, 4))(x)
        return self.activation(x)

    def pool(self, x: object) -> object:
        window = self.window(x, 3)
        kind = self.pick(self.layers.AveragePooling2D, self.layers.MaxPooling2D)
        x = kind(window["kernel_size"], window["strides"], window["padding"])(x)
        return self.activation(x) if self.chance(0.3) else x

    def residual(self, x: object) -> object:
        y = self.layers.Conv2D(int(x.shape[3]), int(self.pick(1, 3)), padding="same")(x)
        y = self.layers.Add()([x, y] if self.chance(0.5) else [y, x])
        return self.activation(y) if self.chance(0.6) else y

    def branches(self, x: object) -> object:
        parts = [self.layers.Conv2D(int(self.rng.integers(1, 5)), 1, activation="relu")(x)]
        parts.append(self.layers.DepthwiseConv2D(3, padding="same")(x))
        if self.chance(0.5):
            parts.append(x)
        return self.layers.Concatenate(axis=int(self.pick(3, 3, 1 if parts[0].shape == parts[1].shape else 3)))(parts)

    def padded(self, x: object) -> object:
        sides = tuple((int(self.rng.integers(0, 3)), int(self.rng.integers(0, 3))) for _ in range(2))
        x = self.layers.ZeroPadding2D(sides)(x)
        return self.convolution(x) if self.chance(0.7) else self.pool(x)

    def standalone(self, x: object) -> object:
        """An activation on its own: what it reads is used elsewhere, too."""
        y = self.layers.ReLU(self.pick(None, 6.0))(x)
        return self.layers.Concatenate()([x, y])

    def attention(self, x: object) -> object:
        """Every channel, or every pixel, times a factor between 0 and 1."""
        if self.chance(0.5):
            factor = self.layers.Conv2D(int(x.shape[3]), 1)(self.layers.GlobalAveragePooling2D(keepdims=True)(x))
        else:
            factor = self.layers.Conv2D(1, 1)(x)
        return self.layers.Multiply()([x, self.layers.Activation("sigmoid")(factor)])

    def curve(self, x: object) -> object:
        """An activation that no layer fuses."""
        kind = self.pick("leaky", "tanh", "hard_swish")
        if kind == "leaky":
            return self.layers.LeakyReLU(negative_slope=float(self.rng.uniform(0.01, 0.6)))(x)
        ops = _tensorflow().keras.ops
        return ops.tanh(x) if kind == "tanh" else x * ops.relu6(x + 3.0) * (1 / 6)

    def halves(self, x: object) -> object:
        """Channels split, subtracted, averaged and joined again."""
        ops = _tensorflow().keras.ops
        x = self.layers.Conv2D(2 * int(self.rng.integers(1, 4)), 1)(x)
        left, right = ops.split(x, 2, axis=-1)
        mean = ops.mean(left, axis=3, keepdims=True)
        return ops.concatenate([left - right, right + mean, ops.take(x, [1, 0, 1], axis=3)], axis=-1)

    def moved(self, x: object) -> object:
        """Every second row, a pixel cut off, rows and columns exchanged, channels added."""
        ops = _tensorflow().keras.ops
        if min(x.shape[1:3]) > 2:
            x = x[:, ::2, 1:, :]
        x = ops.transpose(x, (0, 2, 1, 3))
        return ops.pad(x, [[0, 0], [0, 0], [0, 1], [int(self.rng.integers(0, 2)), 1]])

    def head(self, x: object) -> object:
        kind = self.pick("map", "flatten", "flatten", "mean", "mean", "multi")
        if kind == "map":
            return self.layers.Softmax()(x) if self.chance(0.3) else x
        if kind == "multi":
            mean = self.layers.GlobalAveragePooling2D()(x)
            x = self.layers.Concatenate()([mean, self.layers.Flatten()(self.pool(x))])
        elif kind == "mean":
            x = self.layers.GlobalAveragePooling2D(keepdims=self.chance(0.5))(x)
            x = self.layers.Flatten()(x) if x.shape != (1, x.shape[-1]) else x
        else:
            x = self.layers.Flatten()(x)
        for _ in range(int(self.rng.integers(0, 3))):
            x = self.activation(self.layers.Dense(int(self.rng.integers(1, 20)), use_bias=self.chance(0.7))(x))
        return self.layers.Softmax()(x) if self.chance(0.4) else x


def random_tflite(seed: int, *, io: str | None = None, zeros: float | None = None) -> bytes:
    """A random small network over all operators that the compiler knows.

    io: "int8", "uint8" or "float32" borders; zeros: share of zero weights. None: by chance.
    """
    tf = _tensorflow()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    graph = _Graph(rng)
    shape = (int(rng.integers(4, 20)), int(rng.integers(4, 15)), int(rng.integers(1, 6)))
    inputs = x = graph.layers.Input(batch_shape=(1, *shape))
    steps = (graph.convolution, graph.convolution, graph.pool, graph.residual, graph.branches, graph.padded)
    steps += (graph.attention, graph.curve, graph.halves, graph.moved)
    for _ in range(int(rng.integers(1, 6))):
        x = graph.pick(*steps, graph.standalone)(x)
    x = graph.head(x)
    if x is inputs:
        x = graph.convolution(x)
    model = tf.keras.Model(inputs, x)
    prune(model, rng, float(graph.pick(0.0, 0.5, 0.9, 0.98)) if zeros is None else zeros)
    calibration = rng.normal(0, 1, (8, *shape)).astype(np.float32)
    io = io or str(graph.pick("int8", "int8", "int8", "uint8", "float32"))
    return convert(model, calibration, io=io, per_channel=graph.chance(0.8))


def small_digits_like_tflite(seed: int = 0, zeros: float = 0.85) -> bytes:
    """A net as the search finds for 8x8 digits: convolution, depthwise-separable residual block, pooling, dense 10."""
    tf = _tensorflow()
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    inputs = layers.Input(batch_shape=(1, 8, 8, 1))
    x = layers.Conv2D(12, 3, padding="same", activation="relu")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.Conv2D(12, 1, activation="relu")(y)
    x = layers.Add()([x, y])
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(10)(x)
    model = tf.keras.Model(inputs, x)
    prune(model, rng, zeros)
    return convert(model, rng.random((20, 8, 8, 1), np.float32))


@cache
def single_layer_tflite(kind: str, seed: int = 0) -> bytes:
    """One operator on an int8 input: "conv", "depthwise", "dense", "add", "mean" or "relu"; with odd scales."""
    tf = _tensorflow()
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    shape = (6,) if kind == "dense" else (5, 3, 6)
    inputs = layers.Input(batch_shape=(1, *shape))
    make = {
        "conv": layers.Conv2D(8, 1),
        "depthwise": layers.DepthwiseConv2D(1),
        "dense": layers.Dense(8),
        "add": lambda x: layers.Add()([x, layers.DepthwiseConv2D(1)(x)]),
        "mean": layers.GlobalAveragePooling2D(),
        "relu": layers.ReLU(),
    }
    model = tf.keras.Model(inputs, make[kind](inputs))
    for weights in model.trainable_weights:
        # From 1/100 to 1: channels with small weights stay inside the range when the output scale shrinks.
        size = np.exp(rng.uniform(-5, 0, weights.shape)) * np.sign(rng.normal(size=weights.shape))
        weights.assign((size if len(weights.shape) > 1 else size * 0.05).astype(np.float32))
    return convert(model, rng.normal(0, 1, (8, *shape)).astype(np.float32))


def with_output_scale(tflite: bytes, factor: float) -> bytes:
    """The same model, but the scale of its output tensor times `factor`: other multipliers, other shifts."""
    graph = root(tflite, b"TFL3").tables(2)[0]
    quantization = graph.tables(0)[int(graph.array(2, "i4")[0])].table(4)
    at, _ = quantization.vector(2, 4)
    scale = np.float32(quantization.array(2, "f4")[0] * np.float32(factor))
    return tflite[:at] + scale.tobytes() + tflite[at + 4 :]


def with_operator(tflite: bytes, old: int, new: int) -> bytes:
    """The same file with builtin operator code `old` replaced by `new`, version 1."""
    data = bytearray(tflite)
    for code in root(tflite, b"TFL3").tables(1):
        if code.scalar(0, "b") == old != new:
            data[code.field(0)] = new
            if code.has(2):
                data[code.field(2)] = 1
            if code.has(3):
                data[code.field(3)] = new
    return bytes(data)


def _from_int8(values: np.ndarray, border: dict, scale: tuple[float, int] | None) -> np.ndarray:
    """int8 values as a border tensor takes them. `scale`: (scale, zero point) of the int8 tensor behind a float one."""
    if border["dtype"] is np.float32:
        return (values.astype(np.float32) - np.float32(scale[1])) * np.float32(scale[0])
    return (values.astype(np.int16) + 128).astype(np.uint8) if border["dtype"] is np.uint8 else values


def _to_int8(values: np.ndarray, border: dict, scale: tuple[float, int] | None) -> np.ndarray:
    if border["dtype"] is np.float32:
        return (np.round(values / np.float32(scale[0])) + scale[1]).astype(np.int8)
    return (values.astype(np.int16) - 128).astype(np.int8) if border["dtype"] is np.uint8 else values.copy()


def reference_outputs(
    tflite: bytes,
    inputs: np.ndarray,
    input_scale: tuple[float, int] | None = None,
    output_scale: tuple[float, int] | None = None,
) -> np.ndarray:
    """What TFLite's reference kernels make of int8 `inputs` [N, ...]: int8 [N, ...].

    Float borders are crossed exactly, as an int8 value dequantised and quantised again is itself; they need the
    (scale, zero point) of the int8 tensors behind them.
    """
    interpreter = open_interpreter(tflite)
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for sample in inputs:
        interpreter.set_tensor(source["index"], _from_int8(sample.reshape(source["shape"]), source, input_scale))
        interpreter.invoke()
        outputs.append(_to_int8(interpreter.get_tensor(result["index"]), result, output_scale))
    return np.array(outputs)
