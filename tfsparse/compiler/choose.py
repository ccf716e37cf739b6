"""Which format each layer's weights get: by exact bytes of the tables, and measured ones of the code that reads them.

All layers together decide, as a format that saves 30 bytes of one table does not pay for 100 bytes of kernel: each set of
formats is tried, every layer takes the best of the set that it may have, and the set with least flash wins.
`optimize` says what a layer may have: "size" all; "speed" only the fastest; "balanced" those at most `_SLOWER` times as
slow as the fastest, by the estimate of `_instructions`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from tfsparse.compiler.encode import FORMATS, Choices, Encoded, bias_may_grow, choices, encode_plain, encode_weighted
from tfsparse.compiler.layers import Convolution, Network, Weighted

_SLOWER = 2.0

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


def _allowed(layer: Weighted, found: Choices, optimize: str) -> list[str]:
    """The formats that `optimize` leaves to a layer."""
    if optimize == "size":
        return list(found.sizes)
    cost = {name: _instructions(layer, name) for name in found.sizes}
    least = min(cost.values()) * (_SLOWER if optimize == "balanced" else 1.0)
    return [name for name in found.sizes if cost[name] <= least]


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


def choose(layers: Sequence[Weighted], found: Sequence[Choices], optimize: str) -> list[str]:
    """The format of each layer."""
    allowed = [_allowed(layer, each, optimize) for layer, each in zip(layers, found, strict=True)]
    best, least = [], None
    for names in _sets(set(itertools.chain.from_iterable(allowed))):
        options = [[name for name in names if name in own] for own in allowed]
        if not all(options):
            continue
        formats = [min(own, key=each.sizes.get) for own, each in zip(options, found, strict=True)]
        tables = sum(each.sizes[name] for name, each in zip(formats, found, strict=True))
        flash = tables + _code(layers, formats, found)
        if least is None or flash < least:
            best, least = formats, flash
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
