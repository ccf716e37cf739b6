"""Models that are fed their input row by row: the same answers, and only the rows needed in RAM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil.build import Builder, ModelSource
from hil.device import Device
from hil.emulator import Emulator, start_detached, stop_detached
from hil.measure import Measurer
from hil.measurer import MODEL_BESIDE, measure_running
from hil.pio import Request
from hil.pool import open_measurer
from hil.recipe import load_board
from hil.reference import Reference
from support.ports import free_port
from support.tflite_writer import Writer
from tfsparse.compiler import compile_model
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def by_rows(tmp_path_factory):
    with Measurer(workdir=tmp_path_factory.mktemp("by_rows"), by_rows=True) as measurer:
        yield measurer


@pytest.fixture(scope="module")
def colour_tflite(tmp_path_factory) -> Path:
    """A net for 32x32x3 images, 3,072 bytes, whose maps are small beside them."""
    import tensorflow as tf

    from support.tflite_models import convert, prune

    layers, rng = tf.keras.layers, np.random.default_rng(0)
    tf.keras.utils.set_random_seed(0)
    inputs = layers.Input(batch_shape=(1, 32, 32, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    model = tf.keras.Model(inputs, layers.Dense(10)(x))
    prune(model, rng, zeros=0.8)
    path = tmp_path_factory.mktemp("colour") / "colour.tflite"
    path.write_bytes(convert(model, rng.random((8, 32, 32, 3), np.float32)))
    return path


def test_only_the_rows_needed_are_in_ram(measurer, by_rows, colour_tflite):
    whole, fed = measurer.measure(colour_tflite), by_rows.measure(colour_tflite)
    assert (whole.fed, fed.fed) == ("whole", "rows")
    assert whole.bit_exact is True and fed.bit_exact is True
    assert whole.ram_model > 3072
    assert fed.ram_model < 1280
    assert 0 <= fed.ram_model - fed.arena - fed.stack < 64
    # The harness keeps the whole input, the stand-in for the sensor, in both; it is in neither ram_model.
    assert fed.ram_total > 3072
    assert fed.to_json()["fed"] == "rows"


def test_the_search_s_model_too(by_rows, digits_tflite, digits_inputs):
    found = by_rows.measure(digits_tflite, digits_inputs)
    assert found.bit_exact is True and found.inputs == len(digits_inputs)


def test_mlperf_tinys_commands_stay_as_they_are(colour_tflite, tmp_path):
    """Loaded as a whole, inferred several times from one loading, every time the same."""
    compiled = compile_model(colour_tflite, tmp_path / "model", by_rows=True)
    builder = Builder(load_board(), tmp_path / "objects")
    elf = builder.build(tmp_path / "firmware.elf", "sparse", ModelSource(compiled.directory, compiled.sources))
    sample = np.random.default_rng(2).integers(-128, 128, compiled.input_size, dtype=np.int8)
    expected = Reference(colour_tflite.read_bytes(), compiled)(sample[None])[0].tobytes()
    with Emulator(elf, builder.board) as emulator, Device(emulator.url) as device:
        device.wait_ready()
        assert device.memory().row == 32 * 3
        device.load_hex(sample.tobytes())
        once = device.infer(1, 0)
        assert device.output() == expected
        assert device.infer(3, 2) == 3 * once
        assert device.output() == expected
        assert device.buffer() == sample.tobytes()


def test_a_firmware_that_runs_says_how_it_is_fed(colour_tflite, by_rows, tmp_path):
    images = tmp_path / "build"
    folder = images / "stm32f405_qemu"
    folder.mkdir(parents=True)
    compiled = compile_model(colour_tflite, tmp_path / "model", by_rows=True)
    builder = Builder(load_board(), tmp_path / "objects")
    elf = builder.build(folder / "firmware.elf", "sparse", ModelSource(compiled.directory, compiled.sources))
    (folder / MODEL_BESIDE).write_bytes(colour_tflite.read_bytes())
    port = free_port()
    try:
        url = start_detached(elf, builder.board, port, tmp_path)
        found = measure_running(url, images, tmp_path / "work")
        # Whoever expects the other way of feeding is told how to get it.
        with Measurer(url, workdir=tmp_path / "work") as whole, pytest.raises(UserError, match="runs another firmware"):
            whole.measure(colour_tflite)
    finally:
        stop_detached(port, tmp_path)
    assert replace(found, target="", seconds={}) == replace(by_rows.measure(colour_tflite), target="", seconds={})


def test_what_cannot_be_fed_by_rows_says_so(tmp_path):
    with pytest.raises(UserError, match="tflm takes its input as a whole"):
        Measurer(runtime="tflm", by_rows=True)
    writer = Writer()
    left, both = writer.input((1, 4), 0.1), writer.tensor((1, 4), 0.2)
    writer.operator("ADD", [left, left], [both])
    path = tmp_path / "flat.tflite"
    path.write_bytes(writer.bytes([both]))
    with (
        open_measurer("emulator", "sparse", tmp_path, by_rows=True) as there,
        pytest.raises(UserError, match="cannot be fed by rows"),
    ):
        there.measure(path)


def test_pio_takes_it_from_the_environment_or_the_file(monkeypatch):
    options = {"custom_by_rows": "yes"}
    assert Request.of(lambda name, default: options.get(name, default)).by_rows
    monkeypatch.setenv("TFSPARSE_BY_ROWS", "no")
    assert not Request.of(lambda name, default: options.get(name, default)).by_rows
    monkeypatch.setenv("TFSPARSE_BY_ROWS", "perhaps")
    with pytest.raises(UserError, match="take yes or no"):
        Request.of(lambda name, default: default)
