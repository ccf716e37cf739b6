"""Every weight format byte for byte on hosts and cores, and which of them a model as a whole gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.reference import reference_bytes
from support.run_c import CORTEX_M4, GCC, TARGETS, Core, Host, run_on
from support.tflite_writer import Writer
from tfsparse.compiler import compile_model
from tfsparse.compiler.encode import FORMATS

# What the weights of a network are: values that occur, and the share of zeros.
KINDS = {
    "random": (range(-127, 128), 0.0),
    "sparse": (range(-127, 128), 0.85),
    "few values": (range(-100, 101, 16), 0.6),
    "few bits": (range(-4, 4), 0.3),
    "two values": ((-127, 127), 0.5),
    "nearly none": ((77,), 0.996),
}


def network(kind: str | dict[str, str], size: int = 8, seed: int = 0) -> bytes:
    """A convolution, a depthwise and a pointwise one, and a dense layer. kind: of all layers, or by layer."""
    rng = np.random.default_rng([seed, *str(kind).encode()])
    model = Writer()

    def layer(name: str, operator: str, x: int, shape: tuple[int, ...], out: tuple[int, ...], **options: int) -> int:
        values, zeros = KINDS[kind if isinstance(kind, str) else kind[name]]
        axis = 3 if operator == "DEPTHWISE_CONV_2D" else 0
        channels = shape[axis]
        weights = rng.choice(np.array(values), shape) * (rng.random(shape) >= zeros)
        scales = np.exp(rng.uniform(-4, -2, channels)).astype(np.float32)
        w = model.tensor(shape, scales, data=weights, axis=axis)
        bias = rng.integers(-2000, 2000, channels)
        b = model.tensor((channels,), scales * np.float32(0.05), dtype="int32", data=bias)
        y = model.tensor(out, 0.05 if out[-1] > 1 else 0.2, int(rng.integers(-20, 20)))
        model.operator(operator, [x, w, b], [y], **options)
        return y

    step = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    x = model.input((1, 7, 6, 3), 0.05, 4)
    x = layer("conv", "CONV_2D", x, (size, 3, 3, 3), (1, 7, 6, size), fusedActivationFunction=1, **step)
    x = layer("depthwise", "DEPTHWISE_CONV_2D", x, (1, 3, 3, size), (1, 7, 6, size), depthMultiplier=1, **step)
    stride = step | {"strideH": 2, "strideW": 2}
    x = layer("pointwise", "CONV_2D", x, (6, 1, 1, size), (1, 4, 3, 6), **stride)
    flat = model.tensor((1, 72), 0.05, 0)
    model.graph.tensors[flat].quantization = model.graph.tensors[x].quantization
    model.operator("RESHAPE", [x, model.integers([1, 72])], [flat])
    x = layer("dense", "FULLY_CONNECTED", flat, (size + 2, 72), (1, size + 2))
    return model.bytes([x])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("name", FORMATS)
def test_exact(name: str, target: Host | Core, tmp_path: Path) -> None:
    if reason := target.missing():
        pytest.skip(reason)
    # All on one host and one core; on the others, which differ in the code generator alone, every third.
    kinds = list(KINDS) if target in (GCC, CORTEX_M4) else list(KINDS)[FORMATS.index(name) % 3 :: 3]
    models, inputs, expected = [], [], []
    for i, kind in enumerate(kinds):
        tflite = network(kind)
        model = compile_model(tflite, tmp_path / str(i), formats=[name])
        assert {layer.format for layer in model.layers if layer.weights} == {name}
        models.append(model)
        inputs.append(np.random.default_rng(i).integers(-128, 128, (3, *model.input_shape)).astype(np.int8))
        expected.append(reference_bytes(tflite, model, inputs[-1].reshape(3, -1)))
    for kind, found, wanted in zip(kinds, run_on(target, models, inputs, tmp_path / "run"), expected, strict=True):
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted, err_msg=f"{name}, {kind}")


MIXED = {"conv": "two values", "depthwise": "random", "pointwise": "sparse", "dense": "few values"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_formats_side_by_side(target: Host | Core, tmp_path: Path) -> None:
    """Layers that the reader must tell apart at run time."""
    if reason := target.missing():
        pytest.skip(reason)
    tflite = network(MIXED, size=24)
    model = compile_model(tflite, tmp_path / "model", optimize="size")
    assert len({layer.format for layer in model.layers if layer.weights}) >= 3
    inputs = np.random.default_rng(0).integers(-128, 128, (3, *model.input_shape)).astype(np.int8)
    found = run_on(target, [model], [inputs], tmp_path / "run")[0]
    np.testing.assert_array_equal(found.reshape(3, -1), reference_bytes(tflite, model, inputs.reshape(3, -1)))
