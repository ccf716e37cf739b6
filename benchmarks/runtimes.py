"""Our runtime against TFLite Micro and against dense C of our own compiler, on the emulated chip.

    python -m benchmarks.runtimes [--models A.tflite B.tflite ...] [--json]

Three networks, small to large, each with none, 75, 85 and 90 % of its weights zero, or any int8 models that are named.
Each is measured in three ways: `sparse` (what `python -m tfsparse.compiler` writes), `dense` (the same compiler, every
weight written out), `tflm` (TFLite Micro with its reference kernels, which `make tflm` brings). Flash and RAM are
`flash_model` and `ram_model`, as `hil.measure` prints them; instructions are those of one inference on the emulated
Cortex-M4, no cycles; the ratios are the way's figure over `sparse`'s. Weights are random: what a figure depends on is
shapes and zeros, not accuracy. Exit code 1 where the outputs of `sparse` or `dense` differ from the reference's; those
of `tflm` may by a step (see firmware/README.md), which the table shows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean

from hil.measure import Measurement, Measurer
from tfsparse.candidate import Block, Candidate, Layer
from tfsparse.errors import run_cli

WAYS: dict[str, dict] = {
    "sparse": {},
    "dense": {"formats": ("dense",)},
    "tflm": {"runtime": "tflm"},
}
FIGURES = ("flash_model", "ram_model", "instructions")
ZEROS = (0.0, 0.75, 0.85, 0.9)
CALIBRATION = 8  # images


def _block(*layers: Layer, factor: int = 2, residual: bool = False) -> Block:
    return Block(layers, "max", factor, residual)


# Name -> (input shape, candidate). Digits as the search finds them, key words as depthwise-separable nets take them,
# and small photographs.
NETWORKS: dict[str, tuple[tuple[int, int, int], Candidate]] = {
    "digits": ((28, 28, 1), Candidate((_block(Layer("plain", 8, 3)), _block(Layer("plain", 12, 3))))),
    "words": (
        (48, 10, 1),
        Candidate(
            (
                _block(Layer("plain", 24, 3)),
                _block(Layer("separable", 32, 3), factor=1, residual=True),
                _block(Layer("separable", 48, 3), factor=1),
            ),
            head="average",
        ),
    ),
    "photos": (
        (32, 32, 3),
        Candidate(
            (_block(Layer("plain", 16, 3)), _block(Layer("plain", 32, 3)), _block(Layer("plain", 64, 3))), dense=(32,)
        ),
    ),
}
CLASSES = 10


@dataclass(frozen=True)
class Row:
    """A model's measurements by way."""

    model: str
    found: dict[str, Measurement]

    def ratio(self, way: str, figure: str) -> float:
        return getattr(self.found[way], figure) / getattr(self.found["sparse"], figure)

    def to_json(self) -> dict:
        ways = {way: measurement.to_json() for way, measurement in self.found.items()}
        ratios = {way: {name: self.ratio(way, name) for name in FIGURES} for way in self.found if way != "sparse"}
        return {"model": self.model, **ways, "ratios": ratios}


def random_model(network: str, zeros: float, seed: int = 0) -> bytes:
    """An int8 .tflite of one of NETWORKS, a share `zeros` of its weights zero; the same at every call."""
    import numpy as np

    from tfsparse.convert import quantise
    from tfsparse.network import WEIGHTED, network_of
    from tfsparse.rewrite import OpWeights

    shape, candidate = NETWORKS[network]
    graph, rng = network_of(candidate, shape, CLASSES), np.random.default_rng(seed)
    weights = {}
    for op in graph.ops:
        if op.kind in WEIGHTED:
            kernel = rng.normal(0, 1, graph.kernel_shape(op)).astype(np.float32)
            fan_in = kernel.size / kernel.shape[-1]
            # The smallest of each layer go, as in magnitude pruning.
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), zeros)] = 0
            weights[op.name] = OpWeights(
                kernel / np.sqrt(fan_in), rng.normal(0, 0.1, kernel.shape[-1]).astype(np.float32)
            )
    return quantise(graph, weights, rng.random((CALIBRATION, *shape), dtype=np.float32))


def random_models(folder: Path) -> Iterator[Path]:
    """All networks with all shares of zeros, written into `folder`."""
    from tfsparse.quiet import import_quietly

    import_quietly("tensorflow")
    for network in NETWORKS:
        for zeros in ZEROS:
            path = folder / f"{network}-{100 * zeros:.0f}.tflite"
            path.write_bytes(random_model(network, zeros))
            yield path


def compare(models: Sequence[Path], workdir: Path, progress: Callable[[str], None] = lambda text: None) -> list[Row]:
    """Measure each model in every way, on an emulator of its own each time."""
    with ExitStack() as stack:
        measurers = {
            way: stack.enter_context(Measurer(workdir=workdir / way, **options)) for way, options in WAYS.items()
        }
        rows = []
        for model in models:
            found = {}
            for way, measurer in measurers.items():
                progress(f"{model.stem}: {way}")
                found[way] = measurer.measure(model)
            rows.append(Row(model.stem, found))
        return rows


def mean_ratios(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Way -> figure -> the geometric mean of the ratios over all models."""
    ways = [way for way in WAYS if way != "sparse"]
    return {way: {name: geometric_mean(row.ratio(way, name) for row in rows) for name in FIGURES} for way in ways}


def print_table(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="one inference on the emulated STM32F405; ratios: over sparse", title_justify="left")
    for column in ("model", "nnz", "MACs", "runtime", "flash B", "RAM B", "instructions", "per MAC"):
        table.add_column(column, justify="left" if column in ("model", "runtime") else "right", no_wrap=True)
    for column in ("flash", "RAM", "instr.", "outputs"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        for way, one in row.found.items():
            about = (row.model, f"{one.nnz:,}", f"{one.macs:,}") if way == "sparse" else ("", "", "")
            figures = (f"{getattr(one, name):,}" for name in FIGURES)
            ratios = ("" if way == "sparse" else f"{row.ratio(way, name):.2f}" for name in FIGURES)
            outputs = "equal" if one.bit_exact else f"+-{one.max_difference}"
            table.add_row(*about, way, *figures, f"{one.instructions / one.macs:.2f}", *ratios, outputs)
        table.add_section()
    for way, means in mean_ratios(rows).items():
        table.add_row("geometric mean", "", "", way, "", "", "", "", *(f"{means[name]:.2f}" for name in FIGURES), "")
    Console(width=None if Console().is_terminal else 130).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", type=Path, metavar="MODEL.tflite", help="compare on these instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    options = parser.parse_args()
    from rich.console import Console

    with tempfile.TemporaryDirectory(prefix="runtimes-") as folder, Console(stderr=True).status("models") as status:
        models = options.models or list(random_models(Path(folder)))
        rows = compare(models, Path(folder), status.update)
    if options.json:
        print(json.dumps({"models": [row.to_json() for row in rows], "geometric_means": mean_ratios(rows)}))
    else:
        print_table(rows)
    return 0 if all(row.found[way].bit_exact for row in rows for way in ("sparse", "dense")) else 1


if __name__ == "__main__":
    run_cli(main)
