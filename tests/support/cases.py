"""Compiled models side by side with what TFLite's reference kernels compute: run together, compared byte for byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from support.reference import reference_bytes
from support.run_c import Core, Host, run_on
from tfsparse.compiler import CompiledModel


@dataclass
class Cases:
    """Compiled models, inputs int8 [N, input_size] and the reference's outputs int8 [N, output_size], side by side."""

    names: list[str] = field(default_factory=list)
    models: list[CompiledModel] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    expected: list[np.ndarray] = field(default_factory=list)

    def add(self, name: str, tflite: bytes, model: CompiledModel, inputs: np.ndarray) -> None:
        self.names.append(name)
        self.models.append(model)
        self.inputs.append(inputs)
        self.expected.append(reference_bytes(tflite, model, inputs))

    def check(self, target: Host | Core, work: Path, chosen: Iterable[int] | None = None) -> None:
        """The models chosen by number, or all, compute what TFLite does; skipped where the target is not there."""
        if reason := target.missing():
            pytest.skip(reason)
        chosen = list(range(len(self.models)) if chosen is None else chosen)
        found = run_on(target, [self.models[i] for i in chosen], [self.inputs[i] for i in chosen], work)
        for i, outputs in zip(chosen, found, strict=True):
            np.testing.assert_array_equal(outputs.reshape(len(outputs), -1), self.expected[i], err_msg=self.names[i])
