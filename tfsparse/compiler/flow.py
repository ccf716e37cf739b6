"""Streaming in C: the table of who waits for whose rows, the function that makes row after row, and feeding by rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from tfsparse.compiler.grid import Grid
from tfsparse.compiler.layers import Binary, Concatenate, Layer, LeakyRelu, Lookup, Rescale
from tfsparse.compiler.program import Program
from tfsparse.compiler.rows import LARGEST_COUNT, Flow
from tfsparse.compiler.schedule import Plan


def is_flowing(flow: Flow) -> bool:
    """Whether rows decide the order of execution; else layers simply run one after the other."""
    return bool(flow.entries)


def pointer(program: Program, value: int, row: str | None = None) -> str:
    """C expression for the place of a value, or of row number `row` of it."""
    flow = program.flow
    if value in flow.tables:
        return f"arena + {flow.tables[value]}[{row}] * TFS_UNIT" if row else "arena"
    base = f"arena + {program.plan.offsets[value]}"
    if row is None or flow.held[value] == 1:
        return base
    place = f"{row} % {flow.held[value]}" if flow.is_ring(value) else row
    return f"{base} + {place} * {flow.row_size(value)}"


def row_layer(flow: Flow, layer: Layer) -> Layer:
    """An elementwise layer, or one that joins channels, as it is for one row."""
    size = flow.row_size(layer.output)
    if isinstance(layer, Binary):
        return replace(layer, grid=Grid((size,), ((1,), (1,))))
    if isinstance(layer, Rescale | Lookup | LeakyRelu):
        return replace(layer, size=size)
    if isinstance(layer, Concatenate):
        return replace(layer, outer=flow.network.values[layer.output].shape[2])
    return layer


def _unit(plan: Plan) -> int:
    """The largest number of bytes of which all rows' places are multiples."""
    return max(1, math.gcd(*(at for rows in plan.tables.values() for at in rows)))


def table_switches(plan: Plan) -> list[str]:
    """Macros of tfs_rows.h."""
    if not plan.tables:
        return []
    largest = max(max(rows) for rows in plan.tables.values()) // _unit(plan)
    bits = 8 if largest < 1 << 8 else 16 if largest < 1 << 16 else 32
    return [f"TFS_UNIT {_unit(plan)}", f"TFS_PLACE uint{bits}_t"]


def tables_text(plan: Plan) -> list[str]:
    """Where rows lie: an array for each value whose rows lie anywhere."""
    unit = _unit(plan)
    return [
        f"static const TFS_PLACE {name}[{len(rows)}] = {{{', '.join(str(at // unit) for at in rows)}}};"
        for name, rows in plan.tables.items()
    ]


def flow_text(program: Program, call: Callable[[int, Layer], list[str]]) -> str:
    """Counts of rows, the table, and `advance`. `call(i, layer)`: statements that make row `row` of layer i."""
    layers, entries = program.network.layers, program.flow.entries
    names = ["the input", *(layer.name for layer in layers)]
    rows = [
        f"    {{{e.source}, {e.rows}, {e.in_rows}, {e.stride}, {e.first}}}, /* {layer.name} after {names[e.source]} */"
        for layer, e in zip(layers, entries, strict=True)
    ]
    cases = []
    for i, layer in enumerate(layers):
        cases += [f"        case {i}:", *(f"            {line}" for line in call(i, layer)), "            break;"]
    counts = "static uint8_t made[MODEL_LAYERS + 1]; /* rows made so far: of the input, then of each layer */"
    return "\n".join(
        [
            counts,
            "static const tfs_flow flow[MODEL_LAYERS] = {",
            *rows,
            "};",
            "",
            "/* Make all rows that can be made of the rows of the input that are there. */",
            "static void advance(void)",
            "{",
            "    int layer;",
            "    while ((layer = tfs_flow_ready(flow, MODEL_LAYERS, made)) >= 0) {",
            "        const int row = made[layer + 1]++;",
            "        (void)row;",
            "        switch (layer) {",
            *cases,
            "        }",
            "    }",
            "}",
        ]
    )


def run_calls(program: Program) -> list[str]:
    """What model_invoke does with the whole input in place."""
    # Whole rows that no layer of the table waits for one by one may be more than it counts.
    rows = min(program.flow.input_rows, LARGEST_COUNT)
    return ["memset(made, 0, sizeof made);", f"made[0] = {rows};", "advance();"]


def feed_macros(program: Program) -> list[str]:
    flow = program.flow
    return [
        "#define MODEL_FED_BY_ROWS 1",
        f"#define MODEL_ROWS {flow.input_rows}",
        f"#define MODEL_ROW_SIZE {flow.row_size(flow.input)}",
    ]


FEED_DECLARATION = """/* Where the next row of the input may be written directly: saves a buffer and a copy. */
int8_t *model_input(void);

/* Gives the next row of the input: MODEL_ROW_SIZE values, or model_input(). Returns 1 after the last row of an input:
 * its output is there then; 0 before. */
int model_feed(const int8_t *row);

/* Forgets the rows given so far. */
void model_restart(void);

/* Where the output lies after the last row of an input, until the next row is written. */
const int8_t *model_output(void);

/* Runs the network once; returns 0. in: MODEL_INPUT_SIZE values, all rows. out: MODEL_OUTPUT_SIZE, or NULL. */
int model_invoke(const int8_t *in, int8_t *out);
"""


def feed_text(program: Program) -> str:
    """The functions of a network that is fed by rows."""
    flow = program.flow
    output = program.plan.offsets[program.network.outputs[0].value]
    return f"""int8_t *model_input(void)
{{
    return {pointer(program, flow.input, "made[0]")};
}}

const int8_t *model_output(void)
{{
    return arena + {output};
}}

void model_restart(void)
{{
    memset(made, 0, sizeof made);
}}

int model_feed(const int8_t *row)
{{
    int8_t *place = model_input();
    if (row != place) {{
        memcpy(place, row, MODEL_ROW_SIZE);
    }}
    made[0]++;
    advance();
    if (made[0] < MODEL_ROWS) {{
        return 0;
    }}
    model_restart();
    return 1;
}}

int model_invoke(const int8_t *in, int8_t *out)
{{
    model_restart();
    while (model_feed(in) == 0) {{
        in += MODEL_ROW_SIZE;
    }}
    if (out != NULL) {{
        memcpy(out, arena + {output}, MODEL_OUTPUT_SIZE);
    }}
    return 0;
}}"""
