"""Which format each layer's weights get: by exact bytes of the tables, and measured ones of the code that reads them.

All layers together decide, as a format that saves 30 bytes of one table does not pay for 100 bytes of kernel: each set
of formats is tried at several prices of an instruction in bytes of flash, at which every layer takes the cheapest of
the set. What wins is, by `optimize`,

- "size": least flash, then fewest instructions;
- "speed": fewest instructions, then least flash; but copies of windows ("im2col") must save 2 % of the instructions for
  each 1 % of flash that they add;
- "balanced": least flash ** 4 * instructions: 10 % of flash are worth a third of the instructions.

Flash is exact in the tables and measured in the code, instructions are estimated. No format puts constants into code:
a weight takes about 11 bytes there and an output 40, which pays for nothing but a model's only dense layer, if
that has one output of some ten weights (tests/compiler/test_choose.py measures it).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from tfsparse.compiler.encode import (
    FORMATS,
    PLAIN,
    BiasForm,
    Choices,
    Encoded,
    bias_may_grow,
    encode_plain,
    encode_weighted,
    network_choices,
    pad_streams,
    unit_of,
    with_prefix_table,
)
from tfsparse.compiler.kernels import WAYS, code_size, instructions, kernel_of, padding, stack_size
from tfsparse.compiler.layers import Network, Weighted

_PRICES = (0.0, *(4.0**-n for n in range(12, -1, -1)))  # bytes of flash for an instruction
_UNIT_CODE = 12  # bytes of what multiplies biases by their unit; where layers differ in theirs, each takes one more
_LAYER = 60  # bytes of flash, about, that a layer takes beside its tables and kernel


def _sets(names: set[str]) -> Iterable[tuple[str, ...]]:
    names = [name for name in FORMATS if name in names]
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


def _score(optimize: str, flash: float, instructions: float) -> tuple[float, ...]:
    """The less the better."""
    if optimize == "balanced":
        return (flash**4 * instructions,)
    return (flash, instructions) if optimize == "size" else (instructions, flash)


def _copies_score(instructions: float, flash: float) -> float:
    """The less the better, where copies of windows are weighed against none."""
    return instructions * flash**2


def choose(
    layers: Sequence[Weighted],
    found: Sequence[Choices],
    optimize: str,
    small: bool = False,
    arena: int = 0,
) -> tuple[list[str], list[str]]:
    """The format of each layer, and its kernel. For `small` and `arena` see `encode_network`."""
    best, least, seen = ([], []), None, set()
    left_out = {"small"} if optimize == "speed" else {"small", "im2col"}
    for way in ("small",) if small else [way for way in WAYS if way not in left_out]:
        most = _copies_score(*least) if way == "im2col" and least else math.inf  # of the other ways, which come before
        kernels = [
            {name: kernel_of(layer, name, way, arena) for name in each.sizes}
            for layer, each in zip(layers, found, strict=True)
        ]
        sizes = [
            {name: each.sizes[name] + padding(layer, kernel) for name, kernel in own.items()}
            for layer, each, own in zip(layers, found, kernels, strict=True)
        ]
        speed = [
            {name: instructions(layer, name, kernel) for name, kernel in own.items()}
            for layer, own in zip(layers, kernels, strict=True)
        ]
        for names, price in itertools.product(_sets({name for each in found for name in each.sizes}), _PRICES):
            options = [[name for name in names if name in each.sizes] for each in found]
            if not all(options):
                continue
            formats = [
                min(own, key=lambda name, i=i: sizes[i][name] + price * speed[i][name]) for i, own in enumerate(options)
            ]
            used = [own[name] for own, name in zip(kernels, formats, strict=True)]
            if (*used, *formats) in seen:
                continue
            seen.add((*used, *formats))
            flash = sum(each[name] for name, each in zip(formats, sizes, strict=True)) + _prefix_table(formats, found)
            flash += code_size(layers, formats, used, found, small) + _LAYER * len(layers)
            if optimize == "balanced":
                flash += stack_size(layers, used)
            score = _score(optimize, flash, sum(each[name] for name, each in zip(formats, speed, strict=True)))
            if (least is None or score < least) and (way != "im2col" or _copies_score(*score) < most):
                best, least = (formats, used), score
    return best


def _prefix_table(formats: Sequence[str], found: Sequence[Choices]) -> int:
    """Bytes of the table that layers with a prefix code share."""
    codings = [each.codings[name] for name, each in zip(formats, found, strict=True) if name == "prefix"]
    return codings[0].prefix.table.size if codings else 0


def _bias_forms(layers: Sequence[Weighted]) -> Iterable[tuple[list[BiasForm], int]]:
    """The ways in which all layers' biases may be written, and the bytes that each takes beside the tables."""
    count = len(layers)
    yield [PLAIN] * count, 0
    if all(map(bias_may_grow, layers)):
        yield [BiasForm(grows=True)] * count, 0
    units = list(map(unit_of, layers))
    if units:
        yield [BiasForm(unit=max(units))] * count, _UNIT_CODE
    if len(set(units)) > 1:
        yield [BiasForm(unit=unit) for unit in units], _UNIT_CODE + count


def encode_network(
    network: Network,
    optimize: str,
    formats: Sequence[str] = FORMATS,
    small: bool = False,
    arena: int = 0,
) -> tuple[dict[str, Encoded], dict[str, str]]:
    """The tables of all layers that have some, and the kernels of those with weights, both by layer name.

    `formats`: what weights may be written as. `small`: kernels are to take little flash and stack. `arena`: its bytes,
    for speed with much of the stack; 0 where RAM is scarce.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Weighted)]
    found = network_choices(layers, formats)
    chosen, used = choose(layers, found, optimize, small, arena)
    padded = [kernel == "tfs_conv_im2col" for kernel in used]

    weighted, least = [], None
    for forms, code in _bias_forms(layers):
        parts = zip(layers, chosen, found, forms, padded, strict=True)
        tables = [encode_weighted(*part) for part in parts]
        flash = code + sum(each.payload for each in tables)
        if least is None or flash < least:
            weighted, least = tables, flash
    tables = {layer.name: each for layer, each in zip(layers, with_prefix_table(pad_streams(weighted)), strict=True)}
    plain = {layer.name: encode_plain(layer) for layer in network.layers if not isinstance(layer, Weighted)}
    tables.update({name: each for name, each in plain.items() if each is not None})
    return tables, {layer.name: kernel for layer, kernel in zip(layers, used, strict=True)}
