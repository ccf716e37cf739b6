"""The runtime `tflm`: TFLite Micro itself in the firmware, on the emulator, with the model in its flash slot."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil import tflm, tflm_crate
from hil.device import Device
from hil.emulator import Emulator
from hil.measurement import MeasurementError
from hil.recipe import FIRMWARE, TOOLCHAIN, load_board
from support.tflite_models import convert, small_digits_like_tflite
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def measurement(tflm_measurer, digits_tflite):
    return tflm_measurer.measure(digits_tflite)


def test_outputs_are_the_references(measurement):
    assert measurement.bit_exact
    assert measurement.max_difference == 0
    assert measurement.runtime == "tflm"


def test_flash_is_told_apart(measurement, tflm_measurer, digits_tflite):
    assert measurement.payload == digits_tflite.stat().st_size
    parts = measurement.payload + measurement.flash_kernels + measurement.flash_framework
    assert parts == measurement.flash_model == measurement.flash_total - tflm_measurer.baseline.flash_total
    # Five kinds of kernels, an interpreter: FACTS of the field, 40 kB for both at twelve operators.
    assert 8_000 < measurement.flash_kernels < 40_000
    assert 8_000 < measurement.flash_framework < 20_000


def test_the_arena_is_told_by_its_halves(measurement):
    assert measurement.arena_head + measurement.arena_tail == measurement.arena
    assert measurement.arena_head >= measurement.working_memory_2  # the widest layer's input and output live there
    assert measurement.ram_model > measurement.arena + measurement.stack


def test_sparse_is_the_smaller_and_faster(measurement, measurer, digits_tflite):
    ours = measurer.measure(digits_tflite)
    assert ours.flash_model < measurement.flash_model / 4
    assert ours.ram_model < measurement.ram_model / 2
    assert ours.instructions < measurement.instructions


def test_a_new_model_needs_no_new_image(tflm_measurer, measurement, tmp_path):
    """Only the content of the slot changes: neither compiler nor linker runs."""
    images = sorted((tflm_measurer._workdir / "tflm").rglob("firmware.elf"))
    times = [image.stat().st_mtime_ns for image in images]
    objects = sorted(path.name for path in tflm_measurer.images._builder.cache.glob("*.o"))
    for seed in (1, 2):
        path = tmp_path / f"{seed}.tflite"
        path.write_bytes(small_digits_like_tflite(seed=seed))
        # The kernels of 2020 round twice where today's reference rounds once: rarely, one step of difference.
        assert tflm_measurer.measure(path).max_difference <= 1
    assert sorted((tflm_measurer._workdir / "tflm").rglob("firmware.elf")) == images
    assert [image.stat().st_mtime_ns for image in images] == times
    assert sorted(path.name for path in tflm_measurer.images._builder.cache.glob("*.o")) == objects


def test_the_same_figures_again(tflm_measurer, measurement, digits_tflite):
    again = tflm_measurer.measure(digits_tflite)
    assert replace(again, seconds={}) == replace(measurement, seconds={})


def test_means_run_too(tflm_measurer, tmp_path):
    """The sources of 2020 have no int8 MEAN; firmware/runtimes/tflm adds it. One step of difference is its rounding."""
    import tensorflow as tf

    layers = tf.keras.layers
    inputs = layers.Input(batch_shape=(1, 8, 8, 1))
    outputs = layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(inputs)))
    path = tmp_path / "mean.tflite"
    path.write_bytes(
        convert(tf.keras.Model(inputs, outputs), np.random.default_rng(0).random((20, 8, 8, 1), np.float32))
    )
    assert "MEAN" in tflm.operators_of(path.read_bytes())
    assert tflm_measurer.measure(path).max_difference <= 1


def test_the_slot_names_its_model(tflm_measurer, digits_tflite, measurement, tmp_path):
    images = (tflm_measurer._workdir / "tflm").rglob("firmware.elf")
    elf = min(images, key=lambda path: path.stat().st_mtime_ns)  # the one of the first measurement
    content = digits_tflite.read_bytes()
    slot = tmp_path / "slot.bin"
    slot.write_bytes(tflm.slot_image(content, "a digits net with a name that is too long"))
    with Emulator(elf, load_board(), slot) as emulator, Device(emulator.url) as device:
        device.wait_ready()
        assert device.model() == "a digits net with a nam"
        memory = device.memory()
        assert (memory.runtime, memory.slot_crc, memory.failure) == ("tflm", tflm.slot_crc(content), 0)
    with Emulator(elf, load_board()) as emulator, Device(emulator.url) as device:  # an empty slot
        device.wait_ready()
        assert device.model() == "none"
        assert device.memory().input == 0


def test_another_model_in_the_slot_is_refused(tflm_measurer, digits_tflite, monkeypatch):
    real = tflm.slot_image
    monkeypatch.setattr(tflm, "slot_image", lambda content, name: real(content[:-1] + bytes([content[-1] ^ 1]), name))
    with pytest.raises(MeasurementError, match="another model in its flash slot"):
        tflm_measurer.measure(digits_tflite)


def test_a_float_model_is_refused_in_a_sentence(tflm_measurer, tmp_path):
    import tensorflow as tf

    layers = tf.keras.layers
    inputs = layers.Input(batch_shape=(1, 6, 6, 1))
    outputs = layers.Dense(4)(layers.Flatten()(layers.Conv2D(3, 3)(inputs)))
    path = tmp_path / "float.tflite"
    data = np.random.default_rng(0).random((20, 6, 6, 1), np.float32)
    path.write_bytes(convert(tf.keras.Model(inputs, outputs), data, io="float32"))
    with pytest.raises(MeasurementError, match="its input or output is not int8"):
        tflm_measurer.measure(path)


def test_operators_without_a_kernel(tflm_library):
    with pytest.raises(UserError, match="no int8 kernel for TRANSPOSE; "):
        tflm.check_operators(frozenset({"CONV_2D", "TRANSPOSE"}), replace(tflm_library.sources, current=False))


@pytest.mark.parametrize(
    ("operator", "method"),
    [("CONV_2D", "Conv2D"), ("FULLY_CONNECTED", "FullyConnected"), ("PADV2", "PadV2"), ("RELU6", "Relu6")],
)
def test_names_of_the_current_generation(operator, method):
    assert tflm._method(operator) == method


@pytest.mark.parametrize("schema", ["tensorflow/lite/schema", "tensorflow/lite/micro/schema"])
@pytest.mark.parametrize("source", ["runtime.cc", "operators.cc"])
def test_the_current_generations_half_compiles(tflm_library, schema, source, tmp_path):
    """Against declarations of its interface: no checkout of it is at hand. What has not changed is that of 2020."""
    moved = tmp_path / schema / "schema_generated.h"
    moved.parent.mkdir(parents=True)
    moved.write_text(f'#include "{tflm_library.sources.root}/tensorflow/lite/schema/schema_generated.h"\n')
    (tmp_path / "operators.h").write_text(
        "#define TFLM_OPERATOR_COUNT 2\n#define TFLM_OPERATORS(X) X(CONV_2D, Conv2D) X(RESHAPE, Reshape)\n"
    )
    declared = Path(__file__).resolve().parents[1] / "support" / "tflm_current"
    system = [declared, tmp_path, *tflm_library.sources.include_dirs]
    command = [
        *(TOOLCHAIN + "g++", "-fsyntax-only", *load_board().cpu_flags, *tflm.FLAGS, *tflm.CXX_FLAGS),
        *(f"-isystem{folder}" for folder in system),
        *(f"-I{FIRMWARE / 'runtimes'}", f"-I{FIRMWARE / 'runtimes' / 'tflm'}"),
        str(FIRMWARE / "runtimes" / "tflm" / source),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert result.returncode == 0, result.stderr


def test_sources_of_a_current_checkout_are_found_in_either_layout(monkeypatch, tmp_path):
    lite = tmp_path / "tensorflow" / "lite"
    wanted = {
        "micro/micro_interpreter.cc",
        "micro/arena_allocator/single_arena_buffer_allocator.cc",
        "micro/memory_planner/greedy_memory_planner.cc",
        "micro/kernels/conv.cc",
    }
    layouts = (
        {"core/c/common.cc", "core/api/flatbuffer_conversions.cc", "kernels/internal/quantization_util.cc"},
        {"micro/c/common.cc", "micro/flatbuffer_conversions.cc", "micro/kernels/internal/quantization_util.cc"},
    )
    for name in {*wanted, *layouts[0], "micro/micro_log.h", "micro/kernels/conv_test.cc", "micro/debug_log.cc"}:
        (lite / name).parent.mkdir(parents=True, exist_ok=True)
        (lite / name).touch()
    (lite / "micro" / "tools" / "make" / "downloads").mkdir(parents=True)
    monkeypatch.setenv("TFLM_DIR", str(tmp_path))
    for layout in layouts:
        for name in {name for names in layouts for name in names}:
            (lite / name).unlink(missing_ok=True)
        for name in layout:
            (lite / name).parent.mkdir(parents=True, exist_ok=True)
            (lite / name).touch()
        found = tflm.find_sources()
        assert found.current
        assert {str(path.relative_to(lite)) for path in (*found.framework, *found.kernels)} == wanted | layout
        assert found.identity


def test_without_sources_the_way_out_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("TFLM_DIR", raising=False)
    monkeypatch.setattr(tflm_crate, "CACHE", tmp_path)
    with pytest.raises(UserError, match="make tflm"):
        tflm.find_sources()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install cargo"):
        tflm_crate.fetch()
    monkeypatch.setenv("TFLM_DIR", str(tmp_path))
    with pytest.raises(UserError, match="holds no tensorflow/lite/micro"):
        tflm.find_sources()


@pytest.mark.parametrize(
    ("said", "unlocked"),
    [("cargo 1.65.0", True), ("cargo 1.67.1 (8ecd4f20a 2023-01-10)", True), ("cargo 1.95.0", False)],
)
def test_old_cargos_ask_for_one_crate_too(said, unlocked, tmp_path, monkeypatch):
    """Debian 12's would fetch the index of all crates from GitHub."""
    tool = tmp_path / "cargo"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("CARGO_UNSTABLE_SPARSE_REGISTRY" in tflm_crate._cargo_settings()) == unlocked


def test_of_the_crates_own_dependencies_none_is_fetched(tflm_library):
    """Each has an empty stand-in, which its version fits."""
    if not tflm_crate.folder().is_dir():
        pytest.skip("the sources are a checkout, named in TFLM_DIR")
    manifest = tomllib.loads((tflm_crate.folder() / "Cargo.toml").read_text())
    needed = {**manifest["dependencies"], **manifest["build-dependencies"]}
    assert set(needed) == set(tflm_crate.DEPENDENCIES)
    for name, wanted in needed.items():
        version, features = tflm_crate.DEPENDENCIES[name]
        assert version.startswith(wanted["version"])
        assert set(wanted.get("features", ())) <= set(features)


def test_side_by_side(tflm_library, digits_tflite):
    command = [sys.executable, "-m", "hil.measure", str(digits_tflite), "--runtime", "tflm,sparse", "--repeat", "2"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "COLUMNS": "80"}
    )
    assert result.returncode == 0, result.stderr
    assert "tflm / sparse" in result.stdout and "measured 2 times" in result.stdout
    # A line a figure: nothing is squeezed into slivers on a terminal of 80 columns.
    assert len(result.stdout.splitlines()) < 30
    assert "bit_exact: all outputs of 4 inputs equal" in result.stdout
    for word in ("flash_kernels", "flash_framework", "arena_head", "arena_tail"):
        assert word in result.stdout


def test_a_measurer_of_another_board_needs_a_slot(tmp_path):
    board = replace(load_board(), model_slot=None)
    with pytest.raises(UserError, match="no model_slot"):
        tflm.image_recipe(board, None, frozenset())
