"""The four networks of the MLPerf Tiny benchmark, built anew in Keras from their published descriptions.

Weights are random, the statistics of batch normalisation those of random inputs, so that signals stay alive in deep
networks: exactness and sizes do not depend on training.
Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from support.tflite_models import _tensorflow, convert


def _normalised(x: object, relu: bool = True) -> object:
    layers = _tensorflow().keras.layers
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x


def resnet8() -> object:
    """Image classification: three residual stacks of 16, 32 and 64 filters on 32x32x3."""
    keras = _tensorflow().keras
    layers = keras.layers
    inputs = layers.Input((32, 32, 3))
    x = _normalised(layers.Conv2D(16, 3, padding="same")(inputs))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = _normalised(layers.Conv2D(filters, 3, stride, padding="same")(x))
        y = _normalised(layers.Conv2D(filters, 3, padding="same")(y), relu=False)
        if stride > 1:
            x = layers.Conv2D(filters, 1, stride, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def ds_cnn() -> object:
    """Keyword spotting: a 10x4 convolution and four depthwise-separable blocks of 64 on 49x10x1."""
    keras = _tensorflow().keras
    layers = keras.layers
    inputs = layers.Input((49, 10, 1))
    x = layers.Dropout(0.2)(_normalised(layers.Conv2D(64, (10, 4), 2, padding="same")(inputs)))
    for _ in range(4):
        x = _normalised(layers.DepthwiseConv2D(3, padding="same")(x))
        x = _normalised(layers.Conv2D(64, 1, padding="same")(x))
    x = layers.Flatten()(layers.AveragePooling2D((25, 5))(layers.Dropout(0.4)(x)))
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def mobilenet() -> object:
    """Visual wake words: MobileNetV1 of width 0.25 on 96x96x3."""
    keras = _tensorflow().keras
    layers = keras.layers
    inputs = layers.Input((96, 96, 3))
    x = _normalised(layers.Conv2D(8, 3, 2, padding="same")(inputs))
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for filters, stride in blocks:
        x = _normalised(layers.DepthwiseConv2D(3, stride, padding="same")(x))
        x = _normalised(layers.Conv2D(filters, 1, padding="same")(x))
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def auto_encoder() -> object:
    """Anomaly detection: dense layers of 128 with a waist of 8, from 640 to 640."""
    keras = _tensorflow().keras
    layers = keras.layers
    inputs = x = layers.Input((640,))
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = _normalised(layers.Dense(units)(x))
    return keras.Model(inputs, layers.Dense(640)(x))


NETWORKS: dict[str, Callable[[], object]] = {
    "resnet8": resnet8,
    "ds_cnn": ds_cnn,
    "mobilenet": mobilenet,
    "auto_encoder": auto_encoder,
}


def mlperf_tiny_tflite(name: str, zeros: float = 0.0, seed: int = 0, **options: object) -> bytes:
    """One of `NETWORKS` as int8 `.tflite`, a share of its weights zero; options go to `convert`."""
    tf = _tensorflow()
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = NETWORKS[name]()
    for weights in model.trainable_weights:
        if "kernel" in weights.path:
            weights.assign(weights.numpy() * (rng.random(weights.shape) >= zeros))
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.5, 0.5, layer.beta.shape))
    samples = rng.normal(0, 1, (8, *model.input_shape[1:])).astype(np.float32)
    model(samples, training=True)
    return convert(model, samples[:2], **options)
