"""Rows streamed through layers, and inputs fed by rows: byte for byte as TFLite's reference, on host and Cortex-M4."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from support.cases import Cases
from support.run_c import CORTEX_M4, GCC, Core, Host
from support.tflite_models import random_tflite
from tfsparse.compiler import OPTIMIZE, compile_model, schedule
from tfsparse.errors import UserError

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
