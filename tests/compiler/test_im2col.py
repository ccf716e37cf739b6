"""Plain convolutions by copies of their windows: byte for byte over shapes, and only where that is worth its flash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import network_model
from benchmarks.runtimes import random_model
from support.cases import Cases
from support.run_c import CORTEX_M0, CORTEX_M4, GCC, TARGETS, Core, Host
from support.tflite_writer import Writer
from tfsparse.compiler import build_program, choose, compile_model, kernels, schedule
from tfsparse.errors import UserError

KERNEL = "tfs_conv_im2col"
SEEDS = range(10)


def chain(rng: np.random.Generator) -> bytes:
    """Two or three convolutions of any window, some with more columns than the map has, or dilated down the map."""
    model = Writer()
    height, width, channels = (int(rng.integers(1, most)) for most in (15, 15, 10))
    scale = 0.05
    x = model.input((1, height, width, channels), scale, int(rng.integers(-128, 128)))
    for _ in range(int(rng.integers(2, 4))):
        rows, columns, filters = (int(rng.integers(1, most)) for most in (5, 6, 24))
        stride = (int(rng.choice([1, 1, 2])), int(rng.choice([1, 1, 2, 3])))
        dilation = 2 if stride[0] == 1 and rng.random() < 0.2 else 1
        valid = rows * dilation <= height and columns <= width and rng.random() < 0.4
        shape = (filters, rows, columns, channels)
        scales = np.exp(rng.uniform(-5, -3, filters)).astype(np.float32)
        bias = model.tensor(
            (filters,), scales * np.float32(scale), dtype="int32", data=rng.integers(-3000, 3000, filters)
        )
        w = model.tensor(shape, scales, data=rng.integers(-127, 128, shape))
        # Most outputs are not clamped; a small scale makes shifts that do not all go right.
        scale = float(np.float32(scale * 2 * np.sqrt(rows * columns * channels) * rng.choice([0.03, 1, 1, 1])))
        extents = ((rows - 1) * dilation + 1, columns)
        height, width = (
            -(-(n - (extent - 1) * valid) // step)
            for n, extent, step in zip((height, width), extents, stride, strict=True)
        )
        y = model.tensor((1, height, width, filters), scale, int(rng.integers(-30, 30)))
        model.operator(
            "CONV_2D", [x, w, bias], [y], strideH=stride[0], strideW=stride[1], dilationHFactor=dilation,
            dilationWFactor=1, padding=int(valid), fusedActivationFunction=int(rng.choice([0, 1])),
        )  # fmt: skip
        x, channels = y, filters
    return model.bytes([x])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """With the kernel wherever it can run, however much it takes; a third streamed, with rows that lie anywhere or in
    rings, and another third fed by rows."""
    found = Cases()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "kernel_of", lambda layer, name, *_: kernels.kernel_of(layer, name, "im2col", 1 << 20))
        patch.setattr(schedule, "_WORTH_STREAMING", dict.fromkeys(("balanced", "speed"), -(1 << 20)))
        for seed in SEEDS:
            patch.setattr(schedule, "_WORTH_TABLES", -(1 << 20) if seed % 2 else 1 << 20)
            tflite = chain(np.random.default_rng(seed))
            for optimize, by_rows in (("speed", False), ("balanced", False), ("speed", True)):
                try:
                    model = compile_model(
                        tflite, tmp_path_factory.mktemp("case"), optimize=optimize, by_rows=by_rows, formats=["dense"]
                    )
                except UserError as error:
                    assert by_rows and "cannot be fed by rows" in str(error)
                    continue
                if not (model.directory / f"{KERNEL}.h").exists():
                    continue
                inputs = np.random.default_rng(seed).integers(-128, 128, (2, model.input_size)).astype(np.int8)
                found.add(f"seed {seed}, {optimize}, by rows: {by_rows}", tflite, model, inputs)
    return found


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_exact(cases: Cases, target: Host | Core, tmp_path: Path) -> None:
    """All on one host and one core; on the others, which differ in the code generator alone, every third."""
    assert len(cases.models) >= 2 * len(SEEDS) and sum(model.row_size > 0 for model in cases.models) >= len(SEEDS) // 4
    assert sum(any(layer.streamed for layer in model.layers) for model in cases.models) >= len(SEEDS) // 2
    room = 6_000 if target is CORTEX_M0 else 1 << 20
    chosen = [i for i, model in enumerate(cases.models) if model.arena + model.output_size < room]
    cases.check(target, tmp_path, chosen if target in (GCC, CORTEX_M4) else chosen[::4])


@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_dense_weights_alone_are_worth_it(zeros: float) -> None:
    """A network with many multiply-accumulates gets the kernel for speed, unless most weights are zero."""
    found = build_program(random_model("digits", zeros), "x", "speed").kernels
    assert (KERNEL in found.values()) == (zeros == 0.0)
    assert KERNEL not in build_program(random_model("digits", zeros), "x", "balanced").kernels.values()


def test_small_networks_keep_their_flash_and_ram() -> None:
    """Other kernels run the depthwise layers: one more would be a quarter of the flash for some instructions. Fed by
    rows a network might do without those, but its RAM counts."""
    assert KERNEL not in build_program(network_model("28x28x1"), "x", "speed").kernels.values()
    fed = build_program(network_model("32x32x3, residual"), "x", "speed", by_rows=True)
    assert KERNEL not in fed.kernels.values()


def test_rows_over_rows_that_die_are_not_copied() -> None:
    """A single channel in and out: a row may lie over one of the input, which this kernel would read too late."""
    model = Writer()
    x, y = model.input((1, 8, 8, 1), 0.1, 3), model.tensor((1, 8, 8, 1), 0.2)
    w = model.tensor((1, 3, 3, 1), [0.01], data=np.arange(-4, 5))
    bias = model.tensor((1,), [0.001], dtype="int32", data=np.array([5]))
    model.operator("CONV_2D", [x, w, bias], [y], strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    (layer,) = build_program(model.bytes([y]), "x").network.layers
    assert kernels.kernel_of(layer, "dense", "im2col", 1 << 20) != KERNEL
