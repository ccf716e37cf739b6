"""What the shapes, scales and sizes of ordinary networks hardly ever are: byte for byte all the same, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.cases import Cases
from support.run_c import TARGETS, Core, Host, run_on, run_on_host
from support.tflite_writer import Writer
from tfsparse.compiler import build_program, compile_model
from tfsparse.compiler.flow import table_switches
from tfsparse.errors import UserError

EVERY_TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def convolution(
    model: Writer, x: int, shape: tuple[int, int, int], filters: int, stride: int = 1, density: float = 1.0
) -> tuple[int, tuple[int, int, int]]:
    """Append a 3x3 convolution, padded by zeros, to a map of `shape`; its output and the output's shape."""
    height, width, channels = shape
    rng = np.random.default_rng([height, width, channels, filters])
    data = rng.integers(-127, 128, (filters, 3, 3, channels)) * (rng.random((filters, 3, 3, channels)) < density)
    weights = model.tensor(data.shape, 0.01, data=data)
    bias = model.tensor((filters,), 0.001, dtype="int32", data=rng.integers(-500, 500, filters))
    out = -(-height // stride), -(-width // stride), filters
    y = model.tensor((1, *out), 0.1, 0)
    model.operator(
        "CONV_2D", [x, weights, bias], [y],
        padding=0, strideH=stride, strideW=stride, dilationHFactor=1, dilationWFactor=1,
    )  # fmt: skip
    return y, out


def padded_then_seen_otherwise() -> bytes:
    """The padding lies around a map of three channels; the convolution sees its bytes as one of a single channel."""
    model = Writer()
    x, padded, seen = model.input((1, 4, 4, 3), 0.1), model.tensor((1, 6, 6, 3), 0.1), model.tensor((1, 6, 18, 1), 0.1)
    model.operator("PAD", [x, model.integers([[0, 0], [1, 1], [1, 1], [0, 0]])], [padded])
    model.operator("RESHAPE", [padded, model.integers([1, 6, 18, 1])], [seen])
    return model.bytes([convolution(model, seen, (6, 18, 1), 2)[0]])


def clamped_in_another_shape(dense: bool) -> bytes:
    """RELU of the scale that is there, after a RESHAPE."""
    model = Writer()
    if dense:
        weights = np.random.default_rng(1).integers(-127, 128, (64, 10))
        x, y, shape = model.input((1, 10), 0.1), model.tensor((1, 64), 0.1), (1, 4, 4, 4)
        model.operator("FULLY_CONNECTED", [x, model.tensor((64, 10), 0.05, data=weights), -1], [y])
    else:
        y, _ = convolution(model, model.input((1, 4, 4, 3), 0.1), (4, 4, 3), 4)
        shape = (1, 64)
    seen, clamped = model.tensor(shape, 0.1), model.tensor(shape, 0.1)
    model.operator("RESHAPE", [y, model.integers(list(shape))], [seen])
    model.operator("RELU", [seen], [clamped])
    return model.bytes([clamped])


def clamp_with_scales_that_round() -> bytes:
    """8 times these scales' quotient is 4.5 but for how the quotient is rounded, which TFLite does in float32."""
    model = Writer()
    x, y = model.input((1, 256), 0.09787724, -128), model.tensor((1, 256), 0.17400399, -128)
    model.operator("RELU", [x], [y])
    return model.bytes([y])


def a_tall_input_read_late(rows: int) -> bytes:
    """Two inputs: convolutions that are streamed read the second, and what follows them the first, of so many rows."""
    model = Writer()
    tall, y = model.input((1, rows, 1, 1), 0.1), model.input((1, 24, 16, 1), 0.1)
    shape = (24, 16, 1)
    for filters, stride in ((6, 1), (4, 2), (4, 2)):
        y, shape = convolution(model, y, shape, filters, stride)
    parts = []
    for value, size in ((y, int(np.prod(shape))), (tall, rows)):
        parts.append(model.tensor((1, size), 0.1))
        model.operator("RESHAPE", [value, model.integers([1, size])], [parts[-1]])
    size = int(np.prod(shape)) + rows
    joined, out = model.tensor((1, size), 0.1), model.tensor((1, 3), 1.0)
    model.operator("CONCATENATION", parts, [joined], axis=1)
    weights = np.random.default_rng(2).integers(-127, 128, (3, size))
    model.operator("FULLY_CONNECTED", [joined, model.tensor((3, size), 0.01, data=weights), -1], [out])
    return model.bytes([out])


CORNERS = {
    "a pad in another shape": padded_then_seen_otherwise(),
    "a clamp of a map in another shape": clamped_in_another_shape(dense=False),
    "a clamp of a vector in another shape": clamped_in_another_shape(dense=True),
    "a clamp with scales that round": clamp_with_scales_that_round(),
    "a tall input read late": a_tall_input_read_late(300),
}


@EVERY_TARGET
def test_corners(target: Host | Core, tmp_path: Path) -> None:
    cases = Cases()
    for name, tflite in CORNERS.items():
        for optimize in ("size", "speed"):
            model = compile_model(tflite, tmp_path / f"{name} {optimize}", optimize=optimize)
            inputs = np.random.default_rng(0).integers(-128, 128, (4, model.input_size)).astype(np.int8)
            if model.input_size == 256:
                inputs[0] = np.arange(-128, 128)
            cases.add(f"{name}, {optimize}", tflite, model, inputs)
    cases.check(target, tmp_path / "build")


def test_a_tall_input_is_read_after_streamed_layers() -> None:
    """Else the corner above shows nothing."""
    flow = build_program(CORNERS["a tall input read late"], "x", optimize="size").flow
    assert len(flow.streamed) >= 2 and flow.input_rows == 300


@EVERY_TARGET
def test_equal_shares_of_so_many_that_each_is_nothing(target: Host | Core, tmp_path: Path) -> None:
    """TFLite's reference kernel aborts over these; what its arithmetic would go on to say is a share below one half."""
    if reason := target.missing():
        pytest.skip(reason)
    models = []
    for size in (512, 1000):
        model = Writer()
        x, y = model.input((1, size), 0.01), model.tensor((1, size), 1 / 256, -128)
        model.operator("SOFTMAX", [x], [y], beta=1.0)
        models.append(compile_model(model.bytes([y]), tmp_path / str(size)))
    found = run_on(target, models, [np.zeros((1, model.input_size), np.int8) for model in models], tmp_path / "build")
    assert all((outputs == -128).all() for outputs in found)


@pytest.mark.slow
def test_rows_that_lie_beyond_64_kilobytes(tmp_path: Path) -> None:
    """Rows of an odd number of bytes, so that a table says their places byte by byte."""
    model = Writer()
    y, shape = model.input((1, 161, 161, 3), 0.1), (161, 161, 3)
    for filters, stride in ((5, 1), (9, 1), (3, 4)):
        y, shape = convolution(model, y, shape, filters, stride, density=0.2)
    tflite = model.bytes([y])
    assert table_switches(build_program(tflite, "x").plan) == ["TFS_UNIT 1", "TFS_PLACE uint32_t"]
    cases = Cases()
    compiled = compile_model(tflite, tmp_path / "code")
    inputs = np.random.default_rng(0).integers(-128, 128, (1, compiled.input_size)).astype(np.int8)
    cases.add("large", tflite, compiled, inputs)
    (found,) = run_on_host([compiled], [inputs], tmp_path / "build")
    np.testing.assert_array_equal(found.reshape(1, -1), cases.expected[0])


def test_a_network_without_weights_at_every_optimisation() -> None:
    model = Writer()
    x, y = model.input((1, 64), 0.1), model.tensor((1, 64), 0.2, 3)
    model.operator("QUANTIZE", [x], [y])
    for optimize in ("size", "balanced", "speed"):
        assert len(build_program(model.bytes([y]), "x", optimize=optimize).network.layers) == 1


def test_an_input_that_nothing_reads_is_refused() -> None:
    """Its bytes would be another's."""
    model = Writer()
    model.input((1, 64), 0.1)
    x, y = model.input((1, 64), 0.1), model.tensor((1, 64), 0.2, 3)
    model.operator("QUANTIZE", [x], [y])
    with pytest.raises(UserError, match="do not depend on its input 't0'; export the model without it"):
        build_program(model.bytes([y]), "x")


def test_sides_that_only_a_reshape_makes_too_long_are_refused() -> None:
    model = Writer()
    x, flat, y = model.input((1, 300, 300, 1), 0.1), model.tensor((90_000,), 0.1), model.tensor((2,), 0.1)
    model.operator("RESHAPE", [x, model.integers([90_000])], [flat])
    model.operator("GATHER", [flat, model.integers([5, 70_000])], [y], axis=0)
    with pytest.raises(UserError, match=r"\(90000,\) is beyond any microcontroller"):
        build_program(model.bytes([y]), "x")
