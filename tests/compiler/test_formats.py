"""Every weight format byte for byte on hosts and cores, and which of them a model as a whole gets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorflow.lite.tools import flatbuffer_utils

from support.reference import reference_bytes
from support.run_c import GCC, TARGETS, Core, Host, run_on
from support.weighted import KINDS, network
from tfsparse.compiler import CompiledModel, compile_model
from tfsparse.compiler.encode import FORMATS
from tfsparse.shorten import shorten


def check(target: Host | Core, work: Path, tflites: dict[str, bytes], models: list[CompiledModel]) -> None:
    """The models compute what TFLite's reference kernels do."""
    inputs, expected = [], []
    for i, (tflite, model) in enumerate(zip(tflites.values(), models, strict=True)):
        inputs.append(np.random.default_rng(i).integers(-128, 128, (3, *model.input_shape)).astype(np.int8))
        inputs[i][0] = np.random.default_rng(i).choice([-128, 127], model.input_shape)
        expected.append(reference_bytes(tflite, model, inputs[i].reshape(3, -1)))
    found = run_on(target, models, inputs, work)
    for name, outputs, wanted in zip(tflites, found, expected, strict=True):
        np.testing.assert_array_equal(outputs.reshape(wanted.shape), wanted, err_msg=name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("name", FORMATS)
def test_exact(name: str, target: Host | Core, tmp_path: Path) -> None:
    """With all kernels of convolutions on streams: "size" has the small one, "speed" lists of taps for many weights."""
    if reason := target.missing():
        pytest.skip(reason)
    cases = list(itertools.product(KINDS, ("size", "speed")))
    if target is not GCC:  # the others differ in the code generator alone
        cases = cases[FORMATS.index(name) % 3 :: 3]
    tflites = {f"{name}, {kind}, {optimize}": network(kind) for kind, optimize in cases}
    models = []
    for (_, optimize), tflite in zip(cases, tflites.values(), strict=True):
        models.append(compile_model(tflite, tmp_path / str(len(models)), optimize=optimize, formats=[name]))
        assert {layer.format for layer in models[-1].layers if layer.weights} == {name}
    check(target, tmp_path / "run", tflites, models)


MIXED = {"conv": "two values", "depthwise": "random", "pointwise": "sparse", "dense": "few values"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_formats_side_by_side(target: Host | Core, tmp_path: Path) -> None:
    """Layers that the reader must tell apart at run time."""
    if reason := target.missing():
        pytest.skip(reason)
    tflite = network(MIXED, size=48)
    model = compile_model(tflite, tmp_path / "model", optimize="size")
    assert len({layer.format for layer in model.layers if layer.weights}) >= 3
    check(target, tmp_path / "run", {"mixed": tflite}, [model])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_biases_in_units(target: Host | Core, tmp_path: Path) -> None:
    """Of a model whose biases were rounded: the same unit in all layers, and where one layer's were not, their own."""
    if reason := target.missing():
        pytest.skip(reason)
    alike = shorten(network("random", size=40), 6, bias_fraction=1)
    tflites = {"alike": alike, "own": with_odd_bias(alike), "none": with_biases(alike, lambda biases, _: 0 * biases)}
    models = [compile_model(tflite, tmp_path / name) for name, tflite in tflites.items()]
    texts = [(tmp_path / name / "model.c").read_text() for name in tflites]
    assert ["#define TFS_BIAS_UNITS" in text for text in texts] == [True, True, False]
    assert ["#define TFS_BIAS_UNIT(w)" in text for text in texts] == [True, False, False]
    check(target, tmp_path / "run", tflites, models)


def with_odd_bias(tflite: bytes) -> bytes:
    """The same with 1 added to a bias of the first layer, and none in the second."""

    def changed(biases: np.ndarray, layer: int) -> np.ndarray:
        return biases + (np.arange(len(biases)) == 0) if layer == 0 else biases * (layer != 1)

    return with_biases(tflite, changed)


def with_biases(tflite: bytes, changed: Callable[[np.ndarray, int], np.ndarray]) -> bytes:
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(tflite))
    graph = model.subgraphs[0]
    weighted = [operator for operator in graph.operators if len(operator.inputs) == 3]
    for i, operator in enumerate(weighted):
        bias = model.buffers[graph.tensors[operator.inputs[2]].buffer]
        values = np.frombuffer(bytes(bias.data), np.int32)
        bias.data = np.frombuffer(changed(values, i).astype(np.int32).tobytes(), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
