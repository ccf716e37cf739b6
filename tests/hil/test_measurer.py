"""Measurements end to end: .tflite -> C -> firmware -> QEMU -> figures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tfsparse.compiler
from hil import build
from hil.accuracy import accuracy_of
from hil.build import TooBigError, run_tool
from hil.device import Device
from hil.footprint import read_footprint
from hil.measure import Measurement, MeasurementError, Measurer
from hil.measurement import check_image
from hil.recipe import load_board
from hil.targets import check_build
from support.emulators import on_a_tty
from support.tflite_models import reference_outputs
from support.tflite_writer import Writer
from tfsparse.compiler import compile_model
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def measurement(measurer, digits_tflite) -> Measurement:
    return measurer.measure(digits_tflite)


def test_outputs_equal_the_references(measurement):
    assert measurement.bit_exact is True
    assert measurement.inputs >= 2


def test_measurement_agrees_with_the_plan(measurement, digits_tflite, tmp_path):
    """Planner, ELF and device: the same arena, the same payload; what is added stays within reason."""
    compiled = compile_model(digits_tflite, tmp_path)
    assert (measurement.arena, measurement.payload) == (compiled.arena, compiled.payload)
    assert (measurement.nnz, measurement.macs) == (compiled.nnz, compiled.macs)
    # All the model's RAM is its arena and stack, up to padding of .bss.
    assert 0 <= measurement.ram_model - measurement.arena - measurement.stack < 64  # pointers of fed rows
    assert 0 < measurement.stack < 1024
    assert measurement.flash_model > measurement.payload


def test_code_beside_the_tables_is_small(measurement):
    """The kernels and code of the sparse runtime for a model of digits' size."""
    assert measurement.flash_model - measurement.payload < 6000


def test_totals_hold_the_model_and_the_baseline(measurement, measurer):
    assert measurement.flash_total == measurer.baseline.flash_total + measurement.flash_model
    assert measurement.ram_total > measurement.ram_model
    assert measurement.instructions > 10_000
    assert measurement.cycles is None


def test_json_has_the_keys_of_a_trials_record(measurement):
    keys = """nnz model_size_counted working_memory_1 working_memory_2 macs payload flash_model flash_total ram_model
        ram_total instructions target runtime bit_exact seconds"""
    record = measurement.to_json()
    assert set(keys.split()) <= set(record)
    assert set(record["seconds"]) == {"compile", "measure"}


def test_a_second_measurement_gives_the_same_figures_for_one_compilation_and_a_link(
    measurer, measurement, digits_tflite, monkeypatch
):
    """Of the firmware's sources only those that see the model are compiled again."""
    calls = []
    monkeypatch.setattr(build, "run_tool", lambda command: (calls.append(command), run_tool(command))[1])
    again = measurer.measure(digits_tflite)
    assert replace(again, seconds={}) == replace(measurement, seconds={})
    compiled = sorted(Path(command[command.index("-c") + 1]).name for command in calls if "-c" in command)
    assert compiled == ["model.c", "runtime.c"]
    assert len(calls) == len(compiled) + 1


def test_what_a_killed_measurement_left_is_swept(measurer, measurement, digits_tflite):
    old, young = (measurer._workdir / f"image-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "firmware.elf").touch()
    os.utime(old, (0, 0))
    measurer.measure(digits_tflite)
    assert not old.exists()
    assert young.exists()


def test_given_inputs_are_the_ones_that_run(measurer, digits_tflite, digits_inputs):
    outputs = reference_outputs(digits_tflite.read_bytes(), digits_inputs)
    labels = outputs.reshape(len(outputs), -1).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 10
    seen = []
    found = measurer.measure(digits_tflite, digits_inputs, labels, seen.append)
    assert found.bit_exact
    assert found.inputs == 6
    assert found.accuracy == pytest.approx(5 / 6)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("io", ["float32", "uint8"])
def test_models_with_other_borders_run_at_their_int8_core(measurer, tmp_path, io):
    path = tmp_path / f"{io}.tflite"
    path.write_bytes(model_with_border(io))
    found = measurer.measure(path)
    assert found.bit_exact
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
    assert measurer.measure(path, images).bit_exact


def model_with_border(io: str) -> bytes:
    import tensorflow as tf

    from support.tflite_models import convert

    inputs = tf.keras.layers.Input(batch_shape=(1, 6, 6, 1))
    x = tf.keras.layers.Conv2D(3, 3, activation="relu")(inputs)
    x = tf.keras.layers.Flatten()(x)
    x = tf.keras.layers.Dense(4, activation="softmax")(x)
    model = tf.keras.Model(inputs, x)
    return convert(model, np.random.default_rng(0).random((20, 6, 6, 1), np.float32), io=io)


@pytest.mark.parametrize("runtime", ["sparse", "tflm"])
def test_several_inputs_or_outputs_are_refused(tmp_path, runtime):
    """The serial protocol has one buffer of each."""
    model = Writer()
    left, right = model.input((1, 4), 0.1), model.input((1, 4), 0.1)
    both = model.tensor((1, 4), 0.2)
    model.operator("ADD", [left, right], [both])
    path = tmp_path / "two.tflite"
    path.write_bytes(model.bytes([both]))
    with (
        Measurer(runtime=runtime, workdir=tmp_path) as measurer,
        pytest.raises(UserError, match="2 inputs and 1 outputs"),
    ):
        measurer.measure(path)


def test_a_model_that_answers_with_an_index(measurer, tmp_path):
    """Bytes of an int32 are compared as they are, and the accuracy is that of the number."""
    model = Writer()
    scores, index = model.input((1, 5), 0.1), model.tensor((1,), dtype="int32")
    model.operator("ARG_MAX", [scores, model.integers(1)], [index], outputType=2)
    path = tmp_path / "index.tflite"
    path.write_bytes(model.bytes([index]))
    inputs = np.eye(5, dtype=np.int8)[[3, 0, 4, 2]]
    found = measurer.measure(path, inputs, np.array([3, 0, 4, 1]))
    assert (found.bit_exact, found.max_difference, found.accuracy) == (True, 0, 0.75)


# ---- a wrong figure is never given ----


@pytest.fixture
def tampered(monkeypatch):
    """Lets a test change what the compiler has written: tampered(change) with change(model.c's text) -> text."""

    def install(change):
        def compile_and_change(tflite, out, **options):
            compiled = compile_model(tflite, out, **options)
            source = compiled.directory / "model.c"
            source.write_text(change(source.read_text()))
            return compiled

        monkeypatch.setattr(tfsparse.compiler, "compile_model", compile_and_change)

    return install


def test_wrong_outputs_are_not_bit_exact(measurer, digits_tflite, tampered):
    tampered(
        lambda text: text.replace("    return 0;\n}", "    model_output_spoilt();\n    return 0;\n}").replace(
            "int model_invoke(",
            "static void model_output_spoilt(void) { ((int8_t *)model_output())[3] ^= 1; }\nint model_invoke(",
        )
    )
    assert measurer.measure(digits_tflite).bit_exact is False


def test_an_arena_that_the_plan_does_not_know_is_an_error(measurer, digits_tflite, tampered):
    tampered(lambda text: text.replace("arena[MODEL_ARENA_SIZE]", "arena[MODEL_ARENA_SIZE + 4]"))
    with pytest.raises(MeasurementError, match="arena"):
        measurer.measure(digits_tflite)


def test_a_model_that_remembers_is_an_error(measurer, digits_tflite, tampered):
    """An inference whose time depends on what ran before has no figure."""
    tampered(
        lambda text: text.replace(
            "int model_invoke(const int8_t *in, int8_t *out)\n{",
            "static volatile int before;\nint model_invoke(const int8_t *in, int8_t *out)\n{\n"
            '    before++; for (int i = 0; i < before; i++) { __asm volatile("nop"); }',
        )
    )
    with pytest.raises(MeasurementError, match="cannot be trusted"):
        measurer.measure(digits_tflite)


def test_plan_and_image_are_compared(builder_image, digits_tflite, tmp_path):
    image, compiled, _ = builder_image
    check_image(image, compiled)
    with pytest.raises(MeasurementError, match="arena"):
        check_image(image, replace(compiled, arena=compiled.arena + 1))
    with pytest.raises(MeasurementError, match="tables"):
        check_image(image, replace(compiled, payload=compiled.payload + 1))


@pytest.fixture
def builder_image(measurer, digits_tflite, tmp_path):
    from hil.build import ModelSource

    compiled = compile_model(digits_tflite, tmp_path / "model")
    source = ModelSource(compiled.directory, compiled.sources)
    elf = measurer.images._builder.build(tmp_path / "firmware.elf", "sparse", source)
    return read_footprint(elf), compiled, elf


def test_a_device_that_tells_otherwise_than_the_plan_is_an_error(measurer, digits_tflite, monkeypatch):
    real = Device.memory
    monkeypatch.setattr(Device, "memory", lambda device: replace(real(device), arena=real(device).arena + 4))
    with pytest.raises(MeasurementError, match=r"the device tells .* of its model and the plan is .* must agree"):
        measurer.measure(digits_tflite)


def test_another_build_is_refused():
    with pytest.raises(MeasurementError, match=r"runs another firmware .* pio run -t upload"):
        check_build("a" * 40, "b" * 40, "/dev/ttyACM0", "TFSPARSE_MODEL=model.tflite")


def test_accuracy_of_a_single_output(digits_tflite, tmp_path):
    compiled = replace(compile_model(digits_tflite, tmp_path), output_size=1, output_scale=1 / 256)
    compiled = replace(compiled, output_zero_point=-128)
    outputs = np.array([[-128], [127], [10], [-10]], dtype=np.int8)  # 0.0, 1.0, 0.54, 0.46
    assert accuracy_of(outputs, np.array([0, 1, 1, 1]), compiled) == pytest.approx(0.75)


# ---- errors that the user can mend ----


def test_a_broken_file(measurer, tmp_path, digits_tflite):
    path = tmp_path / "broken.tflite"
    path.write_bytes(digits_tflite.read_bytes()[:900])
    with pytest.raises(UserError):
        measurer.measure(path)


def test_a_missing_file(measurer, tmp_path):
    with pytest.raises(UserError, match="cannot read the model"):
        measurer.measure(tmp_path / "none.tflite")


@pytest.mark.parametrize("shape", [(3, 8, 8, 3), (3, 7, 8, 1), (64,)])
def test_inputs_of_a_wrong_shape(measurer, digits_tflite, shape):
    with pytest.raises(UserError, match=r"needs \[N, 8, 8, 1\]"):
        measurer.measure(digits_tflite, np.zeros(shape, np.int8))


@pytest.mark.parametrize(
    ("inputs", "reason"), [(np.zeros((0, 8, 8, 1)), "no inputs"), (np.full((1, 64), np.nan), "NaN")]
)
def test_inputs_that_are_none(measurer, digits_tflite, inputs, reason):
    with pytest.raises(UserError, match=reason):
        measurer.measure(digits_tflite, inputs)


def test_inputs_of_a_wrong_type(measurer, digits_tflite):
    with pytest.raises(UserError, match="type int64"):
        measurer.measure(digits_tflite, np.zeros((1, 8, 8, 1), np.int64))


@pytest.mark.parametrize("labels", [np.zeros(5, int), np.zeros(6, float), np.full(6, 10)])
def test_labels_that_do_not_fit(measurer, digits_tflite, digits_inputs, labels):
    with pytest.raises(UserError, match="labels"):
        measurer.measure(digits_tflite, digits_inputs, labels)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("weights", r"needs 1,\d\d\d,\d\d\d bytes of flash where the chip has 1,048,576; use a smaller one"),
        ("maps", r"needs \d\d\d,\d\d\d bytes of RAM where the chip has 131,072; use a smaller one"),
    ],
    ids=["flash", "ram"],
)
def test_a_model_too_big_for_the_chip(measurer, tmp_path, kind, sentence):
    path = tmp_path / "big.tflite"
    path.write_bytes(big_model(kind))
    with pytest.raises(TooBigError, match=sentence):
        measurer.measure(path)


def big_model(kind: str) -> bytes:
    """1.1 MB of weights, or feature maps of 180 kB."""
    import tensorflow as tf

    from support.tflite_models import convert

    layers = tf.keras.layers
    if kind == "weights":
        inputs = layers.Input(batch_shape=(1, 1100))
        outputs = layers.Dense(1000)(inputs)
    else:
        inputs = layers.Input(batch_shape=(1, 300, 300, 1))
        outputs = layers.MaxPooling2D(100)(layers.Conv2D(1, 3, padding="same")(inputs))
    return convert(tf.keras.Model(inputs, outputs), np.random.default_rng(0).random((2, *inputs.shape[1:]), np.float32))


def test_a_serial_port_of_the_system(measurer, digits_tflite, builder_image, tmp_path):
    """/dev/pts/N instead of a socket: the way to a board."""
    with on_a_tty(builder_image[2], load_board()) as port, Measurer(port, workdir=tmp_path) as there:
        measurement = there.measure(digits_tflite)
        with Device(port), pytest.raises(UserError, match="another program uses the port"):
            there.measure(digits_tflite)
    emulated = measurer.measure(digits_tflite)
    assert measurement.bit_exact
    assert replace(measurement, target="", seconds={}) == replace(emulated, target="", seconds={})


def test_unknown_runtime_and_target():
    with pytest.raises(UserError, match="no runtime 'onnx'; use one of: sparse, tflm"):
        Measurer(runtime="onnx")
