"""Which format each layer's weights get: by exact bytes of the tables, and measured ones of the code that reads them.

All layers together decide, as a format that saves 30 bytes of one table does not pay for 100 bytes of kernel: each set
of formats is tried at several prices of an instruction in bytes of flash, at which every layer takes the cheapest of
the set. What wins is, by `optimize`,

- "size": least flash, then fewest instructions;
- "speed": fewest instructions, then least flash;
- "balanced": least flash ** 3 * instructions: 10 % of flash are worth a third of the instructions.

Flash is exact in the tables and measured in the code, instructions are estimated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from tfsparse.compiler.encode import FORMATS, Choices, Encoded, bias_may_grow, choices, encode_plain, encode_weighted
from tfsparse.compiler.layers import Convolution, Network, Weighted

_PRICES = (0.0, *(4.0**-n for n in range(12, -1, -1)))  # bytes of flash for an instruction
_LAYER = 60  # bytes of flash, about, that a layer takes beside its tables and kernel

# Bytes of machine code, gcc 12 at -Os for Cortex-M4; tests/compiler/test_choose.py measures them again.
CODE = {
    "tfs_conv": 620,
    "tfs_conv_dense, plain": 560,
    "tfs_conv_dense, depthwise": 620,
    "tfs_dense": 160,
    "tfs_dense_dot": 330,
    "codebook": 18,
    "gaps": 36,
    "mixed": 8,  # layers with gaps beside others without
}


def _kernel(layer: Weighted, format: str) -> str:
    if not isinstance(layer, Convolution):
        return "tfs_dense_dot" if format == "dense" else "tfs_dense"
    if format != "dense":
        return "tfs_conv"
    return f"tfs_conv_dense, {'depthwise' if layer.run == 1 else 'plain'}"


def _pixels(layer: Weighted) -> int:
    window = layer.window if isinstance(layer, Convolution) else None
    return window.out_height * window.out_width if window else layer.rows


def _instructions(layer: Weighted, format: str) -> float:
    """About how many the weights take in one inference on a Cortex-M4."""
    pixels = _pixels(layer)
    if format == "dense":
        each = 2.5 if not isinstance(layer, Convolution) or layer.run > 1 else 8
        return each * layer.weights.size * pixels
    stored = layer.weights.size if format == "packed" else layer.nnz
    if not isinstance(layer, Convolution):
        return 24.0 * stored * pixels
    # Read again for each row of the output.
    return stored * (7.0 * pixels + 60.0 * layer.window.out_height)


def _code(layers: Sequence[Weighted], formats: Sequence[str], found: Sequence[Choices]) -> int:
    """Bytes of the kernels and of what reads these formats."""
    parts = {_kernel(layer, name) for layer, name in zip(layers, formats, strict=True)}
    codings = [each.codings[name] for each, name in zip(found, formats, strict=True) if name in each.codings]
    parts.update({"codebook"} if any(coding.codebook is not None for coding in codings) else ())
    gaps = {coding.gap_bits is not None for coding in codings}
    parts.update({"gaps"} if True in gaps else (), {"mixed"} if len(gaps) == 2 else ())
    return sum(CODE[part] for part in parts)


def _sets(names: set[str]) -> Iterable[tuple[str, ...]]:
    names = [name for name in FORMATS if name in names]
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)


def _score(optimize: str, flash: float, instructions: float) -> tuple[float, ...]:
    """The less the better."""
    if optimize == "balanced":
        return (flash**3 * instructions,)
    return (flash, instructions) if optimize == "size" else (instructions, flash)


def choose(layers: Sequence[Weighted], found: Sequence[Choices], optimize: str) -> list[str]:
    """The format of each layer."""
    speed = [
        {name: _instructions(layer, name) for name in each.sizes} for layer, each in zip(layers, found, strict=True)
    ]
    best, least, seen = [], None, set()
    for names in _sets({name for each in found for name in each.sizes}):
        options = [[name for name in names if name in each.sizes] for each in found]
        if not all(options):
            continue
        for price in _PRICES:
            formats = [
                min(own, key=lambda name, i=i: found[i].sizes[name] + price * speed[i][name])
                for i, own in enumerate(options)
            ]
            if tuple(formats) in seen:
                continue
            seen.add(tuple(formats))
            flash = sum(each.sizes[name] for name, each in zip(formats, found, strict=True))
            flash += _code(layers, formats, found) + _LAYER * len(layers)
            score = _score(optimize, flash, sum(each[name] for name, each in zip(formats, speed, strict=True)))
            if least is None or score < least:
                best, least = formats, score
    return best


def encode_network(network: Network, optimize: str, formats: Sequence[str] = FORMATS) -> Mapping[str, Encoded]:
    """The tables of all layers that have some, by layer name. `formats`: what weights may be written as."""
    layers = [layer for layer in network.layers if isinstance(layer, Weighted)]
    found = [choices(layer, formats) for layer in layers]
    chosen = choose(layers, found, optimize)

    def encoded(bias_grows: bool) -> list[Encoded]:
        return [
            encode_weighted(layer, name, each, bias_grows)
            for layer, name, each in zip(layers, chosen, found, strict=True)
        ]

    weighted = encoded(False)
    if all(map(bias_may_grow, layers)):
        weighted = min(weighted, encoded(True), key=lambda tables: sum(each.payload for each in tables))
    tables = {layer.name: each for layer, each in zip(layers, weighted, strict=True)}
    plain = {layer.name: encode_plain(layer) for layer in network.layers if not isinstance(layer, Weighted)}
    tables.update({name: each for name, each in plain.items() if each is not None})
    return tables
