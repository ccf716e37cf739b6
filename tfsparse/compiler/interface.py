"""The C interface of a compiled network: model.h, the head comment of both files, and the functions a user calls.

One input is `model_input()`, one output `model_output()`; several are `model_input_0()`, `model_input_1()`, ..., and
`model_invoke` takes and gives them one after the other.
"""

from __future__ import annotations

from tfsparse.compiler.counted import layer_macs
from tfsparse.compiler.flow import FEED_DECLARATION, feed_macros, feed_text
from tfsparse.compiler.layers import Border, Weighted
from tfsparse.compiler.program import Program, comment, float_literal, shape_text


def _border_lines(program: Program, borders: tuple[Border, ...], what: str) -> list[str]:
    """What the head says of each input or output."""
    lines = []
    for i, border in enumerate(borders):
        value = program.network.values[border.value]
        title = what if len(borders) == 1 else f"{what} {i}"
        zero = f"(q - {value.zero_point})" if value.zero_point >= 0 else f"(q + {-value.zero_point})"
        real = f"real = {float_literal(value.scale)} * {zero}" if value.dtype == "int8" else "indices: copy them out"
        lines.append(f"{title:<9}{value.dtype} [{shape_text(border.shape)}], {real}, '{comment(border.name)}'")
    return lines


def _usage(program: Program) -> list[str]:
    inputs, outputs = program.network.inputs, program.network.outputs
    if program.flow.fed:
        return [
            "Use: give the input's rows, from the top, to model_feed(row); when it returns 1, read model_output().",
            "Or a whole input of your own: model_invoke(in, out). Not reentrant: there is one arena.",
        ]
    if len(inputs) == len(outputs) == 1:
        return [
            "Use: fill model_input() and call model_invoke(model_input(), NULL); then read model_output().",
            "Or give buffers of your own: model_invoke(in, out). Not reentrant: there is one arena.",
        ]
    fill = " and ".join(f"{name}()" for name in _functions(inputs, "input"))
    read = " and ".join(f"{name}()" for name in _functions(outputs, "output"))
    return [
        f"Use: fill {fill} and call model_invoke({_in_place(inputs)}, NULL);",
        f"then read {read}.",
        "Or give buffers of your own, in which inputs or outputs lie one after the other: model_invoke(in, out).",
        "Not reentrant: there is one arena.",
    ]


def head(program: Program) -> str:
    """The comment on top of both files."""
    network = program.network
    lines = [
        f"{comment(program.name)}: int8 neural network, compiled to C99 by tfsparse. Do not edit.",
        "",
        *_border_lines(program, network.inputs, "input"),
        *_border_lines(program, network.outputs, "output"),
        *(f"         {comment(note)}" for note in network.notes),
        f"flash    {program.payload} bytes of constant tables, beside code",
        f"RAM      {program.plan.size} bytes of arena, inputs and outputs included, beside the stack",
        f"work     {program.counted.macs} multiply-accumulates if dense; {program.counted.nnz} weights are not zero",
        "",
        f"{'layer':<16}{'output':<18}{'weights':>9}{'not zero':>10}  {'format':<8}{'bytes':>7}{'MACs':>10}",
    ]
    for layer in network.layers:
        weights = layer.weights.size if isinstance(layer, Weighted) else 0
        nnz = layer.nnz if isinstance(layer, Weighted) else 0
        encoded = program.encoded.get(layer.name)
        lines.append(
            f"{layer.name:<16}{shape_text(network.values[layer.output].shape):<18}{weights or '-':>9}{nnz or '-':>10}  "
            f"{encoded.format if encoded else '-':<8}{encoded.payload if encoded else '-':>7}"
            f"{layer_macs(layer) or '-':>10}"
        )
    lines += ["", *_usage(program)]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines)[3:] + "\n */\n"


def _functions(borders: tuple[Border, ...], what: str) -> list[str]:
    return [f"model_{what}"] if len(borders) == 1 else [f"model_{what}_{i}" for i in range(len(borders))]


def _in_place(inputs: tuple[Border, ...]) -> str:
    """The first argument of model_invoke that says: what it would copy is there already."""
    return "model_input()" if len(inputs) == 1 else "NULL"


def _macros(program: Program, borders: tuple[Border, ...], what: str) -> list[str]:
    """Sizes in bytes and quantisation, of the first without a number, too: that is the usual case."""
    network = program.network
    count = len(borders)
    lines = [f"#define MODEL_{what}S {count}", f"#define MODEL_{what}_SIZE {sum(network.border_sizes(borders))}"]
    for name, border in [("", borders[0]), *((f"_{i}", border) for i, border in enumerate(borders) if count > 1)]:
        value = network.values[border.value]
        if name:
            lines.append(f"#define MODEL_{what}{name}_SIZE {value.size}")
        lines.append(f"#define MODEL_{what}{name}_SCALE {float_literal(value.scale)}")
        lines.append(f"#define MODEL_{what}{name}_ZERO_POINT ({value.zero_point})")
    return lines


def _declarations(program: Program) -> str:
    network = program.network
    sources = "\n".join(f"int8_t *{name}(void);" for name in _functions(network.inputs, "input"))
    results = "\n".join(f"const int8_t *{name}(void);" for name in _functions(network.outputs, "output"))
    return f"""/* Where the input may be written directly: saves a buffer and a copy. Its place is used again \
during an invoke. */
{sources}

/* Where the output lies after an invoke, until the next one or until an input is written. */
{results}

/* Runs the network once; returns 0. in: MODEL_INPUT_SIZE values, or {_in_place(network.inputs)}. out: \
MODEL_OUTPUT_SIZE, or NULL. */
int model_invoke(const int8_t *in, int8_t *out);
"""


def header_text(program: Program) -> str:
    network = program.network
    name = comment(program.name).replace("\\", "\\\\").replace('"', '\\"')
    macros = "\n".join(
        [
            f'#define MODEL_NAME "{name}"',
            *_macros(program, network.inputs, "INPUT"),
            *_macros(program, network.outputs, "OUTPUT"),
            f"#define MODEL_ARENA_SIZE {program.plan.size}",
            f"#define MODEL_PAYLOAD_SIZE {program.payload}",
            f"#define MODEL_MACS {program.counted.macs}",
            *(feed_macros(program) if program.flow.fed else []),
        ]
    )
    functions = FEED_DECLARATION if program.flow.fed else _declarations(program)
    return f"""{head(program)}#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

{macros}

#ifdef __cplusplus
extern "C" {{
#endif

{functions}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _copies(program: Program, borders: tuple[Border, ...], pointer: str, into_arena: bool) -> list[str]:
    """memcpy calls between the caller's buffer, where borders lie one after the other, and the arena."""
    lines, start = [], 0
    for border in borders:
        size = program.network.values[border.value].size
        arena, own = f"arena + {program.plan.offsets[border.value]}", f"{pointer} + {start}" if start else pointer
        lines.append(f"memcpy({arena}, {own}, {size});" if into_arena else f"memcpy({own}, {arena}, {size});")
        start += size
    return lines


def functions_text(program: Program, calls: list[str]) -> str:
    """The functions that model.h declares; `calls` run the layers."""
    if program.flow.fed:
        return feed_text(program)
    inputs, outputs = program.network.inputs, program.network.outputs
    texts = [
        f"{kind}{name}(void)\n{{\n    return arena + {program.plan.offsets[border.value]};\n}}"
        for kind, what, borders in (("int8_t *", "input", inputs), ("const int8_t *", "output", outputs))
        for name, border in zip(_functions(borders, what), borders, strict=True)
    ]
    given = f"in != arena + {program.plan.offsets[inputs[0].value]}" if len(inputs) == 1 else "in != NULL"
    body = [
        f"if ({given}) {{",
        *(f"    {line}" for line in _copies(program, inputs, "in", True)),
        "}",
        *calls,
        "if (out != NULL) {",
        *(f"    {line}" for line in _copies(program, outputs, "out", False)),
        "}",
        "return 0;",
    ]
    lines = "".join(f"    {line}\n" for line in body)
    return "\n\n".join([*texts, f"int model_invoke(const int8_t *in, int8_t *out)\n{{\n{lines}}}"])
