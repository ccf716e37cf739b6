"""Rewrites of a network that keep every output bit: zero padding goes into windows, clamps into what makes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tfsparse.compiler.fixedpoint import quantize_multiplier
from tfsparse.compiler.layers import Binary, Convolution, FullyConnected, Layer, Network, Pad, Pool, Rescale

_UNITY = quantize_multiplier(1.0)
_LARGEST_PAD = 127


def _readers(layers: list[Layer], outputs: list[int]) -> Counter[int]:
    """How often each value is read; being an output of the network counts as a read."""
    return Counter([*outputs, *(i for layer in layers for i in layer.inputs)])


def _fold_pads(layers: list[Layer], outputs: list[int]) -> list[Layer]:
    """A convolution that alone reads a padded map, in the map's shape, pads for itself: outside the map its kernel adds
    nothing, which is what the zero point does."""
    readers = _readers(layers, outputs)
    pads = {layer.output: layer for layer in layers if isinstance(layer, Pad) and readers[layer.output] == 1}
    folded: list[Layer] = []
    for layer in layers:
        pad = pads.get(layer.inputs[0])
        if isinstance(layer, Convolution) and pad is not None and _slides_over(layer, pad):
            window = replace(
                layer.window,
                in_height=pad.rows,
                in_width=pad.width,
                pad_top=layer.window.pad_top + pad.top,
                pad_left=layer.window.pad_left + pad.left,
            )
            if max(window.pad_top, window.pad_left) <= _LARGEST_PAD:
                folded = [other for other in folded if other is not pad]
                layer = replace(layer, inputs=pad.inputs, window=window)
        folded.append(layer)
    return folded


def _slides_over(layer: Convolution, pad: Pad) -> bool:
    """Whether what is padded is to the convolution what its kernel does not see: the bytes may have got another shape
    between the two."""
    window = layer.window
    padded = (pad.top + pad.rows + pad.bottom, pad.left + pad.width + pad.right, pad.channels)
    return pad.fill == layer.input_zero and (window.in_height, window.in_width, layer.in_channels) == padded


def _fold_clamps(network: Network, layers: list[Layer], outputs: list[int]) -> list[Layer]:
    """RELU and friends that keep the scale are a tighter clamp of the layer before them."""
    readers = _readers(layers, outputs)
    folded: list[Layer] = []
    for layer in layers:
        maker = next((other for other in folded if other.output == layer.inputs[0]), None)
        if (
            isinstance(layer, Rescale)
            and (layer.multiplier, layer.input_zero) == (_UNITY, layer.output_zero)
            and isinstance(maker, Convolution | FullyConnected | Pool | Binary | Rescale)
            and readers[maker.output] == 1
            and network.values[maker.output].shape == network.values[layer.output].shape
        ):
            lowest = min(max(maker.lowest, layer.lowest), layer.highest)
            highest = max(min(maker.highest, layer.highest), layer.lowest)
            place = folded.index(maker)
            folded[place] = replace(maker, output=layer.output, lowest=lowest, highest=highest)
        else:
            folded.append(layer)
    return folded


def _drop_unread(layers: list[Layer], outputs: list[int]) -> list[Layer]:
    """Without layers that nothing needs, such as parts of a split."""
    needed, kept = set(outputs), []
    for layer in reversed(layers):
        if layer.output in needed:
            needed.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


def simplify(network: Network) -> Network:
    outputs = [border.value for border in network.outputs]
    layers = _fold_pads(_drop_unread(list(network.layers), outputs), outputs)
    return replace(network, layers=tuple(_fold_clamps(network, layers, outputs)))
