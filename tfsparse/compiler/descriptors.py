"""Layers without weight streams in C: their runtime header, descriptor, call, and the switches of the runtime."""

from __future__ import annotations

from collections.abc import Iterable

from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.grid import Grid
from tfsparse.compiler.layers import (
    Add,
    ArgMax,
    Binary,
    Concatenate,
    Convolution,
    Gather,
    Layer,
    LeakyRelu,
    Lookup,
    Mean,
    Move,
    Multiply,
    Network,
    Pad,
    Pool,
    Reduce,
    Rescale,
    Softmax,
    Window,
)

HEADERS = {
    Pool: "tfs_pool.h",
    Mean: "tfs_mean.h",
    Add: "tfs_add.h",
    Multiply: "tfs_multiply.h",
    Rescale: "tfs_rescale.h",
    Lookup: "tfs_lookup.h",
    LeakyRelu: "tfs_leaky_relu.h",
    Concatenate: "tfs_concatenate.h",
    Pad: "tfs_pad.h",
    Move: "tfs_move.h",
    Gather: "tfs_gather.h",
    Reduce: "tfs_reduce.h",
    ArgMax: "tfs_arg_max.h",
    Softmax: "tfs_softmax.h",
}
REQUIRED = {
    "tfs_pool.h": ("tfs_fixed.h", "tfs_rows.h"),
    "tfs_mean.h": ("tfs_fixed.h",),
    "tfs_add.h": ("tfs_fixed.h", "tfs_grid.h"),
    "tfs_multiply.h": ("tfs_fixed.h", "tfs_grid.h"),
    "tfs_rescale.h": ("tfs_fixed.h",),
    "tfs_leaky_relu.h": ("tfs_fixed.h",),
    "tfs_move.h": ("tfs_grid.h",),
    "tfs_reduce.h": ("tfs_fixed.h", "tfs_grid.h"),
    "tfs_softmax.h": ("tfs_fixed.h",),
}


def scaled_sums(layer: Layer) -> list[tuple[int, Multiplier]]:
    """What the layer's kernel multiplies at run time with two roundings: (bound of its magnitude, factor)."""
    if isinstance(layer, Rescale):
        return [(255, layer.multiplier)]
    if isinstance(layer, LeakyRelu):
        return [(255, layer.above), (255, layer.below)]
    if isinstance(layer, Mean):
        return [(255 * layer.pixels, layer.multiplier)]
    if isinstance(layer, Add):
        return [*((255 << 20, m) for m in layer.input_multipliers), (255 << 20, layer.output_multiplier)]
    if isinstance(layer, Multiply):
        return [(255 * 255, layer.multiplier)]
    return []


def _loops(layer: Layer) -> list[int]:
    """How many loops the kernel of a layer keeps in tables."""
    if isinstance(layer, Binary | Move):
        return [len(layer.grid.jumps())]
    if isinstance(layer, Reduce):
        return [len(layer.kept.counts), len(layer.reduced.counts)]
    return []


def _is_broadcast(layer: Layer) -> bool:
    """Whether a binary layer's operands and output do not just lie side by side."""
    if not isinstance(layer, Binary) or layer.grid.length == 1:
        return False
    return bool(layer.grid.jumps()) or {layer.grid.step(0), layer.grid.step(1)} != {1}


def _most_loops(network: Network) -> int:
    return max([1, *(n for layer in network.layers for n in _loops(layer))])


def switches(network: Network) -> list[str]:
    """Macros that leave out of the runtime what this network does not need."""
    found = []
    if any(map(_is_broadcast, network.layers)):
        found.append("TFS_BROADCAST")
    if any(isinstance(layer, Add) and layer.subtract for layer in network.layers):
        found.append("TFS_SUBTRACT")
    if any(map(_loops, network.layers)):
        found.append(f"TFS_LOOPS {_most_loops(network)}")
    if any(w.held for w in windows(network)):
        found.append("TFS_RINGS")
    if any(w.table for w in windows(network)):
        found.append("TFS_TABLES")
    return found


def windows(network: Network) -> list[Window]:
    return [layer.window for layer in network.layers if isinstance(layer, Convolution | Pool)]


def rows(window: Window, network: Network) -> str:
    """Initialiser of TFS_ROWS, with the comma behind it."""
    if any(w.table for w in windows(network)):
        return f"{window.table or 'NULL'}, "
    return f"{window.held or window.in_height}, " if any(w.held for w in windows(network)) else ""


def _table(grid: Grid, first: int, width: int = 2) -> str:
    """Initialiser of an array of tfs_loop. Pointers that the grid does not have stay where they are."""
    rows = [(count, *moves, *(0,) * (width - len(moves))) for count, moves in grid.jumps(first)]
    return "{" + ", ".join("{" + ", ".join(map(str, row)) + "}" for row in rows or [(0,)]) + "}"


def _operands(layer: Binary, network: Network) -> str:
    """Initialiser of tfs_operands."""
    grid = layer.grid
    if not any(map(_is_broadcast, network.layers)):
        return f"{{{grid.length}}}"
    return f"{{{grid.length}, {len(grid.jumps())}, {grid.step(0)}, {grid.step(1)}, {_table(grid, 1)}}}"


def fields(layer: Layer, network: Network) -> str | None:
    """Initialiser of the layer's descriptor, in the order of the struct; None where its kernel needs none."""
    if isinstance(layer, Pool):
        w = layer.window
        return (
            f"{rows(w, network)}{w.in_height}, {w.in_width}, {w.out_height}, {w.out_width}, {layer.channels}, "
            f"{w.kernel_height}, {w.kernel_width}, {w.stride_height}, {w.stride_width}, {w.pad_top}, {w.pad_left}, "
            f"{layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Mean):
        m = layer.multiplier
        return f"{m.mantissa}, {layer.pixels}, {layer.channels}, {layer.input_zero}, {m.shift}, {layer.output_zero}"
    if isinstance(layer, Add):
        (a, b), out, (zero_a, zero_b) = layer.input_multipliers, layer.output_multiplier, layer.input_zeros
        sign = f", {int(layer.subtract)}" if "TFS_SUBTRACT" in switches(network) else ""
        return (
            f"{_operands(layer, network)}, {a.mantissa}, {b.mantissa}, {out.mantissa}, {zero_a}, {zero_b}, "
            f"{a.shift}, {b.shift}, {out.shift}, {layer.output_zero}, {layer.lowest}, {layer.highest}{sign}"
        )
    if isinstance(layer, Multiply):
        m, (zero_a, zero_b) = layer.multiplier, layer.input_zeros
        return (
            f"{_operands(layer, network)}, {m.mantissa}, {zero_a}, {zero_b}, {m.shift}, {layer.output_zero}, "
            f"{layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Rescale):
        m = layer.multiplier
        return (
            f"{m.mantissa}, {layer.size}, {layer.input_zero}, {m.shift}, {layer.output_zero}, "
            f"{layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Lookup):
        return f"{layer.name}_table, {layer.size}, {layer.first}, {layer.last}"
    if isinstance(layer, LeakyRelu):
        above, below = layer.above, layer.below
        return (
            f"{above.mantissa}, {below.mantissa}, {layer.size}, {layer.input_zero}, {above.shift}, {below.shift}, "
            f"{layer.output_zero}"
        )
    if isinstance(layer, Pad):
        out_row = (layer.left + layer.width + layer.right) * layer.channels
        before = layer.top * out_row + layer.left * layer.channels
        after = layer.bottom * out_row + layer.right * layer.channels
        between = (layer.left + layer.right) * layer.channels
        return f"{before}, {layer.width * layer.channels}, {between}, {after}, {layer.rows}, {layer.fill}"
    if isinstance(layer, Move):
        grid = layer.grid
        filled = 0 if layer.fill is None else network.values[layer.output].size
        return (
            f"{grid.length}, {filled}, {grid.step(0)}, {grid.step(1)}, {layer.start_in}, {layer.start_out}, "
            f"{layer.fill or 0}, {len(grid.jumps())}, {_table(grid, 1)}"
        )
    if isinstance(layer, Gather):
        return f"{layer.name}_indices, {layer.outer}, {layer.indices.size}, {layer.inner}, {layer.pitch}"
    if isinstance(layer, Reduce):
        kept, reduced, line = layer.kept, layer.reduced, layer.line
        return (
            f"{line.below}, {line.above}, {line.factor}, {line.turn}, {line.shift}, {len(kept.counts)}, "
            f"{len(reduced.counts)}, {_table(kept, 0)}, {_table(reduced, 0)}"
        )
    if isinstance(layer, ArgMax):
        return f"{layer.outer}, {layer.count}, {layer.inner}, {layer.width}"
    if isinstance(layer, Softmax):
        m = layer.multiplier
        return f"{m.mantissa}, {layer.lowest_difference}, {layer.rows}, {layer.depth}, {m.shift}"
    return None


def calls(layer: Layer, inputs: Iterable[str], output: str, row: str | None = None) -> list[str]:
    """The C statements that run a layer. `inputs` and `output` are expressions that point to the values.

    `row`: the expression of the output row to make, for layers that work row by row.
    """
    kind, sources = HEADERS[type(layer)].removesuffix(".h"), list(inputs)
    if isinstance(layer, Concatenate):
        pitch, starts = sum(layer.lengths), [sum(layer.lengths[:i]) for i in range(len(layer.lengths))]
        values = iter(sources)
        return [
            f"{kind}_run({next(values) if isinstance(part, int) else f'{layer.name}_constant{i}'}, "
            f"{output} + {start}, {layer.outer}, {length}, {pitch});"
            for i, (part, start, length) in enumerate(zip(layer.parts, starts, layer.lengths, strict=True))
        ]
    if isinstance(layer, Binary) and layer.constant is not None:
        sources.insert(layer.constant_at, f"{layer.name}_constant")
    if isinstance(layer, Pool):
        how, which = ("row", f", {row}") if row else ("run", "")
        return [f"{kind}_{how}(&{layer.name}, {sources[0]}, {output}{which}, {int(layer.kind == 'average_pool')});"]
    return [f"{kind}_run(&{layer.name}, {', '.join(sources)}, {output});"]
