"""Which format each layer's weights get: by exact bytes of the tables, and measured ones of the code that reads them.

All layers together decide, as a format that saves 30 bytes of one table does not pay for 100 bytes of kernel: each set
of formats is tried at several prices of an instruction in bytes of flash, at which every layer takes the cheapest of
the set. What wins is, by `optimize`,

- "size": least flash, then fewest instructions;
- "speed": fewest instructions, then least flash;
- "balanced": least flash ** 4 * instructions: 10 % of flash are worth a third of the instructions.

Flash is exact in the tables and measured in the code, instructions are estimated. No format puts constants into code:
a weight takes about 11 bytes there and an output 40, which pays for nothing but a model's only dense layer, if
that has one output of some ten weights (tests/compiler/test_choose.py measures it).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from tfsparse.compiler.encode import (
    FORMATS,
    Choices,
    Encoded,
    bias_may_grow,
    choices,
    encode_plain,
    encode_weighted,
    pad_streams,
)
from tfsparse.compiler.layers import Convolution, Network, Weighted

_PRICES = (0.0, *(4.0**-n for n in range(12, -1, -1)))  # bytes of flash for an instruction
_STACK = {"tfs_conv_taps": 80, "tfs_conv_dense": 80}  # bytes more than others, about; they count as much as flash
_LAYER = 60  # bytes of flash, about, that a layer takes beside its tables and kernel

# Bytes of machine code, gcc 12 at -Os for Cortex-M4; tests/compiler/test_choose.py measures them again.
CODE = {
    "shared": 144,  # what all layers with weights have in common
    "tfs_conv": 676,
    "tfs_conv, inlined": 158,
    "tfs_conv_taps": 1048,
    "tfs_conv_small": 490,
    "tfs_dense_small": 140,
    "tfs_conv_dense": 320,
    "tfs_conv_dense, plain": 376,
    "tfs_conv_dense, depthwise": 560,
    "tfs_dots": 120,
    "tfs_dense": 196,
    "tfs_dense, inlined": 24,
    "tfs_dense_dot": 216,
    "gaps": 24,
    "codebook": 14,
    "no gaps": 14,  # some layers have gaps, others none
    "value bits": 14,  # not the same number in all layers
    "gap bits": 14,
}


def _kernel(layer: Weighted, format: str, lists: bool, small: bool) -> tuple[str, ...]:
    """The kernel that runs a layer, and its parts."""
    if not isinstance(layer, Convolution):
        stored = ("tfs_dense_small",) if small else ("tfs_dense_dot", "tfs_dots")
        return stored if format == "dense" else ("tfs_dense",)
    if format != "dense":
        return ("tfs_conv_taps",) if lists else ("tfs_conv",) if small else ("tfs_conv", "tfs_conv, inlined")
    if small:
        return ("tfs_conv_small",)
    if layer.run == 1:
        return "tfs_conv_dense", "tfs_conv_dense, depthwise"
    return "tfs_conv_dense", "tfs_conv_dense, plain", "tfs_dots"


def code_size(
    layers: Sequence[Weighted], formats: Sequence[str], found: Sequence[Choices], lists: bool, small: bool
) -> int:
    """Bytes of machine code of the kernels and of what reads these formats."""
    parts = {"shared"} if layers else set()
    for layer, name in zip(layers, formats, strict=True):
        parts.update(_kernel(layer, name, lists, small))
    if lists and "tfs_dense" in parts:
        parts.add("tfs_dense, inlined")
    codings = [each.codings[name] for each, name in zip(found, formats, strict=True) if name in each.codings]
    gap_bits, with_gaps = (
        {coding.gap_bits for coding in codings},
        any(coding.gap_bits is not None for coding in codings),
    )
    for part, needed in (
        ("gaps", with_gaps),
        ("codebook", any(coding.codebook is not None for coding in codings)),
        ("no gaps", with_gaps and None in gap_bits),
        ("value bits", len({coding.value_bits for coding in codings}) > 1),
        ("gap bits", len(gap_bits) > 1),
    ):
        parts.update({part} if needed else ())
    return sum(CODE[part] for part in parts)


def _stack_size(layers: Sequence[Weighted], formats: Sequence[str], lists: bool, small: bool) -> int:
    """Bytes of stack that the kernels take more than those that take least."""
    kernels = {_kernel(layer, name, lists, small)[0] for layer, name in zip(layers, formats, strict=True)}
    return max((_STACK.get(kernel, 0) for kernel in kernels), default=0)


def _instructions(layer: Weighted, format: str, lists: bool, small: bool) -> float:
    """About how many a layer takes in one inference on a Cortex-M4."""
    outputs, stored = len(layer.weights), layer.weights.size if format in ("dense", "packed") else layer.nnz
    if not isinstance(layer, Convolution):
        return layer.rows * (100.0 * outputs + stored * (24.0 if format != "dense" else 7.0 if small else 2.5))
    w = layer.window
    pixels, blocks = w.out_height * w.out_width, w.out_height * -(-w.out_width // 16)
    fixed = outputs * (13.0 * pixels + 130.0 * blocks)
    if format == "dense" and small:
        return fixed + pixels * (87.0 * outputs + 8.0 * stored)
    if format == "dense" and layer.run == 1:  # pixels at the map's edges are slow
        return fixed + 2.5 * stored * pixels + outputs * blocks * (350.0 if w.pad_left else 40.0)
    if format == "dense":  # four taps at a time
        each = 2.5 + 1.5 * (layer.run % 4) / layer.run
        return fixed + each * stored * pixels + outputs * w.kernel_height * w.kernel_width * blocks * 60.0
    # A stream is read again for each block of pixels; much is done once for weights that lie side by side.
    places = layer.weights.reshape(outputs, w.kernel_height, w.kernel_width, -1).any(axis=3)
    if lists:
        columns = int(places.any(axis=1).sum())
        return fixed + stored * (3.3 * pixels + 28.0 * blocks) + columns * (150.0 * blocks + 5.0 * pixels)
    return fixed + stored * (6.5 * pixels + 55.0 * blocks) + int(places.sum()) * 15.0 * blocks


def _sets(names: set[str]) -> Iterable[tuple[str, ...]]:
    names = [name for name in FORMATS if name in names]
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


def _score(optimize: str, flash: float, instructions: float) -> tuple[float, ...]:
    """The less the better."""
    if optimize == "balanced":
        return (flash**4 * instructions,)
    return (flash, instructions) if optimize == "size" else (instructions, flash)


def choose(
    layers: Sequence[Weighted], found: Sequence[Choices], optimize: str, small: bool = False
) -> tuple[list[str], bool]:
    """The format of each layer, and whether convolutions on streams unpack their weights into lists."""
    best, least, seen = ([], False), None, set()
    for lists in (False,) if small else (False, True):
        speed = [
            {name: _instructions(layer, name, lists, small) for name in each.sizes}
            for layer, each in zip(layers, found, strict=True)
        ]
        for names, price in itertools.product(_sets({name for each in found for name in each.sizes}), _PRICES):
            options = [[name for name in names if name in each.sizes] for each in found]
            if not all(options):
                continue
            formats = [
                min(own, key=lambda name, i=i: found[i].sizes[name] + price * speed[i][name])
                for i, own in enumerate(options)
            ]
            if (lists, *formats) in seen:
                continue
            seen.add((lists, *formats))
            flash = sum(each.sizes[name] for name, each in zip(formats, found, strict=True))
            flash += code_size(layers, formats, found, lists, small) + _LAYER * len(layers)
            if optimize == "balanced":
                flash += _stack_size(layers, formats, lists, small)
            score = _score(optimize, flash, sum(each[name] for name, each in zip(formats, speed, strict=True)))
            if least is None or score < least:
                best, least = (formats, lists), score
    return best


def encode_network(
    network: Network, optimize: str, formats: Sequence[str] = FORMATS, small: bool = False
) -> tuple[dict[str, Encoded], bool]:
    """The tables of all layers that have some, by layer name; and whether convolutions unpack their weights into lists.

    `formats`: what weights may be written as. `small`: kernels are to take little flash and stack.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Weighted)]
    found = [choices(layer, formats) for layer in layers]
    chosen, lists = choose(layers, found, optimize, small)

    def encoded(bias_grows: bool) -> list[Encoded]:
        return [
            encode_weighted(layer, name, each, bias_grows)
            for layer, name, each in zip(layers, chosen, found, strict=True)
        ]

    weighted = encoded(False)
    if all(map(bias_may_grow, layers)):
        weighted = min(weighted, encoded(True), key=lambda tables: sum(each.payload for each in tables))
    tables = {layer.name: each for layer, each in zip(layers, pad_streams(weighted), strict=True)}
    plain = {layer.name: encode_plain(layer) for layer in network.layers if not isinstance(layer, Weighted)}
    tables.update({name: each for name, each in plain.items() if each is not None})
    return tables, lists
