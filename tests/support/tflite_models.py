"""int8 `.tflite` models for tests: random ones over all operators the compiler knows, and a small one for digits.

Built with Keras and the TFLite converter, which are imported on first use (some seconds). The same arguments give the
same model on one machine.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType

import numpy as np


@cache
def _tensorflow() -> ModuleType:
    """TensorFlow, quiet and on one thread."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    return tf


def convert(model: object, calibration: np.ndarray, *, io: str = "int8") -> bytes:
    """A Keras model as int8 `.tflite`. `calibration`: float32 [N, ...inputs]; `io`: type of input and output."""
    tf = _tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    kind = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}[io]
    converter.inference_input_type = converter.inference_output_type = kind
    converter._experimental_disable_per_channel = False
    return converter.convert()


def prune(model: object, rng: np.random.Generator, zeros: float) -> None:
    """Set a random share `zeros` of every kernel to zero, and make biases of some size."""
    for weights in model.trainable_weights:
        value = np.array(weights)
        if value.ndim > 1:
            value *= rng.random(value.shape) >= zeros
        else:
            value = rng.normal(0, 0.2, value.shape).astype(np.float32)
        weights.assign(value)


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


def reference_outputs(tflite: bytes, inputs: np.ndarray) -> np.ndarray:
    """What TFLite's reference kernels make of int8 `inputs` [N, ...]: int8 [N, ...].

    Float borders are crossed exactly: an int8 value dequantised and quantised again is itself.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=tflite,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for sample in inputs:
        interpreter.set_tensor(source["index"], sample.reshape(source["shape"]))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"]).copy())
    return np.array(outputs)
