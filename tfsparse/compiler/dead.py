"""What no output depends on, or what is the same for every input, leaves the network; every output bit stays.

Weights that only ever see padding become zero. A channel that is constant moves into the biases of its readers, unless
padding around the map would make its share vary at the border. A channel that nobody reads is cut out, of the layers
that make it and of those that read it, as far as these work channel by channel: convolutions, dense layers, pools,
means and functions of one number. The rest of the compiler sees a smaller network.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tfsparse.compiler.fixedpoint import scale, scale_once
from tfsparse.compiler.layers import (
    Convolution,
    FullyConnected,
    Layer,
    LeakyRelu,
    Lookup,
    Mean,
    Network,
    Pool,
    Rescale,
    Weighted,
)

_CHANNELWISE = (Pool, Mean, Rescale, Lookup, LeakyRelu)
_INT32 = 1 << 31


def _channels(network: Network, value: int) -> int:
    return (network.values[value].shape or (1,))[-1]


def _is_whole(network: Network, layer: Layer) -> bool:
    """Whether each output channel reads all channels of one map or vector."""
    if isinstance(layer, FullyConnected):
        return layer.rows == 1
    # Another number of channels than the value has means that it was reshaped on the way.
    return isinstance(layer, Convolution) and layer.run == layer.in_channels == _channels(network, layer.inputs[0])


def _is_tied(network: Network, layer: Layer) -> bool:
    """Whether output channel i reads input channel i alone."""
    if not isinstance(layer, (Convolution, *_CHANNELWISE)):
        return False
    if isinstance(layer, Convolution) and not (layer.run == layer.per_group == 1 < layer.in_channels):
        return False
    return _channels(network, layer.inputs[0]) == _channels(network, layer.output)


def _by_input(layer: Weighted, channels: int) -> np.ndarray:
    """The weights of a whole layer by the input channel that they read: a view [outputs, places, channels]."""
    return layer.weights.reshape(len(layer.weights), -1, channels)


def _zero_taps_in_padding(layer: Convolution) -> Convolution:
    """Weights that see padding at every output position become zero."""
    w = layer.window
    seen = []
    for size, out, kernel, stride, dilation, pad in (
        (w.in_height, w.out_height, w.kernel_height, w.stride_height, w.dilation_height, w.pad_top),
        (w.in_width, w.out_width, w.kernel_width, w.stride_width, w.dilation_width, w.pad_left),
    ):
        at = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - pad
        seen.append(((at >= 0) & (at < size)).any(axis=0))
    inside = (seen[0][:, None] & seen[1]).reshape(1, -1, 1)
    weights = layer.weights.reshape(len(layer.weights), inside.size, -1) * inside
    return replace(layer, weights=weights.reshape(layer.weights.shape).astype(np.int8))


def _sees_padding(layer: Weighted) -> bool:
    if not isinstance(layer, Convolution):
        return False
    w = layer.window
    bottom = (w.out_height - 1) * w.stride_height + (w.kernel_height - 1) * w.dilation_height - w.pad_top
    right = (w.out_width - 1) * w.stride_width + (w.kernel_width - 1) * w.dilation_width - w.pad_left
    return w.pad_top > 0 or w.pad_left > 0 or bottom >= w.in_height or right >= w.in_width


def _absorb(layer: Weighted, constants: np.ndarray, whole: bool) -> Weighted:
    """The layer with the shares of constant input channels in its biases, where that is exact.

    constants: float64 [input channels], NaN for those that vary. Not `whole`: depthwise.
    """
    offsets = constants - layer.input_zero
    absorbed = ~np.isnan(constants) & ((offsets == 0) | (not _sees_padding(layer)))
    offsets = np.where(absorbed, offsets, 0).astype(np.int64)
    if whole:
        weights = _by_input(layer, len(constants))
        share, kept = (weights.sum(axis=1, dtype=np.int64) * offsets).sum(axis=1), weights * ~absorbed
    else:
        share, kept = layer.weights.sum(axis=1, dtype=np.int64) * offsets, layer.weights * ~absorbed[:, None]
    bias = layer.bias + share
    if np.abs(bias).max() >= _INT32:
        return layer
    return replace(layer, bias=bias.astype(np.int32), weights=kept.reshape(layer.weights.shape).astype(np.int8))


def _constant_outputs(layer: Weighted) -> np.ndarray:
    """Each output channel's value where it is the same for every input, else NaN: float64."""
    formula = scale_once if isinstance(layer, FullyConnected) else scale
    values = np.full(len(layer.weights), np.nan)
    for channel in np.flatnonzero(~layer.weights.any(axis=1)):
        output = formula(int(layer.bias[channel]), layer.multipliers[channel]) + layer.output_zero
        values[channel] = min(max(output, layer.lowest), layer.highest)
    return values


def _passed_on(layer: Layer, constant: float) -> float:
    """What a layer that works channel by channel makes of a channel that is constant; NaN where that is not known."""
    if np.isnan(constant):
        return constant
    if isinstance(layer, Pool):
        return min(max(constant, layer.lowest), layer.highest)
    if isinstance(layer, Rescale):
        output = scale(int(constant) - layer.input_zero, layer.multiplier) + layer.output_zero
        return min(max(output, layer.lowest), layer.highest)
    if isinstance(layer, Lookup):
        return layer.table[min(max(int(constant), layer.first), layer.last) - layer.first]
    return np.nan


def _settle(network: Network) -> Network:
    """Constants moved into biases, from the first layer to the last."""
    layers, constants = [], {}
    for layer in network.layers:
        incoming = constants.get(layer.inputs[0]) if layer.inputs else None
        if isinstance(layer, Convolution):
            layer = _zero_taps_in_padding(layer)
        if isinstance(layer, Weighted):
            whole = _is_whole(network, layer)
            if incoming is not None and (whole or _is_tied(network, layer)):
                layer = _absorb(layer, incoming, whole)
            constants[layer.output] = _constant_outputs(layer)
        elif incoming is not None and _is_tied(network, layer):
            constants[layer.output] = np.array([_passed_on(layer, value) for value in incoming])
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _needed(network: Network) -> dict[int, np.ndarray]:
    """Which channels of each value something reads: bool [channels]."""
    needed = {i: np.zeros(_channels(network, i), bool) for i in network.values}
    for border in network.outputs:
        needed[border.value][:] = True
    for layer in reversed(network.layers):
        out = needed[layer.output]
        if _is_whole(network, layer):
            source = needed[layer.inputs[0]]
            source |= _by_input(layer, len(source))[out].any(axis=(0, 1))
        elif _is_tied(network, layer):
            needed[layer.inputs[0]] |= out & (layer.weights.any(axis=1) if isinstance(layer, Weighted) else True)
        else:
            for value in layer.inputs:
                needed[value][:] = True
    return needed


def _without_unread(network: Network, needed: Mapping[int, np.ndarray]) -> Network:
    """Output channels that nothing reads as zeros: no weights, and a bias that says nothing."""

    def cleared(layer: Layer) -> Layer:
        if not isinstance(layer, Weighted) or len(needed[layer.output]) != len(layer.weights):
            return layer
        keep = needed[layer.output]
        weights = (layer.weights * keep[:, None]).astype(np.int8)
        return replace(layer, weights=weights, bias=(layer.bias * keep).astype(np.int32))

    return replace(network, layers=tuple(map(cleared, network.layers)))


def _kept(network: Network, needed: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The channels that stay: those needed, one at least, and all where a layer does not work channel by channel.

    What a chain of depthwise and elementwise layers passes on stays or goes together.
    """
    kept = {i: mask.copy() for i, mask in needed.items()}
    for border in (*network.inputs, *network.outputs):
        kept[border.value][:] = True
    for mask in kept.values():
        mask[0] |= not mask.any()

    for layer in network.layers:
        if not _is_whole(network, layer) and not _is_tied(network, layer):
            for value in (*layer.inputs, layer.output):
                kept[value][:] = True
    before = None
    while before != (before := sum(int(mask.sum()) for mask in kept.values())):
        for layer in network.layers:
            if _is_tied(network, layer):
                kept[layer.inputs[0]] |= kept[layer.output]
                kept[layer.output] |= kept[layer.inputs[0]]
    return kept


def _cut(network: Network, kept: Mapping[int, np.ndarray]) -> Network:
    """The network with the kept channels alone."""

    def cut(layer: Layer) -> Layer:
        whole = _is_whole(network, layer)
        if not whole and not _is_tied(network, layer):
            return layer
        source, out = kept[layer.inputs[0]], kept[layer.output]
        count, outputs = int(source.sum()), int(out.sum())
        if isinstance(layer, Weighted):
            weights = layer.weights
            if whole:
                weights = _by_input(layer, len(source))[:, :, source].reshape(len(weights), -1)
            multipliers = tuple(itertools.compress(layer.multipliers, out))
            layer = replace(layer, weights=weights[out], bias=layer.bias[out], multipliers=multipliers)
        if isinstance(layer, Convolution):
            run, per_group = (count, outputs) if whole else (1, 1)
            return replace(layer, in_channels=count, out_channels=outputs, run=run, per_group=per_group)
        if isinstance(layer, Pool | Mean):
            return replace(layer, channels=layer.channels // len(out) * outputs)  # a mean may keep columns, too
        if isinstance(layer, Rescale | Lookup | LeakyRelu):
            return replace(layer, size=layer.size // len(out) * outputs)
        return layer

    def shape(value: int) -> tuple[int, ...]:
        before = network.values[value].shape
        return (*before[:-1], int(kept[value].sum())) if before else before

    layers = tuple(map(cut, network.layers))
    return replace(
        network, layers=layers, values={i: replace(value, shape=shape(i)) for i, value in network.values.items()}
    )


def remove_dead(network: Network) -> Network:
    """The same function of the same inputs by fewer weights and channels."""
    before = None
    while True:
        weights = sum(int(np.count_nonzero(x.weights)) for x in network.layers if isinstance(x, Weighted))
        if weights == before:
            break
        before = weights
        network = _settle(network)
        network = _without_unread(network, _needed(network))
    return _cut(network, _kept(network, _needed(network)))
