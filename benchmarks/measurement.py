"""How long a measurement of a new model takes, all in: reading, compiling, linking, running, comparing.

    python -m benchmarks.measurement [--models 5] [--json]

Each runtime measures one model first, which makes what is shared; then further models of other weights, each new to it,
as a search measures them. Printed are the median and the longest of those, in seconds of wall clock and of processor
time (that of the compiler, the linker and the emulator included): on a busy machine the first says little. `tflm` needs
`make tflm`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from hil.measure import Measurer
from tfsparse.errors import UserError, run_cli

RUNTIMES = ("sparse", "tflm")


def seconds_of(runtime: str, models: list[Path], workdir: Path) -> dict[str, list[float]]:
    """Seconds of measuring each of the models but the first: "wall" and "processor"."""
    taken: dict[str, list[float]] = {"wall": [], "processor": []}
    with Measurer(runtime=runtime, workdir=workdir) as measurer:
        for model in models:
            wall, processor = perf_counter(), _processor_seconds()
            measurer.measure(model)
            taken["wall"].append(perf_counter() - wall)
            taken["processor"].append(_processor_seconds() - processor)
    return {clock: seconds[1:] for clock, seconds in taken.items()}


def _processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measurement", description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=int, default=5, metavar="N", help="new models for each runtime (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a line each")
    options = parser.parse_args()
    if options.models < 1:
        raise UserError("give at least --models 1")
    from benchmarks.runtimes import random_model
    from tfsparse.quiet import import_quietly

    import_quietly("tensorflow")
    found = {}
    with tempfile.TemporaryDirectory(prefix="measurement-") as folder:
        models = [Path(folder) / f"{number}.tflite" for number in range(options.models + 1)]
        for seed, model in enumerate(models):
            model.write_bytes(random_model("digits", 0.9, seed))
        for runtime in RUNTIMES:
            found[runtime] = seconds_of(runtime, models, Path(folder) / runtime)
    if options.json:
        print(json.dumps(found))
        return
    for runtime, clocks in found.items():
        for clock, seconds in clocks.items():
            print(
                f"{runtime}: median {median(seconds):.2f} s, longest {max(seconds):.2f} s of {len(seconds)} new models "
                f"({clock} time)"
            )


if __name__ == "__main__":
    run_cli(main)
