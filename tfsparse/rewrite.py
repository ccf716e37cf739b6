"""Float-exact rewrites of a trained network: what is dead goes, and channels are rescaled so that int8 loses little.

Each function takes a network with its weights and gives one that computes the same function of the image (up to the
rounding of floats). Batch normalisation is folded before (`build.folded_weights`), so an op is weights, bias and
activation.

The rewrites reason about channels, not layers. A channel keeps its identity through pooling, concatenation and
flattening, and an addition ties its operands' channels together: what is done to one must be done to all. `_channels`
numbers them so that tied channels share a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from tfsparse.network import POOLS, WEIGHTED, Network, Op, Shape

Ids = dict[str, np.ndarray]


@dataclass(frozen=True)
class OpWeights:
    """A weighted op's kernel (`Network.kernel_shape`) and bias (output channels,), float32."""

    kernel: np.ndarray
    bias: np.ndarray


Weights = Mapping[str, OpWeights]


def nonzero(weights: Weights) -> int:
    """||omega||_0: non-zero weights, biases left out."""
    return sum(int(np.count_nonzero(w.kernel)) for w in weights.values())


# --- dead weights and channels ------


def compact(network: Network, weights: Weights) -> tuple[Network, dict[str, OpWeights]]:
    """Remove what cannot matter: kernel taps that only ever see padding, channels that are constant, and channels that
    nobody reads; shapes shrink accordingly.

    A constant channel's contribution moves into its readers' biases, where that is exact (zero padding around a map
    makes a non-zero constant vary at the border: such a channel stays).
    """
    edited = {name: OpWeights(w.kernel.copy(), w.bias.copy()) for name, w in weights.items()}
    ids = channel_ids(network)
    for op in _weighted(network):
        if op.kind != "dense":
            _zero_taps_in_padding(op, network.shapes[op.inputs[0]], edited[op.name].kernel)
    before = -1
    while before != (before := nonzero(edited)):
        _absorb_constants(network, edited)
        needed = needed_channels(network, edited, ids)
        for op in _weighted(network):
            unread = ~needed[ids[op.name]]
            edited[op.name].kernel[..., unread] = 0
            edited[op.name].bias[unread] = 0
    needed = needed_channels(network, edited, ids)
    for op in network.ops:
        # A map without channels has no meaning to a converter: the last one stays, as zeros.
        if not needed[ids[op.name]].any():
            needed[ids[op.name][0]] = True
    return _sliced(network, edited, {name: needed[numbers] for name, numbers in ids.items()})


def _zero_taps_in_padding(op: Op, incoming: Shape, kernel: np.ndarray) -> None:
    """Zero the taps of a SAME convolution that see padding at every output position (kernels larger than the map)."""
    if op.padding != "same":
        return
    for axis, (size, taps) in enumerate(zip(incoming[:2], op.kernel, strict=True)):
        positions = -(-size // op.stride)
        before = max((positions - 1) * op.stride + taps - size, 0) // 2
        seen = np.arange(positions)[:, None] * op.stride + np.arange(taps)[None, :] - before
        dead = ~((seen >= 0) & (seen < size)).any(axis=0)
        kernel[(slice(None),) * axis + (dead,)] = 0


def _absorb_constants(network: Network, weights: Mapping[str, OpWeights]) -> None:
    """Move constant channels' contributions into their readers' biases, and zero the weights that read them."""
    constants: dict[str, np.ndarray] = {}
    for op in network.ops:
        constants[op.name] = _constant_outputs(op, network, weights, constants)


def _constant_outputs(
    op: Op, network: Network, weights: Mapping[str, OpWeights], constants: dict[str, np.ndarray]
) -> np.ndarray:
    """Each output channel's value where it is the same for every image and position, else NaN."""
    incoming = [constants[name] for name in op.inputs]
    if op.kind == "input":
        return np.full(network.input_shape[-1], np.nan)
    if op.kind in POOLS:
        return incoming[0]
    if op.kind == "flatten":
        return np.tile(incoming[0], prod(network.shapes[op.inputs[0]][:-1]))
    if op.kind == "concat":
        return np.concatenate(incoming)
    if op.kind == "add":
        return _activate(op, incoming[0] + incoming[1])
    kernel, bias = weights[op.name].kernel, weights[op.name].bias
    absorbed = _exactly_absorbed(op, incoming[0])
    values = np.where(absorbed, incoming[0], 0)
    if op.kind == "depthwise":
        bias += (kernel.sum(axis=(0, 1)) * values).astype(bias.dtype)
        kernel[..., absorbed] = 0
    else:
        bias += (kernel.sum(axis=tuple(range(kernel.ndim - 2))).T @ values).astype(bias.dtype)
        kernel[..., absorbed, :] = 0
    dead = ~kernel.reshape(-1, kernel.shape[-1]).any(axis=0)
    return _activate(op, np.where(dead, bias, np.nan))


def _exactly_absorbed(op: Op, constants: np.ndarray) -> np.ndarray:
    """Which constant input channels give every output position the same contribution."""
    return ~np.isnan(constants) & ((constants == 0) | _sees_no_padding(op))


def _sees_no_padding(op: Op) -> bool:
    return op.kind == "dense" or op.padding == "valid" or op.kernel == (1, 1)


def _activate(op: Op, values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0) if op.activation == "relu" else values


def needed_channels(network: Network, weights: Weights, ids: Ids) -> np.ndarray:
    """Which channel numbers anybody reads with a weight that is not zero; the image's and the logits' always."""
    needed = np.zeros(1 + max(int(numbers.max()) for numbers in ids.values()), bool)
    needed[ids[network.ops[0].name]] = True
    needed[ids[network.output.name]] = True
    for op in _weighted(network):
        if op.kind != "depthwise":
            kernel = weights[op.name].kernel
            read = np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1).any(axis=1)
            needed[ids[op.inputs[0]][read]] = True
    return needed


def _sliced(network: Network, weights: Weights, keep: dict[str, np.ndarray]) -> tuple[Network, dict[str, OpWeights]]:
    ops, kept = [], {}
    for op in network.ops:
        outputs = keep[op.name]
        if op.kind in WEIGHTED:
            kernel = weights[op.name].kernel[..., outputs]
            if op.kind != "depthwise":
                kernel = kernel[..., keep[op.inputs[0]], :]
                op = replace(op, channels=int(outputs.sum()))
            kept[op.name] = OpWeights(kernel, weights[op.name].bias[outputs])
        ops.append(op)
    return Network(tuple(ops), network.input_shape), kept


# --- scales and offsets of channels ------


@dataclass(frozen=True)
class Ranges:
    """The least and the greatest value of each channel of each tensor over a calibration set, (channels,) each."""

    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]


def centre(network: Network, weights: Weights, ranges: Ranges) -> dict[str, OpWeights]:
    """Absorb each linear channel's mid-range into its readers' biases, so that int8's range is spent on its variation.

    Done where it is exact: the channel is made by an op without activation, meets no addition, and whoever reads it
    sees no padding.
    """
    ids = _channels(network, tie_depthwise=False)
    count = 1 + max(int(numbers.max()) for numbers in ids.values())
    shift, free = np.zeros(count), np.ones(count, bool)
    for op in network.ops:
        mine = ids[op.name]
        if op.kind in ("input", "add") or (op.kind in WEIGHTED and op.activation != "linear"):
            free[mine] = False
        elif op.kind in WEIGHTED:
            shift[mine] = (ranges.low[op.name] + ranges.high[op.name]) / 2
        if op.kind == "add" or (op.kind in WEIGHTED and not _sees_no_padding(op)):
            for name in op.inputs:
                free[ids[name]] = False
    free[ids[network.output.name]] = False
    shift = np.where(free, shift, 0)
    moved = dict(weights)
    for op in _weighted(network):
        kernel, bias = moved[op.name].kernel, moved[op.name].bias
        incoming = shift[ids[op.inputs[0]]]
        window = kernel.sum(axis=(0, 1)) if op.kind != "dense" else kernel
        absorbed = window * incoming if op.kind == "depthwise" else incoming @ window
        moved[op.name] = OpWeights(kernel, (bias + absorbed - shift[ids[op.name]]).astype(np.float32))
    return moved


def equalise(
    network: Network, weights: Weights, ranges: Ranges, strength: float = 1.0, *, on_levels: bool = False
) -> dict[str, OpWeights]:
    """Rescale channels towards equal ranges, so that one scale for a tensor suits all of its channels.

    Cross-layer equalisation (Nagel et al. 2019): dividing a channel by s where it is made and multiplying the weights
    that read it by s changes nothing, since ReLU, pooling and addition are positively homogeneous. s = range^strength:
    1 makes the ranges of activations equal; 0.5 shares the burden with the readers' weights. Weights `on_levels` stay
    there: their levels are an output channel's, so only what depthwise convolutions alone read is rescaled.
    """
    ids = _channels(network, tie_depthwise=False)
    widest = np.zeros(1 + max(int(numbers.max()) for numbers in ids.values()))
    for op in network.ops:
        span = np.maximum(np.abs(ranges.low[op.name]), np.abs(ranges.high[op.name]))
        np.maximum.at(widest, ids[op.name], span)
    scale = np.where(widest > 0, np.clip(widest, 1e-3, 1e3) ** strength, 1.0)
    scale[ids[network.ops[0].name]] = 1.0
    scale[ids[network.output.name]] = 1.0
    if on_levels:
        for op in _weighted(network):
            if op.kind != "depthwise":
                scale[ids[op.inputs[0]]] = 1.0
    rescaled = dict(weights)
    for op in _weighted(network):
        kernel, bias = rescaled[op.name].kernel, rescaled[op.name].bias
        made, read = scale[ids[op.name]], scale[ids[op.inputs[0]]]
        factor = read / made if op.kind == "depthwise" else read[:, None] / made[None, :]
        rescaled[op.name] = OpWeights((kernel * factor).astype(np.float32), (bias / made).astype(np.float32))
    return rescaled


# --- channels ------


def _weighted(network: Network) -> Iterator[Op]:
    return (op for op in network.ops if op.kind in WEIGHTED)


def channel_ids(network: Network) -> Ids:
    """Number each tensor's channels so that those share a number that can only be removed together."""
    return _channels(network, tie_depthwise=True)


def _channels(network: Network, *, tie_depthwise: bool) -> Ids:
    """Number each tensor's channels (the last axis) so that channels that must be treated alike share a number.

    `tie_depthwise`: a depthwise convolution's output channel exists with its input channel (true of existence, not of
    scale).
    """
    parents: list[int] = []

    def fresh(count: int) -> np.ndarray:
        parents.extend(range(len(parents), len(parents) + count))
        return np.arange(len(parents) - count, len(parents))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    ids: Ids = {}
    for op in network.ops:
        incoming = [ids[name] for name in op.inputs]
        if op.kind in ("input", "conv", "dense") or (op.kind == "depthwise" and not tie_depthwise):
            ids[op.name] = fresh(network.shapes[op.name][-1])
        elif op.kind == "flatten":
            ids[op.name] = np.tile(incoming[0], prod(network.shapes[op.inputs[0]][:-1]))
        elif op.kind == "concat":
            ids[op.name] = np.concatenate(incoming)
        else:
            if op.kind == "add":
                for one, other in zip(*incoming, strict=True):
                    parents[root(int(one))] = root(int(other))
            ids[op.name] = incoming[0]
    return {name: np.array([root(int(number)) for number in numbers]) for name, numbers in ids.items()}
