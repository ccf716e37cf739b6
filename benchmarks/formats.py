"""Bytes a non-zero weight in each of the compiler's formats, beside what theory allows.

    python -m benchmarks.formats [--json]

Tensors of 64 x 1024 random int8 weights, some of which are zero at random places: of all values, as training leaves
them, and of the 16 that clustering leaves. `entropy` is the bound for such places and values, H(zeros) / (1 - zeros) +
8 or 4 bits a non-zero weight, the codebook's 16 bytes left out. Then channels of 72 normally distributed weights on as
many levels as training with `weight_bits` 3 and 4 gives them, whose zeros are what rounding leaves; `entropy` is that
of the levels' shares, the prefix code's table left out. All formats are lossless. Biases, multipliers and shifts are
not among these bytes: the compiler's own table shows them beside each layer. A dash: the format is not worth its table.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np

from tfsparse.compiler.encode import FORMATS, choices
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.layers import FullyConnected
from tfsparse.errors import run_cli

SHAPE = (64, 1024)
ZEROS = (0.5, 0.75, 0.85, 0.9, 0.95)
VALUES = {"all": None, "16": 16}  # how many values occur
LEVELS = (7, 15)


@dataclass(frozen=True)
class Row:
    """One tensor; bytes a non-zero weight."""

    values: str
    zeros: float
    entropy: float
    chosen: str
    formats: dict[str, float]

    def to_json(self) -> dict:
        return {**vars(self), "bytes_per_nonzero": self.formats[self.chosen]}


def random_weights(zeros: float, values: int | None = None, seed: int = 0) -> np.ndarray:
    """int8 SHAPE, a share `zeros` of it zero, else `values` values, or all."""
    rng = np.random.default_rng(seed)
    every = np.setdiff1d(np.arange(-127, 128), 0)
    flat = rng.choice(rng.choice(every, values or len(every), replace=False), np.prod(SHAPE))
    flat[rng.permutation(flat.size)[: round(flat.size * zeros)]] = 0
    return flat.astype(np.int8).reshape(SHAPE)


def entropy(zeros: float, bits: float) -> float:
    """Bytes a non-zero weight of random places and values of so many bits must take."""
    places = -(zeros * np.log2(zeros) + (1 - zeros) * np.log2(1 - zeros))
    return float((places / (1 - zeros) + bits) / 8)


def level_weights(levels: int, seed: int = 0) -> np.ndarray:
    """int8 [512, 72]: the levels of normally distributed weights, a channel's largest magnitude on the outermost."""
    weights = np.random.default_rng(seed).normal(0, 1, (512, 72))
    return np.rint(levels // 2 * weights / np.abs(weights).max(axis=1, keepdims=True)).astype(np.int8)


def level_entropy(weights: np.ndarray) -> float:
    """Bytes a non-zero weight that the shares of the values ask for."""
    counts = np.unique(weights, return_counts=True)[1]
    return float((counts * -np.log2(counts / weights.size)).sum() / 8 / np.count_nonzero(weights))


def measured(values: str, weights: np.ndarray, entropy: float) -> Row:
    layer = FullyConnected(
        name="x", place="", inputs=(0,), output=1, weights=weights, rows=1, input_zero=0, output_zero=0,
        bias=np.zeros(len(weights), np.int32), lowest=-128, highest=127,
        multipliers=(Multiplier(1 << 30, -5),) * len(weights),
    )  # fmt: skip
    sizes = {name: size / layer.nnz for name, size in choices(layer, FORMATS).sizes.items()}
    return Row(values, 1 - layer.nnz / weights.size, entropy, min(sizes, key=sizes.get), sizes)


def measure() -> list[Row]:
    rows = []
    for name, values in VALUES.items():
        for zeros in ZEROS:
            weights = random_weights(zeros, values)
            rows.append(measured(name, weights, entropy(zeros, 4 if values else 8)))
    for levels in LEVELS:
        weights = level_weights(levels)
        rows.append(measured(f"{levels} levels", weights, level_entropy(weights)))
    return rows


def print_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="bytes a non-zero weight", title_justify="left")
    for column in ("values", "zeros", *FORMATS, "chosen", "entropy"):
        table.add_column(column, justify="left" if column == "chosen" else "right")
    for row in rows:
        figures = (f"{row.formats[name]:.3f}" if name in row.formats else "-" for name in FORMATS)
        table.add_row(row.values, f"{row.zeros:.0%}", *figures, row.chosen, f"{row.entropy:.3f}")
    Console(width=None if Console().is_terminal else 120).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of the table")
    options = parser.parse_args()
    rows = measure()
    if options.json:
        print(json.dumps([row.to_json() for row in rows]))
    else:
        print_table(rows)
    return 0


if __name__ == "__main__":
    run_cli(main)
