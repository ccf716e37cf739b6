"""TensorFlow Lite's reference kernels on the host: what every other runtime's outputs are compared with.

Through ai-edge-litert, the interpreter without TensorFlow, so that the chip's side of the `.tflite` border can use it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.reference import open_interpreter
from tfsparse.errors import UserError


class Interpreter:
    """One model with TFLite's reference kernels (no delegates), one thread.

    Raises `UserError` where the bytes are no model, or one that TFLite cannot run.
    """

    def __init__(self, model: bytes | Path):
        self._lite = open_interpreter(model if isinstance(model, bytes) else Path(model).read_bytes())
        self.input = self._lite.get_input_details()[0]
        self.output = self._lite.get_output_details()[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Without the batch."""
        return tuple(int(size) for size in self.input["shape"][1:])

    def quantised(self, images: np.ndarray) -> np.ndarray:
        """Float images [N, ...] as the model's input type takes them."""
        if self.input["dtype"] == np.float32:
            return images.astype(np.float32)
        scale, zero_point = self.input["quantization"]
        limits = np.iinfo(self.input["dtype"])
        return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max).astype(self.input["dtype"])

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs [N, ...] of inputs [N, ...] of the model's own type, one after the other."""
        if tuple(inputs.shape[1:]) != self.input_shape:
            raise UserError(
                f"the model takes inputs of shape {self.input_shape}, these are {tuple(inputs.shape[1:])}: reshape them"
            )
        outputs = np.empty((len(inputs), *self.output["shape"][1:]), self.output["dtype"])
        for index, one in enumerate(inputs):
            self._lite.set_tensor(self.input["index"], one[None])
            self._lite.invoke()
            outputs[index] = self._lite.get_tensor(self.output["index"])[0]
        return outputs

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The fraction of float images [N, ...] in 0..1 whose largest output is their label."""
        outputs = self.run(self.quantised(images)).reshape(len(images), -1)
        return float(np.mean(outputs.argmax(axis=1) == labels))
