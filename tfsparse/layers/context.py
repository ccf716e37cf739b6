"""What a training loop may tell the variational layers that it calls: where noise comes from, and who adds the KL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import keras
import tensorflow as tf

NoiseSource = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class TrainingContext:
    """`noise` gives standard normal noise shaped like the tensor it is handed (None: the layers draw their own);
    `layers_add_kl` is False where the training loop adds the KL to the loss itself."""

    noise: NoiseSource | None = None
    layers_add_kl: bool = True


_DEFAULT = TrainingContext()
_current: ContextVar[TrainingContext | None] = ContextVar("training_context", default=None)


def current_context() -> TrainingContext:
    """The context of the innermost `training_context`, or the default one."""
    return _current.get() or _DEFAULT


@contextmanager
def training_context(context: TrainingContext) -> Iterator[None]:
    """Let the variational layers called inside see `context`."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class KLWeight:
    """The factor of the KL in the loss, shared by a model's layers and changeable while it trains, without retracing.

    For Keras' own `fit`: the loss there is a mean over samples, so the evidence bound has the factor 1 / (number of
    training samples). It is training's state and not the model's: it is not saved with the layers.
    """

    def __init__(self, value: float = 0.0):
        self.variable = keras.Variable(value, dtype="float32", trainable=False, name="kl_weight")

    def assign(self, value: float) -> None:
        """Use `value` from the next step on."""
        self.variable.assign(value)
