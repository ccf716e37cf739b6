"""Networks that others publish, and files by other ways of conversion: compiled fast, byte for byte right."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from support.mlperf_tiny import NETWORKS, mlperf_tiny_tflite
from support.reference import reference_bytes
from support.run_c import CORTEX_M4, GCC, Core, Host, run_on
from support.tflite_models import _tensorflow, convert
from tfsparse.compiler import CompiledModel, compile_model

SMALL = ("ds_cnn", "auto_encoder")  # fit into the flash of a small board, and their emulation takes a moment


def check(tflite: bytes, model: CompiledModel, work: Path, targets: tuple[Host | Core, ...] = (GCC,)) -> None:
    """Three samples on each target that is there; their outputs must differ to prove anything."""
    inputs = np.random.default_rng(0).integers(-128, 128, (3, model.input_size)).astype(np.int8)
    inputs[1:] = inputs[1:] // 4 + np.int8([[-90], [90]])  # dark and bright: noise alone averages out in deep networks
    expected = reference_bytes(tflite, model, inputs)
    assert len(np.unique(expected, axis=0)) > 1
    for target in targets:
        if not target.missing():
            (found,) = run_on(target, [model], [inputs], work / target.name)
            np.testing.assert_array_equal(found.reshape(3, -1), expected, err_msg=target.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_mlperf_tiny(name: str, tmp_path: Path) -> None:
    tflite = mlperf_tiny_tflite(name)
    started = time.process_time()
    model = compile_model(tflite, tmp_path)
    assert time.process_time() - started < 5
    check(tflite, model, tmp_path, (GCC, CORTEX_M4) if name in SMALL else (GCC,))


@pytest.fixture(scope="module")
def keras_model() -> object:
    """A small network whose batch is left open, as users build them: Flatten then computes its shape at run time."""
    layers = _tensorflow().keras.layers
    inputs = layers.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return _tensorflow().keras.Model(inputs, layers.Dense(5)(x))


CALIBRATION = np.random.default_rng(0).normal(0, 1, (8, 8, 8, 2)).astype(np.float32)


def calibration() -> Iterator[list[np.ndarray]]:
    for sample in CALIBRATION:
        yield [sample[None]]


def converted(converter: object) -> bytes:
    tf = _tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with contextlib.redirect_stdout(StringIO()):
        return converter.convert()


def test_from_saved_model(keras_model: object, tmp_path: Path) -> None:
    """A folder exported by Keras, float at both ends."""
    with contextlib.redirect_stdout(StringIO()):
        keras_model.export(tmp_path / "saved", verbose=False)
    tflite = converted(_tensorflow().lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")))
    check(tflite, compile_model(tflite, tmp_path / "c"), tmp_path)


@pytest.mark.parametrize("io", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])
def test_from_keras(keras_model: object, io: str, per_channel: bool, tmp_path: Path) -> None:
    tflite = convert(keras_model, CALIBRATION, io=io, per_channel=per_channel)
    check(tflite, compile_model(tflite, tmp_path / "c"), tmp_path)


def test_many_operators_as_the_converter_makes_them(tmp_path: Path) -> None:
    """Two inputs and two outputs, attention, slices, unlike scales that are joined: the converter's own choices."""
    tf = _tensorflow()
    keras = tf.keras
    layers, ops = keras.layers, keras.ops
    image, vector = layers.Input((8, 8, 2), name="a_image"), layers.Input((4,), name="b_vector")
    x = layers.Conv2D(8, 3, padding="same")(image)
    x = layers.LeakyReLU(negative_slope=0.1)(x)
    squeeze = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = x * squeeze
    x = x * ops.relu6(x + 3.0) / 6.0
    left, right = ops.split(x, 2, axis=-1)
    x = ops.concatenate([left - right, ops.tanh(left) * 0.3, right * 3.0], axis=-1)
    x = ops.pad(x[:, ::2, 1:7, :], [[0, 0], [1, 0], [0, 1], [0, 3]])
    x = ops.transpose(x, (0, 3, 1, 2))
    x = ops.mean(x, axis=(2, 3)) + ops.mean(x, axis=(1, 2, 3), keepdims=True)[:, :, 0, 0]
    x = ops.concatenate([ops.take(x, [3, 0, 0, 7], axis=1), vector], axis=-1)
    logits = layers.Dense(6)(x)
    model = keras.Model([image, vector], [logits, ops.softmax(logits)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    rng = np.random.default_rng(0)
    shapes = [(1, 8, 8, 2), (1, 4)]
    converter.representative_dataset = lambda: (
        [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in range(4)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(StringIO()):
        tflite = converter.convert()
    compiled = compile_model(tflite, tmp_path / "c")
    assert (len(compiled.inputs), len(compiled.outputs)) == (2, 2)
    check(tflite, compiled, tmp_path, (GCC, CORTEX_M4))
