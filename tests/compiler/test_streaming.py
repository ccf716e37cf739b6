"""Rows streamed through layers, and inputs fed by rows: byte for byte as TFLite's reference, on host and Cortex-M4."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.cases import Cases
from support.mlperf_tiny import mlperf_tiny_tflite
from support.run_c import CORTEX_M4, GCC, Core, Host
from support.tflite_models import random_tflite
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.compiler import OPTIMIZE, compile_model, schedule
from tfsparse.convert import untrained_model
from tfsparse.errors import UserError
from tfsparse.network import network_of

SEEDS = range(14)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """Random networks with rows streamed wherever that saves a byte, most with rows that lie anywhere; for size, both
    and speed by turns; and fed by rows where they can be."""
    found = Cases()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "_WORTH_STREAMING", dict.fromkeys(OPTIMIZE, -(1 << 20)))
        for seed in SEEDS:
            patch.setattr(schedule, "_WORTH_TABLES", -(1 << 20) if seed % 4 else 1 << 20)
            tflite = random_tflite(seed)
            for by_rows in (False, True):
                optimize = OPTIMIZE[(seed + by_rows) % len(OPTIMIZE)]
                try:
                    model = compile_model(
                        tflite, tmp_path_factory.mktemp("streamed"), optimize=optimize, by_rows=by_rows
                    )
                except UserError as error:
                    assert re.search("TFLite has no softmax|cannot be fed by rows", str(error)), f"{seed}: {error}"
                    continue
                inputs = np.random.default_rng(seed).integers(-128, 128, (2, model.input_size)).astype(np.int8)
                found.add(f"seed {seed}, {optimize}, by rows: {by_rows}", tflite, model, inputs)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", [GCC, CORTEX_M4], ids=lambda target: target.name)
def test_streamed_networks(cases: Cases, target: Host | Core, tmp_path: Path) -> None:
    assert sum(model.row_size > 0 for model in cases.models) >= len(SEEDS) // 3
    assert sum(any(layer.streamed for layer in model.layers) for model in cases.models) >= len(SEEDS) // 2
    cases.check(target, tmp_path)


def _shortcuts(*blocks: Block, multi_scale: bool = False) -> bytes:
    """An int8 model of these blocks for 28x28 images, its weights fresh."""
    candidate = Candidate(blocks, multi_scale=multi_scale)
    return untrained_model(network_of(candidate, (28, 28, 1), 10), pruned=False)


THREE = (Layer("plain", 6, 3),)
WIDER = Block((Layer("separable", 8, 3), Layer("plain", 9, 3)), "stride", 2, residual=True)
SAME = Block((*THREE, *THREE), "stride", 1, residual=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", [GCC, CORTEX_M4], ids=lambda target: target.name)
def test_shortcuts_with_a_convolution_and_without_in_one_network(target: Host | Core, tmp_path: Path) -> None:
    """The layer that adds waits for the convolution beside the block in one place and for the block in the other."""
    networks = {
        "after": _shortcuts(Block(THREE, "stride", 2), SAME, WIDER),
        "before": _shortcuts(WIDER, replace(SAME, layers=(Layer("plain", 9, 3),)), WIDER),
        "multi-scale": _shortcuts(replace(SAME, layers=THREE), WIDER, multi_scale=True),
        "resnet8": mlperf_tiny_tflite("resnet8"),
    }
    cases = Cases()
    for name, tflite in networks.items():
        whole = compile_model(tflite, tmp_path / f"{name}-whole")
        rows = compile_model(tflite, tmp_path / f"{name}-rows", by_rows=True)
        assert any(layer.streamed for layer in whole.layers) and rows.row_size > 0
        assert rows.arena < whole.arena
        for model in (whole, rows):
            inputs = np.random.default_rng(0).integers(-128, 128, (2, model.input_size)).astype(np.int8)
            cases.add(f"{name}, a row: {model.row_size}", tflite, model, inputs)
    # Layer by layer it would hold the first map beside the first block's.
    assert cases.models[-2].arena < 32 * 32 * 16
    cases.check(target, tmp_path)
