"""Network morphisms, the weights' side: a parent's trained weights become its child's first ones.

Blocks, layers and dense layers of child and parent are aligned by what they are (not by their numbers, which shift when
one is added). Where an operation has a counterpart, the overlapping slice of its weights is copied; the child then
computes what the parent does wherever that can be (after Net2Net, Chen et al. 2016, and Wei et al. 2016):

- wider: weights that read the new channels are zero; larger kernels: the new ring is zero;
- a layer more: it starts as the identity; a residual block or a shortcut more: what it adds starts at zero;
- other heads, scales and resolutions: each feature's weights go to the features that cover the same part of the map;
- grey instead of colour: the weights of the colours are added up.

Everything else starts fresh. Pruned weights start at zero and may grow back; channels that nobody read any more start
with fresh weights of their own, still unread.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import keras
import numpy as np

from tfsparse.build import EPSILON, effective_kernel
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.errors import UserError
from tfsparse.layers import DENSE, set_phase
from tfsparse.network import WEIGHTED, Network, Op, Shape, network_of
from tfsparse.rewrite import OpWeights, channel_ids, needed_channels
from tfsparse.sensor import LUMA

# So many images tell what a fresh normalisation has to expect.
CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class LayerState:
    """A weighted op's kernel (`Network.kernel_shape`), bias (None where it is normalised), and normalisation (gamma,
    beta, moving mean, moving variance; None where it is not): float32."""

    kernel: np.ndarray
    bias: np.ndarray | None
    normalisation: np.ndarray | None


@dataclass(frozen=True)
class TrainedWeights:
    """What a trained candidate leaves to its children: its weights as trained, not folded, pruned ones zero.

    `image_shape` is that of the data set's images (height, width, channels).
    """

    candidate: Candidate
    image_shape: Shape
    classes: int
    layers: Mapping[str, LayerState]

    @cached_property
    def network(self) -> Network:
        return network_of(self.candidate, self.image_shape, self.classes)

    @classmethod
    def of(cls, candidate: Candidate, image_shape: Shape, classes: int, layers: Mapping[str, LayerState]):
        """The weights of a training model (`layer_states`) with whose candidate they belong together."""
        return cls(candidate, tuple(int(size) for size in image_shape), int(classes), layers)

    def to_bytes(self) -> bytes:
        """As a NumPy archive of a few kilobytes."""
        layout, parts = {}, []
        for name, state in self.layers.items():
            arrays = {key: value for key, value in vars(state).items() if value is not None}
            layout[name] = {key: value.shape for key, value in arrays.items()}
            parts += [value.ravel() for value in arrays.values()]
        head = {
            "candidate": self.candidate.to_json(),
            "image_shape": self.image_shape,
            "classes": self.classes,
            "layout": layout,
        }
        file = io.BytesIO()
        np.savez_compressed(file, head=np.array(json.dumps(head)), values=np.concatenate(parts).astype(np.float32))
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> TrainedWeights:
        """What `to_bytes` wrote; UserError where it is something else."""
        try:
            with np.load(io.BytesIO(data)) as archive:
                head, values = json.loads(str(archive["head"])), archive["values"]
            layers, at = {}, 0
            for name, shapes in head["layout"].items():
                arrays = {}
                for key, shape in shapes.items():
                    size = prod(shape)
                    arrays[key] = values[at : at + size].reshape(shape)
                    at += size
                layers[name] = LayerState(**{"bias": None, "normalisation": None, **arrays})
            return cls(Candidate.from_json(head["candidate"]), tuple(head["image_shape"]), head["classes"], layers)
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"these are no trained weights ({error}); remove the file: its child trains anew"
            ) from error


def layer_states(network: Network, model: keras.Model) -> dict[str, LayerState]:
    """The weights of a training model as they are now, pruned ones zero, scales multiplied in."""
    states = {}
    for op in _weighted(network):
        layer = model.get_layer(op.name)
        normalisation = None
        if op.normalised:
            norm = model.get_layer(f"{op.name}_normalisation")
            parts = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
            normalisation = np.stack([np.asarray(part) for part in parts])
        bias = np.asarray(layer.bias) if layer.use_bias else None
        states[op.name] = LayerState(effective_kernel(network, model, op), bias, normalisation)
    return states


def inherit(
    parent: TrainedWeights,
    candidate: Candidate,
    network: Network,
    model: keras.Model,
    images: np.ndarray | None = None,
) -> None:
    """Give `model`, a fresh training model of the candidate's network, what it can have of its parent's weights.

    `images` [N, H, W, C] float in 0..1 tell what values the child's new layers meet, so that their normalisation does
    in training what it does at inference. The model is left in the dense phase.
    """
    set_phase(model, DENSE)
    heir = _Heir(parent, candidate, network, layer_states(network, model))
    heir.run()
    _assign(network, model, heir.states)
    if images is not None:
        _calibrate(network, model, heir, images[:CALIBRATION_IMAGES])


# --- what corresponds to what ------


def aligned(
    children: Sequence, parents: Sequence, likeness: Callable[[object, object], float]
) -> list[tuple[int, int | None]]:
    """For each child its parent's place or None, orders kept, so that the likenesses (above 0) add up to the most."""
    best = np.zeros((len(children) + 1, len(parents) + 1))
    like = np.array([[likeness(c, p) for p in parents] for c in children]).reshape(len(children), len(parents))
    for c in reversed(range(len(children))):
        for p in reversed(range(len(parents))):
            best[c, p] = max(best[c + 1, p], best[c, p + 1], best[c + 1, p + 1] + like[c, p])
    pairs: list[tuple[int, int | None]] = []
    c = p = 0
    while c < len(children):
        if p < len(parents) and like[c, p] > 0 and np.isclose(best[c, p], best[c + 1, p + 1] + like[c, p]):
            pairs.append((c, p))
            c, p = c + 1, p + 1
        elif p < len(parents) and np.isclose(best[c, p], best[c, p + 1]):
            p += 1
        else:
            pairs.append((c, None))
            c += 1
    return pairs


def _layer_likeness(child: Layer, parent: Layer) -> float:
    if child.convolution != parent.convolution:
        return 0.1
    return 0.5 + 0.3 * (child.filters == parent.filters) + 0.2 * (child.kernel == parent.kernel)


def _block_likeness(child: Block, parent: Block) -> float:
    pairs = aligned(child.layers, parent.layers, _layer_likeness)
    alike = sum(_layer_likeness(child.layers[c], parent.layers[p]) for c, p in pairs if p is not None)
    same = 0.2 * (child.residual == parent.residual) + 0.1 * (child.factor == parent.factor)
    return alike / max(len(child.layers), len(parent.layers)) + same


def _units_likeness(child: int, parent: int) -> float:
    return 0.5 + 0.5 * (child == parent)


# --- a child's weights ------

_RANDOM, _IDENTITY, _ZERO, _AVERAGE = "random", "identity", "zero", "average"


class _Heir:
    """Works out a child's states from its parent's and its own fresh ones.

    `fresh[name]` are the output channels whose normalisation has no history; `identity` the ops whose normalisation
    must change nothing.
    """

    def __init__(
        self, parent: TrainedWeights, candidate: Candidate, network: Network, states: Mapping[str, LayerState]
    ):
        self.parent, self.candidate, self.network = parent, candidate, network
        self.random = dict(states)
        self.states = dict(states)
        self.fresh = {op.name: np.ones(network.shapes[op.name][-1], bool) for op in _weighted(network)}
        self.identity: set[str] = set()
        self.counterparts: dict[str, str] = {}
        self.starts: dict[str, str] = {}
        self.segments: dict[str, list[_Segment]] = {}
        self.scales: dict[str, str] = {}
        self._align()

    def _align(self) -> None:
        """Find each op's counterpart, and how those without one start."""
        child, parent = self.candidate, self.parent.candidate
        pairs = aligned(child.blocks, parent.blocks, _block_likeness)
        for c, p in pairs:
            block, name = child.blocks[c], f"b{c + 1}"
            if p is None:
                if block.residual:
                    self.starts[self._last_of(f"{name}_l{len(block.layers)}")] = _ZERO
                continue
            other = f"b{p + 1}"
            self.scales[f"scale{c + 1}"] = f"scale{p + 1}"
            if block.residual and f"{other}_shortcut" in self.parent.layers:
                self.counterparts[f"{name}_shortcut"] = f"{other}_shortcut"
            elif block.residual:
                self.starts[f"{name}_shortcut"] = _IDENTITY if parent.blocks[p].residual else _ZERO
            self._align_layers(name, block, other, parent.blocks[p])
        if child.head == "depthwise":
            if parent.head == "depthwise":
                self.counterparts["pooled"] = "pooled"
            elif parent.head == "average":
                self.starts["pooled"] = _AVERAGE
        for c, p in aligned(child.dense, parent.dense, _units_likeness):
            if p is None:
                self.starts[f"d{c + 1}"] = _IDENTITY
            else:
                self.counterparts[f"d{c + 1}"] = f"d{p + 1}"
        self.counterparts["logits"] = "logits"
        names = {op.name for op in self.network.ops}
        self.counterparts = {c: p for c, p in self.counterparts.items() if c in names}

    def _align_layers(self, name: str, block: Block, other: str, parent: Block) -> None:
        for c, p in aligned(block.layers, parent.layers, _layer_likeness):
            roles = _ROLES[block.layers[c].convolution]
            for role in roles:
                op = f"{name}_l{c + 1}_{role}"
                if p is None:
                    self.starts[op] = _IDENTITY
                elif block.layers[c].convolution == parent.layers[p].convolution:
                    self.counterparts[op] = f"{other}_l{p + 1}_{role}"

    def _last_of(self, layer: str) -> str:
        return [op.name for op in _weighted(self.network) if op.name.startswith(f"{layer}_")][-1]

    def run(self) -> None:
        """Fill in `states`."""
        for op in self.network.ops:
            if op.kind in WEIGHTED:
                counterpart = self.counterparts.get(op.name)
                if counterpart is not None:
                    self._copy(op, self.parent.network.op(counterpart))
                else:
                    self._start(op)
            self.segments[op.name] = self._segments_of(op)
        self._revive()

    # Ops with a counterpart.

    def _copy(self, op: Op, other: Op) -> None:
        mine, theirs = self.random[op.name], self.parent.layers[other.name]
        source = self._sources(op, other, theirs.kernel)
        if source is None:
            return
        kernel = mine.kernel.copy()
        shared = min(kernel.shape[-1], source.shape[-1])
        kernel[..., :shared] = 0
        kernel[..., :shared] = source[..., :shared]
        bias = None if mine.bias is None else _front(theirs.bias, mine.bias, shared)
        normalisation = mine.normalisation
        if normalisation is not None and theirs.normalisation is not None:
            normalisation = _front(theirs.normalisation, normalisation, shared)
        self.states[op.name] = LayerState(kernel.astype(np.float32), bias, normalisation)
        self.fresh[op.name][:shared] = False

    def _sources(self, op: Op, other: Op, theirs: np.ndarray) -> np.ndarray | None:
        """The counterpart's kernel for the child's inputs: all axes but the last are the child's."""
        if op.kind == "dense":
            return self._dense_rows(op, other, theirs)
        if op.padding == "valid":  # learned pooling of the whole map
            cover = _cover(self.network.shapes[op.inputs[0]][:2], self.parent.network.shapes[other.inputs[0]][:2])
            return np.einsum("yxhw,hwc->yxc", cover, theirs)
        child_map, parent_map = self.network.shapes[op.inputs[0]], self.parent.network.shapes[other.inputs[0]]
        resized = _resized(theirs, op, child_map, other, parent_map)
        if op.kind == "depthwise":
            return resized
        rows = np.zeros((*op.kernel, child_map[-1], resized.shape[-1]))
        if (child_map[-1], parent_map[-1]) == (1, 3) and self.candidate.grey and not self.parent.candidate.grey:
            rows[:, :, 0] = resized.sum(axis=2)
        elif (child_map[-1], parent_map[-1]) == (3, 1) and self.parent.candidate.grey and not self.candidate.grey:
            rows[:] = LUMA[:, None] * resized
        else:
            shared = min(child_map[-1], parent_map[-1])
            rows[:, :, :shared] = resized[:, :, :shared]
        return rows

    def _dense_rows(self, op: Op, other: Op, theirs: np.ndarray) -> np.ndarray | None:
        """The weights of the features that child and parent share, zero for others; None where they share none."""
        parents = {segment.key: segment for segment in _parent_segments(self.parent.network, other.inputs[0])}
        rows, found = [], False
        for segment in self.segments[op.inputs[0]]:
            part = np.zeros((*segment.shape, theirs.shape[-1]))
            source = parents.get(segment.key)
            if source is not None:
                found = True
                block = theirs[source.start : source.start + prod(source.shape)].reshape(*source.shape, -1)
                shared = min(segment.shape[-1], source.shape[-1])
                cover = _cover(segment.shape[:2], source.shape[:2])
                part[:, :, :shared] = np.einsum("yxhw,hwco->yxco", cover, block[:, :, :shared])
            rows.append(part.reshape(-1, theirs.shape[-1]))
        return np.concatenate(rows) if found else None

    def _segments_of(self, op: Op) -> list[_Segment]:
        """What a vector is made of, in the parent's words."""
        shape = self.network.shapes[op.name]
        if op.kind == "flatten":
            key = self.scales.get(_scale_of(op)) if _scale_of(op) != "head" else "head"
            return [_Segment(key, self.network.shapes[op.inputs[0]])]
        if op.kind == "concat":
            return [segment for name in op.inputs for segment in self.segments[name]]
        if op.kind != "dense":
            return []
        if op.name in self.identity:
            known = self.segments[op.inputs[0]]
            return [*known, _Segment(None, (1, 1, shape[0] - sum(prod(segment.shape) for segment in known)))]
        return [_Segment(self.counterparts.get(op.name), (1, 1, shape[0]))]

    # Ops without one.

    def _start(self, op: Op) -> None:
        start = self.starts.get(op.name, _RANDOM)
        mine = self.random[op.name]
        kernel = np.zeros_like(mine.kernel)
        if start == _ZERO:
            # The normalisation's gain is what holds the branch back: it learns from the first step on.
            normalisation = mine.normalisation.copy()
            normalisation[0] = 0
            self.states[op.name] = replace(mine, normalisation=normalisation)
            return
        if start == _AVERAGE:
            kernel[:] = 1 / prod(op.kernel)
        elif start == _IDENTITY and (identity := self._identity(op)) is not None:
            kernel = identity
        else:
            return
        self.states[op.name] = replace(mine, kernel=kernel, normalisation=_NEUTRAL @ np.ones((1, kernel.shape[-1])))
        self.identity.add(op.name)

    def _identity(self, op: Op) -> np.ndarray | None:
        """A kernel that hands on the input channels (a shortcut those that it can); None where it has too few."""
        incoming = self.network.shapes[op.inputs[0]]
        shape = self.random[op.name].kernel.shape
        if shape[-1] < incoming[-1] and not op.name.endswith("_shortcut"):
            return None
        if op.kind == "dense":
            return np.eye(*shape, dtype=np.float32)
        kernel = np.zeros(shape, np.float32)
        tap = tuple(self._tap(op, incoming, axis) for axis in (0, 1))
        if op.kind == "depthwise":
            kernel[tap] = 1
        else:
            kernel[tap] = np.eye(*shape[-2:])
        return kernel

    def _tap(self, op: Op, incoming: Shape, axis: int) -> int:
        """Where the 1 of an identity stands. A strided one picks the positions that the layer before it picked while
        it was the last of its block, and had the stride."""
        padding = _padding_before(incoming[axis], op.kernel[axis], op.stride)
        if op.stride == 1:
            return padding
        before = next((one for one in reversed(self._before(op)) if max(one.kernel) > 1), None)
        taps = before.kernel[axis] if before is not None else 1
        shift = _padding_before(incoming[axis], taps, 1) - _padding_before(incoming[axis], taps, op.stride)
        return int(np.clip(padding + shift, 0, op.kernel[axis] - 1))

    def _before(self, op: Op) -> list[Op]:
        """The op's block's weighted ops before it."""
        ops = [one for one in _weighted(self.network) if one.name.split("_")[0] == op.name.split("_")[0]]
        return ops[: ops.index(op)]

    # Channels that nobody needs.

    def _revive(self) -> None:
        """Fresh weights for channels that are dead and unread: a zero between zeros has no gradient."""
        ids = channel_ids(self.network)
        weights = {name: OpWeights(state.kernel, np.zeros(0)) for name, state in self.states.items()}
        needed = needed_channels(self.network, weights, ids)
        for op in _weighted(self.network):
            state = self.states[op.name]
            dead = ~needed[ids[op.name]] & ~state.kernel.reshape(-1, state.kernel.shape[-1]).any(axis=0)
            if not dead.any():
                continue
            fresh = self.random[op.name]
            self.states[op.name] = LayerState(
                np.where(dead, fresh.kernel, state.kernel),
                None if state.bias is None else np.where(dead, fresh.bias, state.bias),
                None if state.normalisation is None else np.where(dead, fresh.normalisation, state.normalisation),
            )
            self.fresh[op.name] |= dead


@dataclass(frozen=True)
class _Segment:
    """A part of a vector: what it is (None: nothing the parent has), and the map (height, width, channels) it was."""

    key: str | None
    shape: Shape
    start: int = 0


_ROLES = {"plain": ("conv",), "cut": ("cut", "conv"), "separable": ("depthwise", "pointwise")}
# Gamma, beta, mean and variance of a normalisation that changes nothing.
_NEUTRAL = np.array([[1.0], [0.0], [0.0], [1.0 - EPSILON]], np.float32)


def _weighted(network: Network) -> list[Op]:
    return [op for op in network.ops if op.kind in WEIGHTED]


def _scale_of(op: Op) -> str:
    """`scale2` of a flattening of the second block's output, `head` of the head's."""
    return op.name.removesuffix("_features") if op.name.startswith("scale") else "head"


def _parent_segments(network: Network, name: str) -> list[_Segment]:
    """What a vector of the parent is made of."""
    op = network.op(name)
    if op.kind == "dense":
        return [_Segment(op.name, (1, 1, op.channels))]
    segments, start = [], 0
    for part in op.inputs if op.kind == "concat" else (name,):
        flatten = network.op(part)
        shape = network.shapes[flatten.inputs[0]]
        segments.append(_Segment(_scale_of(flatten), shape, start))
        start += prod(shape)
    return segments


def _front(theirs: np.ndarray, mine: np.ndarray, shared: int) -> np.ndarray:
    merged = mine.copy()
    merged[..., :shared] = theirs[..., :shared]
    return merged


def _cover(child: tuple[int, int], parent: tuple[int, int]) -> np.ndarray:
    """How much of each of the parent's positions the child's cover, [y, x, parent's y, parent's x].

    A parent's feature is about the mean of the child's over the same part of the map, so a child's share of the
    parent's weight is its share of that part. On equal maps it is the identity.
    """
    shares = []
    for mine, theirs in zip(child, parent, strict=True):
        low = np.maximum(np.arange(mine)[:, None] / mine, np.arange(theirs)[None] / theirs)
        high = np.minimum(np.arange(1, mine + 1)[:, None] / mine, np.arange(1, theirs + 1)[None] / theirs)
        shares.append(np.clip(high - low, 0, None) * theirs)
    return np.einsum("yh,xw->yxhw", *shares)


def _padding_before(size: int, taps: int, stride: int) -> int:
    """Rows of zeros that TensorFlow's SAME padding puts before a map."""
    return max((-(-size // stride) - 1) * stride + taps - size, 0) // 2


def _resized(kernel: np.ndarray, op: Op, child_map: Shape, other: Op, parent_map: Shape) -> np.ndarray:
    """The kernel in the child's window: each tap where it sees what it saw, zeros around."""
    resized = np.zeros((*op.kernel, *kernel.shape[2:]), kernel.dtype)
    to, of = [], []
    # Where the stride has changed, which positions are seen has as well: kernels are centred as if there was none.
    strides = (op.stride, other.stride) if op.stride == other.stride else (1, 1)
    for axis in (0, 1):
        shift = _padding_before(child_map[axis], op.kernel[axis], strides[0])
        shift -= _padding_before(parent_map[axis], other.kernel[axis], strides[1])
        taps = [tap for tap in range(other.kernel[axis]) if 0 <= tap + shift < op.kernel[axis]]
        of.append(taps)
        to.append([tap + shift for tap in taps])
    resized[np.ix_(*to)] = kernel[np.ix_(*of)]
    return resized


# --- the Keras model ------


def _assign(network: Network, model: keras.Model, states: Mapping[str, LayerState]) -> None:
    for op in _weighted(network):
        state, layer = states[op.name], model.get_layer(op.name)
        layer.kernel.assign(np.reshape(state.kernel, layer.kernel.shape))
        if state.bias is not None:
            layer.bias.assign(state.bias)
        if state.normalisation is not None:
            norm = model.get_layer(f"{op.name}_normalisation")
            variables = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
            for variable, value in zip(variables, state.normalisation, strict=True):
                variable.assign(value)


def _calibrate(network: Network, model: keras.Model, heir: _Heir, images: np.ndarray) -> None:
    """Set the running figures of fresh normalisations to what they meet; an identity's stays one with them."""
    tensors = {}
    for op in network.ops:
        if op.kind == "input":
            tensors[op.name] = keras.ops.convert_to_tensor(images, "float32")
            continue
        inputs = [tensors[name] for name in op.inputs]
        tensor = model.get_layer(op.name)(inputs if len(inputs) > 1 else inputs[0])
        if op.normalised:
            norm = model.get_layer(f"{op.name}_normalisation")
            fresh = heir.fresh[op.name]
            values = np.asarray(tensor).reshape(-1, tensor.shape[-1])
            mean = np.where(fresh, values.mean(axis=0), norm.moving_mean)
            variance = np.where(fresh, values.var(axis=0), norm.moving_variance)
            norm.moving_mean.assign(mean)
            norm.moving_variance.assign(variance)
            if op.name in heir.identity:
                norm.gamma.assign(np.sqrt(variance + EPSILON))
                norm.beta.assign(mean)
            tensor = norm(tensor)
        tensors[op.name] = keras.ops.relu(tensor) if op.activation == "relu" else tensor
