"""Models that several tests of the compiler share; built once, as TensorFlow takes its time."""

from __future__ import annotations

import pytest

from support.tflite_models import small_digits_like_tflite


@pytest.fixture(scope="session")
def digits_tflite() -> bytes:
    return small_digits_like_tflite()
