"""A candidate: one point of the design space, before training.

Omega = {alpha, vartheta, omega, theta} of SpArSe (Fedorov et al. 2019): a candidate holds the architecture alpha
(blocks, depth, width, where outputs are taken), the operations vartheta (kinds of convolution and pooling) and theta
(training and pruning); omega, the weights, are what training makes of it.

Candidates are frozen, equal when all their parts are equal, and written as JSON with sorted keys, so that equal
candidates have the same `id` on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

CONVOLUTIONS = ("plain", "cut", "separable")
DOWNSAMPLINGS = ("stride", "max", "average")
HEADS = ("flatten", "average", "depthwise")
PRUNINGS = ("none", "unstructured", "structured", "both")
SCHEDULES = ("cosine", "linear", "constant")
WEIGHT_BITS = (3, 4, 6, 8)
FULL_BITS = 8
"""What int8 has anyway: nothing is rounded in training."""

MAX_BLOCKS = 7
MAX_LAYERS = 3
MAX_DENSE = 2


@dataclass(frozen=True)
class Layer:
    """One convolutional layer.

    `plain` is a kernel x kernel convolution; `cut` a 1x1 convolution to `cut` times the input's channels, then kernel x
    kernel; `separable` a kernel x kernel depthwise convolution, then 1x1. `filters` is the number of output channels.
    """

    convolution: str
    filters: int
    kernel: int
    cut: float = 1.0


@dataclass(frozen=True)
class Block:
    """1..3 layers, an optional shortcut around them, and at the end a downsampling by `factor` (1: none).

    `downsampling` is `stride` (of the last layer), or `max` or `average` pooling behind the block. A residual block's
    shortcut is the identity where shapes allow and a 1x1 convolution (strided like the block) where they do not.
    """

    layers: tuple[Layer, ...]
    downsampling: str = "stride"
    factor: int = 1
    residual: bool = False


@dataclass(frozen=True)
class Training:
    """theta: how a candidate is trained and pruned.

    `epochs` is a multiple of the rung's length (the search decides how long a stage's rung is). `kl_weight`
    multiplies the evidence bound's KL term at full strength, reached after a ramp over `kl_warmup` (a fraction of the
    pruning phase). `pruning` is `unstructured` (single weights), `structured` (whole channels, units, and inputs of the
    first dense layer) or `both`, one after the other. A weight or group is pruned where log alpha exceeds its family's
    threshold. `distillation` is what a teacher's answers count for in the loss; the labels have the rest.
    `weight_bits`: with fewer than 8 the weights are trained to lie on 2^bits - 1 levels (see `levels`).
    """

    learning_rate: float = 0.02
    schedule: str = "cosine"
    batch_size: int = 64
    epochs: float = 1.0
    dropout: float = 0.0
    weight_decay: float = 1e-4
    augmentation: float = 0.5
    pruning: str = "none"
    kl_weight: float = 1.0
    kl_warmup: float = 0.4
    threshold_convolution: float = 3.0
    threshold_dense: float = 3.0
    threshold_group: float = 3.0
    distillation: float = 0.0
    weight_bits: int = FULL_BITS

    @property
    def prunes_groups(self) -> bool:
        """Whether whole channels and units may go, so that the pruned network's shapes are not known before."""
        return self.pruning in ("structured", "both")


@dataclass(frozen=True)
class Candidate:
    """One point of the design space.

    `grey`: the input is turned to grey before the model sees it (the sensor's setting, not the model's cost).
    `input_factor`: the model's first operation downsamples its input by this factor, by `input_pooling` (max or
    average). `linear_depthwise`: no ReLU between a separable layer's depthwise and 1x1 convolution. `head`: how the
    last block's map becomes a vector: `flatten`, `average` (global) or `depthwise` (a learned pooling: a depthwise
    convolution over the whole map). `multi_scale`: the earlier blocks' outputs, globally averaged, are concatenated
    to it. `dense`: units of the hidden dense layers, none to two.
    """

    blocks: tuple[Block, ...]
    head: str = "flatten"
    multi_scale: bool = False
    dense: tuple[int, ...] = ()
    grey: bool = False
    input_factor: int = 1
    input_pooling: str = "average"
    linear_depthwise: bool = True
    training: Training = Training()

    # Candidates are keys of dictionaries, and asked for by the thousand in each proposal: the hash is computed once.

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def __getstate__(self) -> dict[str, Any]:
        # Another process hashes strings otherwise.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def architecture(self) -> Candidate:
        """The candidate with the default training: the same for all that share their untrained network."""
        return replace(self, training=Training())

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Candidate:
        """The candidate that `to_json` wrote; ValueError where a key is missing or unknown."""
        try:
            known = {field.name for field in fields(cls)}
            if unknown := set(data) - known:
                raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
            blocks = tuple(
                _made(Block, {**block, "layers": tuple(_made(Layer, layer) for layer in block["layers"])})
                for block in data["blocks"]
            )
            return _made(
                cls,
                {
                    **data,
                    "blocks": blocks,
                    "dense": tuple(data.get("dense", ())),
                    "training": _made(Training, data.get("training", {})),
                },
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a candidate: {error}") from error

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that are the same for equal candidates, on every machine."""
        return _digest(self.to_json())

    @property
    def architecture_id(self) -> str:
        """Like `id`, of all but the training: candidates that share it share their untrained network."""
        data = self.to_json()
        del data["training"]
        return _digest(data)


# What JSON has for a field of this annotation.
_JSON_KINDS = {"int": (int, float), "float": (int, float), "str": (str,), "bool": (bool,)}


def _made(cls: type, data: dict[str, Any]) -> Any:
    """An instance of these fields; TypeError where one is missing, unknown or no value of its kind."""
    one = cls(**data)
    for field in fields(cls):
        value = getattr(one, field.name)
        if type(value) not in _JSON_KINDS.get(field.type, (type(value),)):
            raise TypeError(f"{field.name} is {value!r}")
    return one


def _digest(data: dict[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
