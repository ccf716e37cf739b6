"""The C kernels of layers with weights: which one runs a layer, and about what it costs.

Several can run most layers; a network's are told by one of WAYS, for all its layers together:

- "small": little flash and stack;
- "plain": weights in streams are read anew for each block of pixels, stored ones four at a time;
- "lists": each channel's weights are unpacked into a list of taps, where that is not too long;
- "mixed": lists as well, but stored weights of many input channels four at a time;
- "im2col": the same, but plain convolutions with stored weights copy windows to the stack, if these are not too large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfsparse.compiler.encode import Choices
from tfsparse.compiler.layers import Convolution, Weighted, Window
from tfsparse.compiler.rows import channelwise

WAYS = ("small", "plain", "mixed", "lists", "im2col")
ROWS_TOGETHER = (
    "tfs_conv_dense",
    "tfs_conv_taps",
    "tfs_conv_im2col",
)  # kernels that can make several rows of a channel before the next one

CHANNELS_TOGETHER = 16  # whose constants tfs_conv_im2col unpacks at a time

# Bytes of machine code, gcc 12 at -Os for Cortex-M4; tests/compiler/test_choose.py measures them again.
CODE = {
    "shared": 144,  # what all layers with weights have in common
    "tfs_conv": 834,
    "tfs_conv, small": 676,
    "tfs_conv_taps": 1450,
    "tfs_conv_taps, streams": 170,
    "tfs_conv_taps, stored": 140,
    "tfs_conv_im2col": 1300,
    "tfs_conv_small": 490,
    "tfs_dense_small": 140,
    "tfs_conv_dense": 320,
    "tfs_conv_dense, plain": 376,
    "tfs_conv_dense, nine": 560,
    "tfs_dots": 120,
    "tfs_dense": 196,
    "tfs_dense, inlined": 24,
    "tfs_dense_dot": 216,
    "gaps": 24,
    "codebook": 14,
    "prefix": 32,
    "escape": 14,
    "no gaps": 14,  # some layers have gaps, others none
    "value bits": 14,  # not the same number in all layers
    "gap bits": 14,
}
_ALL_STORED = ("dense", "packed", "prefix")  # formats that store zeros, too
_SHORT_LIST = 64  # taps that any layer may unpack into a list, four bytes of stack each
_LIST_SHARE = 32  # others one tap for as many bytes of input and output
_WINDOWS_SHARE = 3  # the part of the arena that windows on the stack may take


def longest_list(layer: Convolution) -> int:
    """Taps of the output channel that has most."""
    return max(1, int(np.count_nonzero(layer.weights, axis=1).max(initial=0)))


def is_nine(layer: Convolution) -> bool:
    """Whether tfs_nine.h can run the layer: windows of 3x3 that see one channel."""
    w = layer.window
    shape = (layer.run, w.kernel_height, w.kernel_width, w.dilation_height, w.dilation_width)
    return shape == (1, 3, 3, 1, 1) and w.in_width >= 3


def _list_fits(layer: Convolution) -> bool:
    w = layer.window
    values = w.in_height * w.in_width * layer.in_channels + w.out_height * w.out_width * layer.out_channels
    return longest_list(layer) <= max(_SHORT_LIST, values // _LIST_SHARE)


def quads(layer: Convolution) -> int:
    """Groups of four taps that tfs_conv_im2col makes of a window: each of its rows begins a new one."""
    return layer.window.kernel_height * -(-layer.window.kernel_width * layer.run // 4)


def padding(layer: Weighted, kernel: str) -> int:
    """Bytes of zeros among stored weights that the kernel wants there."""
    return 4 * quads(layer) * len(layer.weights) - layer.weights.size if kernel == "tfs_conv_im2col" else 0


def _windows_fit(layer: Convolution, arena: int) -> bool:
    """Whether tfs_conv_im2col can run the layer, and its four windows on the stack are small beside the arena."""
    w = layer.window
    if layer.run < layer.in_channels or w.dilation_width > 1 or channelwise(layer):
        return False
    # What it reads beyond the left or right edge must lie in the row of the map above or below.
    right = (w.out_width - 1) * w.stride_width - w.pad_left + w.kernel_width - w.in_width
    if w.pad_left > w.in_width or right * layer.in_channels + 3 > w.in_width * layer.in_channels:
        return False
    return 32 * quads(layer) <= arena // _WINDOWS_SHARE


def kernel_of(layer: Weighted, format: str, way: str, arena: int = 0) -> str:
    """Name of the C kernel that runs a layer; its header has the same. arena: bytes of it; 0 where RAM is scarce."""
    stored, small = format == "dense", way == "small"
    if not isinstance(layer, Convolution):
        return "tfs_dense" if not stored else "tfs_dense_small" if small else "tfs_dense_dot"
    if small:
        return "tfs_conv_small" if stored else "tfs_conv"
    plain = is_nine(layer) or 1 < layer.run == layer.in_channels
    if way == "im2col" and stored and _windows_fit(layer, arena):
        return "tfs_conv_im2col"
    other = "tfs_conv" if not stored else "tfs_conv_dense" if plain else "tfs_conv_small"
    if not _list_fits(layer):
        return other
    if way == "lists":
        return "tfs_conv_taps"
    if way in ("mixed", "im2col"):
        kernels = ("tfs_conv_taps", other)
        return min(kernels, key=lambda kernel: instructions(layer, format, kernel))
    return other


def _parts(layer: Weighted, format: str, kernel: str, small: bool) -> tuple[str, ...]:
    """Keys of CODE."""
    if kernel == "tfs_conv":
        return ("tfs_conv, small",) if small else ("tfs_conv",)
    if kernel == "tfs_conv_taps":
        return "tfs_conv_taps", f"tfs_conv_taps, {'stored' if format == 'dense' else 'streams'}"
    if kernel == "tfs_dense" and not small:
        return "tfs_dense", "tfs_dense, inlined"
    if kernel == "tfs_conv_dense":
        return (kernel, f"{kernel}, nine") if is_nine(layer) else (kernel, f"{kernel}, plain", "tfs_dots")
    return (kernel, "tfs_dots") if kernel == "tfs_dense_dot" else (kernel,)


def code_size(
    layers: Sequence[Weighted], formats: Sequence[str], kernels: Sequence[str], found: Sequence[Choices], small: bool
) -> int:
    """Bytes of machine code of the kernels and of what reads these formats."""
    parts = {"shared"} if kernels else set()
    for layer, name, kernel in zip(layers, formats, kernels, strict=True):
        parts.update(_parts(layer, name, kernel, small))
    codings = [each.codings[name] for each, name in zip(found, formats, strict=True) if name in each.codings]
    gap_bits, with_gaps = (
        {coding.gap_bits for coding in codings},
        any(coding.gap_bits is not None for coding in codings),
    )
    for part, needed in (
        ("gaps", with_gaps),
        ("codebook", any(coding.codebook is not None for coding in codings)),
        ("prefix", any(coding.prefix is not None for coding in codings)),
        ("escape", any(coding.prefix is not None and coding.prefix.has_escape for coding in codings)),
        ("no gaps", with_gaps and None in gap_bits),
        ("value bits", len({coding.value_bits for coding in codings}) > 1),
        ("gap bits", len(gap_bits) > 1),
    ):
        parts.update({part} if needed else ())
    return sum(CODE[part] for part in parts)


def stack_size(layers: Sequence[Weighted], kernels: Sequence[str]) -> int:
    """Bytes of stack, about, that the kernels take more than those that take least."""
    most = 0
    for layer, kernel in zip(layers, kernels, strict=True):
        if kernel == "tfs_conv_dense":
            most = max(most, 80)
        elif kernel == "tfs_conv_taps":
            most = max(most, 100 + 4 * longest_list(layer))
    return most


def _places(layer: Convolution) -> np.ndarray:
    """Whether an output channel has a weight at a place of its window: bool [outputs, rows, columns]."""
    w = layer.window
    return layer.weights.reshape(len(layer.weights), w.kernel_height, w.kernel_width, -1).any(axis=3)


def _fixed(layer: Convolution) -> float:
    """What kernels that compute blocks of pixels need for outputs alone."""
    w = layer.window
    return len(layer.weights) * (13.0 * w.out_height * w.out_width + 130.0 * _blocks(layer))


def _blocks(layer: Convolution) -> int:
    return layer.window.out_height * -(-layer.window.out_width // 16)


def _nine(layer: Convolution) -> float:
    """tfs_nine: pixels at the map's edges are slow."""
    w = layer.window
    columns = _inside(w.in_width, w.out_width, 3, w.stride_width, w.pad_left)
    lines = len(layer.weights) * (_blocks(layer) + (w.out_width - columns) * w.out_height)
    return _fixed(layer) + 2.5 * layer.weights.size * w.out_height * w.out_width + 170.0 * lines


def _dots(layer: Convolution) -> float:
    """tfs_conv_dense: four taps at a time, where as many lie side by side."""
    w = layer.window
    together = layer.run == layer.in_channels and w.dilation_width == 1
    length, pieces = (layer.run * w.kernel_width, 1) if together else (layer.run, w.kernel_width)
    fours, ones = divmod(length, 4)
    pixels = len(layer.weights) * w.out_height * w.out_width
    columns = _inside(w.in_width, w.out_width, _extent(w)[1], w.stride_width, w.pad_left)
    edges = len(layer.weights) * w.out_height * (w.out_width - columns)
    each = pieces * (22.0 + 7.5 * fours + 5.0 * ones)
    return _fixed(layer) + w.kernel_height * (pixels * each + edges * 90.0)


def _extent(w: Window) -> tuple[int, int]:
    """Rows and columns over which a window reaches."""
    return (w.kernel_height - 1) * w.dilation_height + 1, (w.kernel_width - 1) * w.dilation_width + 1


def _inside(size: int, out: int, kernel: int, stride: int, pad: int) -> int:
    """Rows or columns of the output whose windows, of `kernel` rows or columns, lie inside the map."""
    return sum(0 <= at * stride - pad <= size - kernel for at in range(out))


def _taps(layer: Convolution, format: str) -> float:
    """tfs_conv_taps: a list for all those rows inside the map that are made together, and one for each other row."""
    w = layer.window
    outputs = len(layer.weights)
    taps, windows = layer.nnz / outputs, w.kernel_height * w.kernel_width
    unpack = 210.0 + 12.0 * w.kernel_width
    if format == "dense":
        unpack += 9.0 * windows * layer.run + 16.0 * windows
    else:
        read = layer.weights.size if format in _ALL_STORED else layer.nnz
        unpack += (21.0 * read + 18.0 * int(_places(layer).sum())) / outputs
    extents = _extent(w)
    rows = _inside(w.in_height, w.out_height, extents[0], w.stride_height, w.pad_top)
    columns = _inside(w.in_width, w.out_width, extents[1], w.stride_width, w.pad_left)
    edges = w.out_width - columns

    def line(pixels: int) -> float:
        fours, ones = divmod(pixels, 4)
        return 40.0 + fours * (35.0 + 11.0 * taps) + ones * (24.0 + 6.0 * taps)

    row = unpack + edges * (50.0 + line(1)) + 50.0 + line(columns)
    parts = -(-w.out_height // layer.together)
    if (rows := rows / parts) < 2:
        return outputs * w.out_height * row
    together = unpack + rows * (10.0 + line(columns // 4 * 4)) + (columns % 4 + edges) * (50.0 + line(round(rows)))
    return outputs * ((w.out_height - rows * parts) * row + parts * together)


def _im2col(layer: Convolution) -> float:
    """tfs_conv_im2col: four pixels at a time, side by side as far as a row of the map has four more."""
    w, outputs, groups = layer.window, len(layer.weights), quads(layer)
    blocks = -(-w.out_height * w.out_width // 4)
    crossing = w.out_width % 4 / w.out_width  # of the blocks, whose pixels are copied one by one
    copied = 100.0 + 28.0 * groups + crossing * (160.0 + 80.0 * w.kernel_height + 20.0 * groups)
    rounds = -(-outputs // CHANNELS_TOGETHER) * copied + outputs * (46.0 + 14.0 * groups)
    return blocks * rounds + -(-w.out_height // layer.together) * (55.0 * outputs + 150.0)


def instructions(layer: Weighted, format: str, kernel: str) -> float:
    """About how many a layer takes in one inference on a Cortex-M4."""
    outputs, stored = len(layer.weights), layer.nnz
    if format in _ALL_STORED:
        stored = layer.weights.size
    if not isinstance(layer, Convolution):
        each = {"tfs_dense": 24.0, "tfs_dense_small": 7.0, "tfs_dense_dot": 2.5}[kernel]
        return layer.rows * (100.0 * outputs + stored * each)
    w = layer.window
    pixels = w.out_height * w.out_width
    if kernel == "tfs_conv_small":
        return _fixed(layer) + pixels * (87.0 * outputs + 8.0 * stored)
    if kernel == "tfs_conv_dense":
        return _nine(layer) if is_nine(layer) else _dots(layer)
    if kernel == "tfs_conv_taps":
        return _taps(layer, format)
    if kernel == "tfs_conv_im2col":
        return _im2col(layer)
    # A stream is read again for each block of pixels; much is done once for weights that lie side by side.
    places = _places(layer)
    tables = _blocks(layer) * (55.0 * layer.nnz + 24.0 * (stored - layer.nnz) + 15.0 * int(places.sum()))
    return _fixed(layer) + tables + 6.5 * pixels * layer.nnz
