"""TFLite's reference kernels on the bytes that a compiled model takes and gives."""

from __future__ import annotations

import numpy as np

from hil.reference import Reference
from tfsparse.compiler import CompiledModel


def reference_bytes(tflite: bytes, model: CompiledModel, inputs: np.ndarray) -> np.ndarray:
    """int8 [N, input_size], inputs one after the other -> int8 [N, output_size], outputs one after the other."""
    return Reference(tflite, model)(inputs)
