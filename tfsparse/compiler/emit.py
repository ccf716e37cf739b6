"""A planned network -> the text of model.h and model.c, and the names of the runtime headers these need."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfsparse.compiler.counted import Counted, layer_macs
from tfsparse.compiler.encode import Encoded, Table
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import (
    Add,
    Concatenate,
    Convolution,
    FullyConnected,
    Layer,
    Mean,
    Network,
    Pad,
    Pool,
    Rescale,
    Softmax,
    Weighted,
)
from tfsparse.compiler.schedule import Plan

_LARGEST_BLOCK = 16  # pixels whose 32-bit sums wait on the stack at once
_HEADERS = {
    Convolution: "tfs_conv.h",
    FullyConnected: "tfs_dense.h",
    Pool: "tfs_pool.h",
    Mean: "tfs_mean.h",
    Add: "tfs_add.h",
    Rescale: "tfs_rescale.h",
    Concatenate: "tfs_concatenate.h",
    Pad: "tfs_pad.h",
    Softmax: "tfs_softmax.h",
}
_REQUIRED = {
    "tfs_conv.h": ("tfs_weights.h", "tfs_fixed.h"),
    "tfs_dense.h": ("tfs_weights.h", "tfs_fixed.h"),
    "tfs_pool.h": ("tfs_fixed.h",),
    "tfs_mean.h": ("tfs_fixed.h",),
    "tfs_add.h": ("tfs_fixed.h",),
    "tfs_rescale.h": ("tfs_fixed.h",),
    "tfs_softmax.h": ("tfs_fixed.h",),
}
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}


@dataclass(frozen=True)
class Program:
    """Everything that the text is made of."""

    name: str
    network: Network
    encoded: dict[str, Encoded]  # by layer name
    plan: Plan
    counted: Counted

    @property
    def payload(self) -> int:
        return sum(encoded.payload for encoded in self.encoded.values())


def headers(network: Network) -> tuple[str, ...]:
    """Runtime headers that the network's layers need, sorted."""
    direct = {_HEADERS[type(layer)] for layer in network.layers}
    return tuple(sorted(direct.union(*(_REQUIRED.get(name, ()) for name in direct))))


def float_literal(x: float) -> str:
    """The shortest C literal that gives the float32 `x` again."""
    return f"{np.float32(x)!s}f"


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _comment(text: str) -> str:
    """`text` safe inside a C comment and on any console: names come from the file."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return printable[:120].replace("*/", "* /").replace("/*", "/ *")


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


def _fields(layer: Layer, encoded: Encoded | None) -> str:
    """Initialiser of the layer's descriptor, in the order of the struct."""
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
    if isinstance(layer, Pool):
        w = layer.window
        return (
            f"{w.in_height}, {w.in_width}, {w.out_height}, {w.out_width}, {layer.channels}, {w.kernel_height}, "
            f"{w.kernel_width}, {w.stride_height}, {w.stride_width}, {w.pad_top}, {w.pad_left}, "
            f"{layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Mean):
        m = layer.multiplier
        return f"{m.mantissa}, {layer.pixels}, {layer.channels}, {layer.input_zero}, {m.shift}, {layer.output_zero}"
    if isinstance(layer, Add):
        (a, b), out, (zero_a, zero_b) = layer.input_multipliers, layer.output_multiplier, layer.input_zeros
        return (
            f"{a.mantissa}, {b.mantissa}, {out.mantissa}, {layer.repeats}, {layer.size}, {zero_a}, {zero_b}, "
            f"{a.shift}, {b.shift}, {out.shift}, {layer.output_zero}, {layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Rescale):
        m = layer.multiplier
        return (
            f"{m.mantissa}, {layer.size}, {layer.input_zero}, {m.shift}, {layer.output_zero}, "
            f"{layer.lowest}, {layer.highest}"
        )
    if isinstance(layer, Pad):
        out_row = (layer.left + layer.width + layer.right) * layer.channels
        before = layer.top * out_row + layer.left * layer.channels
        after = layer.bottom * out_row + layer.right * layer.channels
        between = (layer.left + layer.right) * layer.channels
        return f"{before}, {layer.width * layer.channels}, {between}, {after}, {layer.rows}, {layer.fill}"
    if isinstance(layer, Softmax):
        m = layer.multiplier
        return f"{m.mantissa}, {layer.lowest_difference}, {layer.rows}, {layer.depth}, {m.shift}"
    raise AssertionError(f"no descriptor for {layer}")


def _descriptor(layer: Layer, encoded: Encoded | None) -> str:
    kind = _HEADERS[type(layer)].removesuffix(".h")
    fields = textwrap.fill(_fields(layer, encoded), 116, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {layer.name} = {{\n{fields},\n}};"


def _call(layer: Layer, plan: Plan) -> list[str]:
    inputs = [f"arena + {plan.offsets[i]}" for i in layer.inputs]
    if isinstance(layer, Add) and layer.constant is not None:
        inputs.append(f"{layer.name}_constant")
    output = plan.offsets[layer.output]
    kind = _HEADERS[type(layer)].removesuffix(".h")
    if isinstance(layer, Concatenate):
        pitch, starts = sum(layer.lengths), [sum(layer.lengths[:i]) for i in range(len(layer.lengths))]
        return [
            f"{kind}_run({source}, arena + {output + start}, {layer.outer}, {length}, {pitch});"
            for source, start, length in zip(inputs, starts, layer.lengths, strict=True)
        ]
    last = f", {int(layer.kind == 'average_pool')}" if isinstance(layer, Pool) else ""
    return [f"{kind}_run(&{layer.name}, {', '.join(inputs)}, arena + {output}{last});"]


def _scaled_sums(layer: Layer) -> list[tuple[int, Multiplier]]:
    """What the layer's kernel multiplies at run time with two roundings: (bound of its magnitude, factor)."""
    if isinstance(layer, Convolution):
        bounds = layer.sum_bounds()
        return list(zip(bounds.tolist(), layer.multipliers, strict=True))
    if isinstance(layer, Rescale):
        return [(255, layer.multiplier)]
    if isinstance(layer, Mean):
        return [(255 * layer.pixels, layer.multiplier)]
    if isinstance(layer, Add):
        return [*((255 << 20, m) for m in layer.input_multipliers), (255 << 20, layer.output_multiplier)]
    return []


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
    return [f"#define {switch}" for switch in switches]


def _head(program: Program) -> str:
    """The comment on top of both files."""
    network, plan = program.network, program.plan
    source, result = network.values[network.input], network.values[network.output]
    lines = [
        f"{_comment(program.name)}: int8 neural network, compiled to C99 by tfsparse. Do not edit.",
        "",
        f"input   int8 [{_shape(network.input_shape)}], real = {float_literal(source.scale)} * (q - "
        f"{source.zero_point}), '{_comment(source.name)}'",
        f"output  int8 [{_shape(network.output_shape)}], real = {float_literal(result.scale)} * (q - "
        f"{result.zero_point}), '{_comment(result.name)}'",
        *(f"        {_comment(note)}" for note in network.notes),
        f"flash   {program.payload} bytes of constant tables, beside code",
        f"RAM     {plan.size} bytes of arena, input and output included, beside the stack",
        f"work    {program.counted.macs} multiply-accumulates if dense; {program.counted.nnz} weights are not zero",
        "",
        f"{'layer':<16}{'output':<18}{'weights':>9}{'not zero':>10}  {'format':<8}{'bytes':>7}{'MACs':>10}",
    ]
    for layer in network.layers:
        weights = layer.weights.size if isinstance(layer, Weighted) else 0
        nnz = layer.nnz if isinstance(layer, Weighted) else 0
        encoded = program.encoded.get(layer.name)
        lines.append(
            f"{layer.name:<16}{_shape(network.values[layer.output].shape):<18}{weights or '-':>9}{nnz or '-':>10}  "
            f"{encoded.format if encoded else '-':<8}{encoded.payload if encoded else '-':>7}"
            f"{layer_macs(layer) or '-':>10}"
        )
    lines += [
        "",
        "Use: fill model_input() and call model_invoke(model_input(), NULL); then read model_output().",
        "Or give buffers of your own: model_invoke(in, out). Not reentrant: there is one arena.",
    ]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines)[3:] + "\n */\n"


def header_text(program: Program) -> str:
    network = program.network
    source, result = network.values[network.input], network.values[network.output]
    name = _comment(program.name).replace("\\", "\\\\").replace('"', '\\"')
    return f"""{_head(program)}#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_NAME "{name}"
#define MODEL_INPUT_SIZE {source.size}
#define MODEL_OUTPUT_SIZE {result.size}
#define MODEL_ARENA_SIZE {program.plan.size}
#define MODEL_PAYLOAD_SIZE {program.payload}
#define MODEL_MACS {program.counted.macs}
#define MODEL_INPUT_SCALE {float_literal(source.scale)}
#define MODEL_INPUT_ZERO_POINT ({source.zero_point})
#define MODEL_OUTPUT_SCALE {float_literal(result.scale)}
#define MODEL_OUTPUT_ZERO_POINT ({result.zero_point})

#ifdef __cplusplus
extern "C" {{
#endif

/* Where the input may be written directly: saves a buffer and a copy. Its place is used again during an invoke. */
int8_t *model_input(void);

/* Where the output lies after an invoke, until the next one or until model_input() is written. */
const int8_t *model_output(void);

/* Runs the network once; returns 0. in: MODEL_INPUT_SIZE values, or model_input(). out: MODEL_OUTPUT_SIZE, or NULL. */
int model_invoke(const int8_t *in, int8_t *out);

#ifdef __cplusplus
}}
#endif

#endif
"""


def source_text(program: Program) -> str:
    network, plan = program.network, program.plan
    source, result = plan.offsets[network.input], plan.offsets[network.output]
    direct = sorted({_HEADERS[type(layer)] for layer in network.layers})
    tables = []
    for layer in network.layers:
        encoded = program.encoded.get(layer.name)
        title = f"/* {layer.name}: {layer.place}, '{_comment(network.values[layer.output].name)}' */"
        parts = [_array(layer, table) for table in encoded.tables] if encoded else []
        if not isinstance(layer, Concatenate):
            parts.append(_descriptor(layer, encoded))
        if parts:
            tables.append("\n".join([title, *parts]))
    calls = [call for layer in network.layers for call in _call(layer, plan)]
    parts = [
        _head(program) + '#include "model.h"\n\n#include <stddef.h>\n#include <string.h>',
        "\n".join(_switches(program)),
        "\n".join(f'#include "{name}"' for name in direct),
        "static int8_t arena[MODEL_ARENA_SIZE];",
        *tables,
        f"int8_t *model_input(void)\n{{\n    return arena + {source};\n}}",
        f"const int8_t *model_output(void)\n{{\n    return arena + {result};\n}}",
        f"int model_invoke(const int8_t *in, int8_t *out)\n{{\n    if (in != arena + {source}) {{\n"
        f"        memcpy(arena + {source}, in, MODEL_INPUT_SIZE);\n    }}\n"
        + "".join(f"    {call}\n" for call in calls)
        + f"    if (out != NULL) {{\n        memcpy(out, arena + {result}, MODEL_OUTPUT_SIZE);\n    }}\n"
        "    return 0;\n}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
