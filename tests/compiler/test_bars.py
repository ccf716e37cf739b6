"""Bars of memory, size and speed, on the emulated chip; and rows written over rows of the input that die with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import dense_quality, layer_model, network_model
from benchmarks.runtimes import random_model
from hil.measure import Measurer
from support.reference import reference_bytes
from support.run_c import CORTEX_M4, GCC, Core, Host, missing_cortex_m4, run_on
from tfsparse.compiler import compile_model

# Network -> the most bytes of ram_model with the input given as a whole, and fed by rows.
MOST_RAM = {"28x28x1": (1_280, 640), "32x32x3, residual": (3_600, 1_280)}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_RAM)
def test_ram_and_flash(name: str, tmp_path: Path) -> None:
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    path = tmp_path / "model.tflite"
    path.write_bytes(network_model(name))
    for by_rows, most in zip((False, True), MOST_RAM[name], strict=True):
        with Measurer(workdir=tmp_path, by_rows=by_rows, optimize="balanced") as measurer:
            found = measurer.measure(path)
        assert found.bit_exact
        assert found.ram_model <= most
    with Measurer(workdir=tmp_path, optimize="size") as measurer:
        found = measurer.measure(path)
    assert found.bit_exact
    assert found.flash_model - found.payload <= 2_048


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3x3, 1 to 8", "3x3, 3 to 16", "3x3, 6 to 6", "3x3, 8 to 8", "digits"])
def test_instructions_of_dense_convolutions(name: str, tmp_path: Path) -> None:
    """A layer takes at most 3.0 a multiply-accumulate, a network 1.2 times what kernels of CMSIS-NN's quality do."""
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    path = tmp_path / "model.tflite"
    path.write_bytes(random_model(name, 0.0) if name == "digits" else layer_model(name))
    with Measurer(workdir=tmp_path, formats=("dense",), optimize="speed") as measurer:
        found = measurer.measure(path)
    assert found.bit_exact
    most = 1.2 * dense_quality(path.read_bytes()) if name == "digits" else 3.0 * found.macs
    assert found.instructions <= most


@pytest.mark.parametrize("target", [GCC, CORTEX_M4], ids=lambda target: target.name)
def test_rows_over_rows_that_die(target: Host | Core, tmp_path: Path) -> None:
    """A depthwise convolution alone: its map and the input's differ by a row in their places."""
    if reason := target.missing():
        pytest.skip(reason)
    tflite = layer_model("depthwise 3x3")
    models = [compile_model(tflite, tmp_path / name, optimize=name) for name in ("size", "balanced")]
    row = 16 * 16
    assert all(model.arena == model.input_size + row for model in models)
    inputs = np.random.default_rng(0).integers(-128, 128, (2, models[0].input_size)).astype(np.int8)
    expected = reference_bytes(tflite, models[0], inputs)
    for found in run_on(target, models, [inputs] * 2, tmp_path):
        np.testing.assert_array_equal(found.reshape(2, -1), expected)
