"""A model as the search finds them, and measurers on the real emulator."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hil import tflm, tflm_crate
from hil.measure import Measurer
from hil.recipe import load_board
from hil.tflm import Library
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


@pytest.fixture(scope="session")
def tflm_library() -> Library:
    """TFLite Micro's sources and their library for the default board, made once in the project's cache."""
    if not os.environ.get("TFLM_DIR"):
        if shutil.which("cargo") is None and not tflm_crate.folder().is_dir():
            pytest.skip("no TFLite Micro: cargo is not on PATH (apt-get install cargo)")
        tflm_crate.fetch()
    return tflm.build_library(load_board())


@pytest.fixture(scope="session")
def tflm_measurer(tflm_library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measurer]:
    with Measurer(runtime="tflm", workdir=tmp_path_factory.mktemp("tflm")) as measurer:
        yield measurer
