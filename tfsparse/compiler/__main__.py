"""`python -m tfsparse.compiler MODEL.tflite -o DIR [--json]`: compile, and show where the bytes go.

With `--library DIR` instead of `-o DIR`, the folder is a PlatformIO and Arduino library.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tfsparse.compiler import OPTIMIZE, CompiledModel, compile_model
from tfsparse.compiler.encode import FORMATS
from tfsparse.compiler.library import write_library
from tfsparse.errors import UserError, run_cli


def table_of(model: CompiledModel) -> Table:
    table = Table(title="int8 network in C99")
    for column, justify in (("layer", "left"), ("output", "left"), ("format", "left")):
        table.add_column(column, justify=justify)
    formats = [name for name in FORMATS if any(name in layer.formats for layer in model.layers)]
    columns = ["weights", "nnz", *(f"{name} B" for name in formats), "B/nnz", "constants B", "payload B", "MACs"]
    for column in columns:
        table.add_column(column, justify="right")
    for layer in model.layers:
        sizes = [layer.formats.get(name) for name in formats]
        each = f"{layer.formats[layer.format] / layer.nnz:.2f}" if layer.formats and layer.nnz else None
        numbers = (layer.weights, layer.nnz, *sizes, each, layer.constants, layer.payload, layer.macs)
        shape = " x ".join(map(str, layer.output_shape))
        table.add_row(layer.name, shape, layer.format or "-", *(str(n) if n else "-" for n in numbers))
    table.add_section()
    weights = sum(layer.weights for layer in model.layers)
    total = ["" for _ in columns]
    total[:2] = str(weights), str(model.nnz)
    total[-3:] = str(sum(layer.constants for layer in model.layers)), str(model.payload), str(model.macs)
    table.add_row("total", "", "", *total)
    return table


def summary_of(model: CompiledModel) -> str:
    return (
        f"payload {model.payload} B, arena {model.arena} B (input and output included)\n"
        f"counted: model size {model.model_size_counted} B, working memory 1 {model.working_memory_1} B, "
        f"working memory 2 {model.working_memory_2} B"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tfsparse.compiler", description="Compile an int8 .tflite to C99.")
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--out", type=Path, metavar="DIR", help="folder to write model.c into")
    where.add_argument("--library", type=Path, metavar="DIR", help="write a PlatformIO and Arduino library into DIR")
    parser.add_argument("--name", help="the model's name in the C code (default: the file's)")
    parser.add_argument(
        "--optimize", choices=OPTIMIZE, default="balanced", help="least flash, fewest instructions, or both (default)"
    )
    parser.add_argument("--by-rows", action="store_true", help="feed the input row by row: only rows needed are in RAM")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=FORMATS, help="what weights may be written as (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    name = arguments.name or arguments.model.stem
    if arguments.library:
        if arguments.by_rows or arguments.optimize != "balanced":
            raise UserError("--library takes neither --by-rows nor --optimize yet; write a plain folder with -o")
        model = write_library(arguments.model, arguments.library, name=name)
    else:
        options = {"optimize": arguments.optimize, "by_rows": arguments.by_rows}
        model = compile_model(arguments.model, arguments.out, name=name, **options)
    if arguments.json:
        print(json.dumps(asdict(model), default=str))
    else:
        Console().print(table_of(model))
        print(summary_of(model))


if __name__ == "__main__":
    run_cli(main)
