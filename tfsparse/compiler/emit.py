"""A planned network -> the text of model.h and model.c, and the names of the runtime headers these need."""

from __future__ import annotations

import textwrap

from tfsparse.compiler import descriptors
from tfsparse.compiler.encode import Encoded, Table
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.interface import functions_text, head, header_text
from tfsparse.compiler.layers import Convolution, FullyConnected, Layer, Network, Weighted
from tfsparse.compiler.program import Program, comment
from tfsparse.compiler.schedule import Plan

__all__ = ["Program", "header_text", "headers", "source_text"]

_LARGEST_BLOCK = 16  # pixels whose 32-bit sums wait on the stack at once
_HEADERS = {
    Convolution: "tfs_conv.h",
    FullyConnected: "tfs_dense.h",
    **descriptors.HEADERS,
}
_REQUIRED = {
    "tfs_conv.h": ("tfs_weights.h", "tfs_fixed.h"),
    "tfs_dense.h": ("tfs_weights.h", "tfs_fixed.h"),
    **descriptors.REQUIRED,
}
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}


def headers(network: Network) -> tuple[str, ...]:
    """Runtime headers that the network's layers need, sorted."""
    direct = {_HEADERS[type(layer)] for layer in network.layers}
    return tuple(sorted(direct.union(*(_REQUIRED.get(name, ()) for name in direct))))


def _array(layer: Layer, table: Table) -> str:
    numbers = ", ".join(map(str, table.values.tolist()))
    lines = textwrap.fill(numbers, 116, initial_indent="    ", subsequent_indent="    ")
    kind = _C_TYPES[table.values.dtype.name]
    return f"static const {kind} {layer.name}_{table.role}[{table.values.size}] = {{\n{lines},\n}};"


def _weights(layer: Weighted, encoded: Encoded) -> str:
    def name(role: str) -> str:
        return f"{layer.name}_{role}" if encoded.table(role) else "NULL"

    form = encoded.channels
    bits = f"{form.bias_bits}, {form.mantissa_bits}, {form.shift_bits}, {form.shift_base}"
    return (
        f"{{{name('weights')}, {name('bitmap')}, {name('constants')}, {layer.input_zero}, {layer.output_zero}, "
        f"{layer.lowest}, {layer.highest}, {bits}}}"
    )


def conv_block(layer: Convolution) -> int:
    """Pixels of an output row that are computed together: equal parts of at most `_LARGEST_BLOCK`."""
    parts = -(-layer.window.out_width // _LARGEST_BLOCK)
    return -(-layer.window.out_width // parts)


def _fields(layer: Layer, encoded: Encoded | None, network: Network) -> str | None:
    """Initialiser of the layer's descriptor, in the order of the struct; None where its kernel needs none."""
    if isinstance(layer, Convolution):
        w = layer.window
        return (
            f"{_weights(layer, encoded)}, {w.in_height}, {w.in_width}, {layer.in_channels}, {w.out_height}, "
            f"{w.out_width}, {layer.out_channels}, {layer.run}, {layer.per_group}, {w.kernel_height}, "
            f"{w.kernel_width}, {w.stride_height}, {w.stride_width}, {w.dilation_height}, {w.dilation_width}, "
            f"{w.pad_top}, {w.pad_left}, {conv_block(layer)}"
        )
    if isinstance(layer, FullyConnected):
        return f"{_weights(layer, encoded)}, {layer.rows}, {layer.weights.shape[1]}, {layer.weights.shape[0]}"
    return descriptors.fields(layer, network)


def _descriptor(layer: Layer, fields: str) -> str:
    kind = _HEADERS[type(layer)].removesuffix(".h")
    fields = textwrap.fill(fields, 116, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {layer.name} = {{\n{fields},\n}};"


def _call(layer: Layer, plan: Plan) -> list[str]:
    inputs = [f"arena + {plan.offsets[i]}" for i in layer.inputs]
    output = f"arena + {plan.offsets[layer.output]}"
    if not isinstance(layer, Weighted):
        return descriptors.calls(layer, inputs, output)
    kind = _HEADERS[type(layer)].removesuffix(".h")
    return [f"{kind}_run(&{layer.name}, {', '.join(inputs)}, {output});"]


def _scaled_sums(layer: Layer) -> list[tuple[int, Multiplier]]:
    """What the layer's kernel multiplies at run time with two roundings: (bound of its magnitude, factor)."""
    if isinstance(layer, Convolution):
        bounds = layer.sum_bounds()
        return list(zip(bounds.tolist(), layer.multipliers, strict=True))
    return descriptors.scaled_sums(layer)


def _fits_short_way(bound: int, by: Multiplier) -> bool:
    """Whether tfs_scale may take its short way: no left shift, and twice the rounded product plus a half fits."""
    return -29 <= by.shift <= 0 and 2 * ((bound * by.mantissa >> 31) + 1) + (1 << -by.shift) < 1 << 31


def _switches(program: Program) -> list[str]:
    """Macros that leave out of the runtime what this network does not need."""
    encoded = program.encoded.values()
    convolutions = [layer for layer in program.network.layers if isinstance(layer, Convolution)]
    switches = [f"TFS_{name.upper()}" for name in ("dense", "bitmap") if any(e.format == name for e in encoded)]
    if not all(_fits_short_way(*scaled) for layer in program.network.layers for scaled in _scaled_sums(layer)):
        switches.append("TFS_ANY_SCALE")
    if convolutions:
        switches.append(f"TFS_CONV_BLOCK {max(map(conv_block, convolutions))}")
    return [f"#define {switch}" for switch in (*switches, *descriptors.switches(program.network))]


def source_text(program: Program) -> str:
    network, plan = program.network, program.plan
    direct = sorted({_HEADERS[type(layer)] for layer in network.layers})
    tables = []
    for layer in network.layers:
        encoded = program.encoded.get(layer.name)
        title = f"/* {layer.name}: {layer.place}, '{comment(network.values[layer.output].name)}' */"
        parts = [_array(layer, table) for table in encoded.tables] if encoded else []
        if (fields := _fields(layer, encoded, network)) is not None:
            parts.append(_descriptor(layer, fields))
        if parts:
            tables.append("\n".join([title, *parts]))
    parts = [
        head(program) + '#include "model.h"\n\n#include <stddef.h>\n#include <string.h>',
        "\n".join(_switches(program)),
        "\n".join(f'#include "{name}"' for name in direct),
        "static int8_t arena[MODEL_ARENA_SIZE];",
        *tables,
        functions_text(program, [call for layer in network.layers for call in _call(layer, plan)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
