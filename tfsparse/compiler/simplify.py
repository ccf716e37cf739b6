"""Rewrites of a network that keep every output bit: zero padding goes into windows, clamps into what makes them,
and pixels into rows of a length that suits the kernels."""

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
    """A convolution that alone reads a padded map pads for itself: outside the map its kernel adds nothing, which is
    what the zero point does."""
    readers = _readers(layers, outputs)
    pads = {layer.output: layer for layer in layers if isinstance(layer, Pad) and readers[layer.output] == 1}
    folded: list[Layer] = []
    for layer in layers:
        pad = pads.get(layer.inputs[0])
        if isinstance(layer, Convolution) and pad is not None and pad.fill == layer.input_zero:
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


def _fold_clamps(layers: list[Layer], outputs: list[int]) -> list[Layer]:
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


def _pointwise_rows(size: int) -> int:
    """The largest divisor of `size` pixels that is at most 16: a row of such a length is computed as one block."""
    return max(n for n in range(1, 17) if size % n == 0)


def _regroup_pointwise(layer: Layer) -> Layer:
    """A 1x1 convolution sees no neighbours: cut its pixels into rows as they suit the kernel."""
    if not isinstance(layer, Convolution):
        return layer
    w = layer.window
    pixels = w.out_height * w.out_width
    width = _pointwise_rows(pixels)
    if (w.in_height, w.in_width, w.kernel_height, w.kernel_width) != (w.out_height, w.out_width, 1, 1):
        return layer
    if max(w.stride_height, w.stride_width) > 1 or max(w.pad_top, w.pad_left) > 0:
        return layer
    # Longer rows also keep more of the input alive while one is written: only short ones are worth that.
    if w.out_width >= 8 or width <= w.out_width:
        return layer
    rows = pixels // width
    return replace(layer, window=replace(w, in_height=rows, out_height=rows, in_width=width, out_width=width))


def simplify(network: Network) -> Network:
    outputs = [border.value for border in network.outputs]
    layers = _fold_pads(_drop_unread(list(network.layers), outputs), outputs)
    return replace(network, layers=tuple(map(_regroup_pointwise, _fold_clamps(layers, outputs))))
