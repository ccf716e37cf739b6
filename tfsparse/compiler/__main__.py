"""`python -m tfsparse.compiler MODEL.tflite -o DIR [--json]`: compile, and show where the bytes go.

With `--library DIR` instead of `-o DIR`, the folder is a PlatformIO and Arduino library.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tfsparse.compiler import OPTIMIZE, CompiledModel, compile_model
from tfsparse.compiler.encode import FORMATS
from tfsparse.compiler.library import write_library
from tfsparse.errors import UserError, run_cli

_WIDE = 120  # columns that the table takes where no terminal says how many there are


def table_of(model: CompiledModel) -> Table:
    """A row for each layer: what its weights take in each format, the one chosen, and its constants beside it."""
    table = Table(title="int8 network in C99, bytes", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    formats = [name for name in FORMATS if any(name in layer.formats for layer in model.layers)]
    totals = {
        "weights": sum(layer.weights for layer in model.layers),
        "nnz": model.nnz,
        "constants": sum(layer.constants for layer in model.layers),
        "payload": model.payload,
        "MACs": model.macs,
    }
    names = ["layer", "output", "chosen", "weights", "nnz", *formats, "B/nnz", "constants", "payload", "MACs"]
    for name in names:
        justify = "left" if name in names[:3] else "right"
        footer = "total" if name == "layer" else str(totals.get(name, ""))
        table.add_column(name, footer, justify=justify, no_wrap=name not in ("layer", "output"))
    for layer in model.layers:
        sizes = [layer.formats.get(name) for name in formats]
        each = f"{layer.formats[layer.format] / layer.nnz:.2f}" if layer.formats and layer.nnz else None
        numbers = (layer.weights, layer.nnz, *sizes, each, layer.constants, layer.payload, layer.macs)
        shape = "x".join(map(str, layer.output_shape[1:])) or "1"
        table.add_row(layer.name, shape, layer.format or "-", *(str(n) if n else "-" for n in numbers))
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
        if arguments.by_rows or arguments.optimize != "balanced" or tuple(arguments.formats) != FORMATS:
            raise UserError(
                "--library takes neither --by-rows nor --optimize nor --formats yet; write a plain folder with -o"
            )
        model = write_library(arguments.model, arguments.library, name=name)
    else:
        options = {"optimize": arguments.optimize, "by_rows": arguments.by_rows, "formats": arguments.formats}
        model = compile_model(arguments.model, arguments.out, name=name, **options)
    if arguments.json:
        print(json.dumps(asdict(model), default=str))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = max(console.width, _WIDE)
        console.print(table_of(model))
        print(summary_of(model))


if __name__ == "__main__":
    run_cli(main)
