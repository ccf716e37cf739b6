"""Byte for byte: generated C, on the host (sanitizers on) and on an emulated Cortex-M4, against TFLite's reference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from support.run_c import missing_cortex_m4, run_on_cortex_m4, run_on_host
from support.tflite_models import (
    random_tflite,
    reference_outputs,
    single_layer_tflite,
    with_operator,
    with_output_scale,
)
from tfsparse.compiler import CompiledModel, compile_model
from tfsparse.compiler.operators import HANDLERS
from tfsparse.compiler.reader import read_model
from tfsparse.errors import UserError

SEEDS = range(28)
FACTORS = (0.003, 0.05, 0.3, 2.0, 7.3)
TARGETS = pytest.mark.parametrize("run", [run_on_host, run_on_cortex_m4], ids=["host", "cortex_m4"])


@dataclass
class Batch:
    """Compiled models, int8 inputs and the reference's outputs, side by side; `names` for messages."""

    names: list[str]
    models: list[CompiledModel]
    inputs: list[np.ndarray]
    expected: list[np.ndarray]

    def add(self, name: str, tflite: bytes, model: CompiledModel, samples: int) -> None:
        rng = np.random.default_rng(len(self.names))
        inputs = rng.integers(-128, 128, (samples, *model.input_shape)).astype(np.int8)
        inputs[0] = rng.choice([-128, 127], model.input_shape)  # the corners of the range
        scales = (model.input_scale, model.input_zero_point), (model.output_scale, model.output_zero_point)
        self.names.append(name)
        self.models.append(model)
        self.inputs.append(inputs)
        self.expected.append(reference_outputs(tflite, inputs, *scales))

    def check(self, run, work: Path) -> None:
        if run is run_on_cortex_m4 and (reason := missing_cortex_m4()):
            pytest.skip(reason)
        for name, found, expected in zip(self.names, run(self.models, self.inputs, work), self.expected, strict=True):
            np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.fixture(scope="module")
def random_networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Batch, Counter[str]]:
    """Networks over all operators, and how often each operator occurs in them."""
    batch, operators = Batch([], [], [], []), Counter()
    for seed in SEEDS:
        tflite = random_tflite(seed)
        try:
            model = compile_model(tflite, tmp_path_factory.mktemp(f"random{seed}"))
        except UserError as error:
            # An all-zero layer before it leaves softmax a scale with which TFLite itself aborts.
            assert re.search("beta times input scale .* TFLite has no softmax", str(error)), f"seed {seed}: {error}"
            continue
        operators.update(operator.kind for operator in read_model(tflite).operators)
        batch.add(f"seed {seed}", tflite, model, samples=3)
    return batch, operators


@pytest.fixture(scope="module")
def scaled_layers(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Single layers with output scales that make shifts small or negative: there the ways to round differ most."""
    batch = Batch([], [], [], [])
    kinds = [(kind, False) for kind in ("conv", "depthwise", "dense", "add", "mean", "relu")]
    for kind, clip in [*kinds, ("relu", True)]:  # RELU (19) becomes RELU_N1_TO_1 (20), which has no options either
        for factor in FACTORS:
            name = f"{kind} with output scale times {factor}"
            tflite = with_output_scale(with_operator(single_layer_tflite(kind), 19, 20 if clip else 19), factor)
            try:
                model = compile_model(tflite, tmp_path_factory.mktemp("scaled"))
            except UserError as error:
                assert kind == "add" and "output scale is too small" in str(error)
                continue
            batch.add(name, tflite, model, samples=60)
    return batch


@pytest.mark.slow
def test_random_networks_cover_all_operators(random_networks: tuple[Batch, Counter[str]]) -> None:
    batch, operators = random_networks
    assert len(batch.models) >= 0.8 * len(SEEDS)
    # The converter does not make these of such graphs; SQUEEZE and EXPAND_DIMS are in test_model.py, the last below.
    rare = {"SQUEEZE", "EXPAND_DIMS", "RELU_N1_TO_1"}
    assert set(HANDLERS) - rare <= set(operators)
    formats = Counter(layer.format for model in batch.models for layer in model.layers)
    assert formats["dense"] > 20 and formats["bitmap"] > 20


@pytest.mark.slow
@TARGETS
def test_random_networks(random_networks: tuple[Batch, Counter[str]], run, tmp_path: Path) -> None:
    random_networks[0].check(run, tmp_path)


@TARGETS
def test_rounding(scaled_layers: Batch, run, tmp_path: Path) -> None:
    scaled_layers.check(run, tmp_path)
