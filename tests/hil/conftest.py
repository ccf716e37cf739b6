"""A model as the search finds them, and measurers on the real emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hil.measure import Measurer
from support.tflite_models import small_digits_like_tflite


@pytest.fixture(scope="session")
def digits_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 .tflite for 8x8x1 inputs and 10 classes, of random weights, most of them zero."""
    path = tmp_path_factory.mktemp("models") / "digits.tflite"
    path.write_bytes(small_digits_like_tflite())
    return path


@pytest.fixture(scope="session")
def digits_inputs() -> np.ndarray:
    """int8 [6, 8, 8, 1]"""
    return np.random.default_rng(1).integers(-128, 128, (6, 8, 8, 1), dtype=np.int8)


@pytest.fixture(scope="session")
def measurer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measurer]:
    with Measurer(workdir=tmp_path_factory.mktemp("measurer")) as measurer:
        yield measurer
