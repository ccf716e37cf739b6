"""The benchmarks of runtimes and measurements, on one small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.measurement import seconds_of

ROOT = Path(__file__).resolve().parents[2]


def test_sparse_dense_and_tflm_side_by_side(digits_tflite, tflm_library):
    command = [sys.executable, "-m", "benchmarks.runtimes", "--models", str(digits_tflite), "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    (row,) = found["models"]
    sparse, dense, tflm = row["sparse"], row["dense"], row["tflm"]
    assert (sparse["runtime"], dense["runtime"], tflm["runtime"]) == ("sparse", "sparse", "tflm")
    assert sparse["bit_exact"] and dense["bit_exact"] and tflm["max_difference"] <= 1
    # Every weight is written out: its payload is that of a net without zeros.
    assert dense["payload"] - sparse["payload"] > sparse["nnz"]
    assert dense["nnz"] == sparse["nnz"] == tflm["nnz"]
    assert row["ratios"]["tflm"]["instructions"] == pytest.approx(tflm["instructions"] / sparse["instructions"])
    assert row["ratios"]["tflm"]["flash_model"] > 4 and row["ratios"]["dense"]["flash_model"] > 1
    assert found["geometric_means"]["dense"] == row["ratios"]["dense"]


def test_seconds_a_measurement(digits_tflite, tmp_path):
    found = seconds_of("sparse", [digits_tflite] * 2, tmp_path)
    (wall,), (processor,) = found["wall"], found["processor"]
    assert wall > 0 and processor > 0.05  # the compiler's, the linker's and the emulator's, too
