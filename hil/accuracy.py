"""What a model's outputs mean: numbers, and how many of them are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfsparse.errors import UserError

if TYPE_CHECKING:
    from tfsparse.compiler import CompiledModel


def numbers_of(outputs: np.ndarray, compiled: CompiledModel) -> np.ndarray:
    """Outputs [N, elements] of bytes int8 [N, output_size]: the same, or indices of more than a byte."""
    return np.ascontiguousarray(outputs).view(np.dtype(compiled.outputs[0].dtype).newbyteorder("<"))


def accuracy_of(outputs: np.ndarray, labels: np.ndarray, compiled: CompiledModel) -> float:
    """Share of right answers: the index or the largest output, or, of a single one, whether it is above one half."""
    numbers = numbers_of(outputs, compiled)
    if numbers.dtype != np.int8:
        predictions = numbers[:, 0]
    elif compiled.output_size == 1:
        real = (outputs[:, 0].astype(np.float32) - compiled.output_zero_point) * compiled.output_scale
        predictions = (real > 0.5).astype(np.int64)
    else:
        predictions = outputs.argmax(axis=1)
    return float((predictions == labels).mean())


def check_labels(labels: np.ndarray, count: int, compiled: CompiledModel) -> None:
    """UserError where they cannot be the answers to `count` inputs."""
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"the labels have the shape {list(labels.shape)} and type {labels.dtype}; give one whole number for each "
            f"of the {count} inputs"
        )
    if compiled.outputs[0].dtype != "int8":
        return  # an index: the model does not tell how many classes there are
    classes = max(2, compiled.output_size)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(f"the labels go from {labels.min()} to {labels.max()}; this model knows 0 to {classes - 1}")
