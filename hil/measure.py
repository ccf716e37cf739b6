"""python -m hil.measure: build, upload and run a model on the chip, and print what it costs there.

Exit code 0 only if every output equals the reference's byte for byte, 1 if not (or where there is nothing to compare
with), 2 for errors that the user can mend.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from hil.measurement import ROWS as BY_ROWS
from hil.measurement import Measurement, MeasurementError
from hil.measurer import EMULATOR, Measurer, measure_running
from hil.recipe import DEFAULT_BOARD
from tfsparse.errors import UserError, run_cli

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Measurement", "MeasurementError", "Measurer"]

PROJECT = Path(__file__).resolve().parents[1]

SIDE_BY_SIDE_EXPLAINED = 110  # columns of a terminal in which there is room beside two runtimes for explanations
BYTES, COUNT = "bytes", ""
ROWS = (
    ("flash_total", BYTES, ".isr_vector + .text + .rodata + .data"),
    ("flash_model", BYTES, "of it the model: kernels, code and payload"),
    ("payload", BYTES, "of it the model's constants (tflm: the whole .tflite)"),
    ("flash_kernels", BYTES, "of it TFLite Micro's kernels"),
    ("flash_framework", BYTES, "of it TFLite Micro itself, glue and libraries"),
    ("ram_total", BYTES, ".data + .bss + stack"),
    ("ram_model", BYTES, "of it the model: arena, statics, stack"),
    ("arena", BYTES, "inputs, outputs and all between"),
    ("arena_head", BYTES, "of it activations"),
    ("arena_tail", BYTES, "of it what lives as long as the interpreter"),
    ("stack", BYTES, "of one inference"),
    ("instructions", COUNT, "of one inference, emulated: no cycles"),
    ("cycles", COUNT, "of one inference, on the chip"),
    ("milliseconds", "ms", "of one inference, at the chip's clock"),
    ("macs", COUNT, "multiply-accumulates if dense"),
    ("nnz", COUNT, "non-zero weights"),
    ("model_size_counted", BYTES, "the paper's model size"),
    ("working_memory_1", BYTES, "the paper's: input and weights"),
    ("working_memory_2", BYTES, "the paper's: input and output"),
)


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m hil.measure", description=__doc__.split("\n")[0])
    arguments.add_argument("model", nargs="?", type=Path, help="int8 .tflite; without it: the firmware on the port")
    arguments.add_argument(
        "--port",
        default=EMULATOR,
        help="emulator (default), renode, /dev/ttyACM0 or any serial port, socket://host:port",
    )
    arguments.add_argument(
        "--board",
        help=f"folder of firmware/boards/ (default: {DEFAULT_BOARD}, or what the port says it is); --list shows all",
    )
    arguments.add_argument(
        "--upload", action="store_true", help="flash the board at --port first (TFSPARSE_UPLOAD: openocd or st-flash)"
    )
    arguments.add_argument(
        "--runtime", default="sparse", help="sparse (default), tflm (TFLite Micro), or tflm,sparse: side by side"
    )
    arguments.add_argument(
        "--by-rows",
        action="store_true",
        help="feed the input row by row: the model never holds all of it (sparse only)",
    )
    arguments.add_argument("--name", default="model", help="what the firmware calls the model (default: model)")
    arguments.add_argument("--repeat", type=int, default=1, metavar="N", help="measure N times and compare")
    arguments.add_argument("--list", action="store_true", help="show ports, emulators that run, and boards")
    arguments.add_argument("--inputs", type=Path, help="X.npy [N, ...]: int8, uint8 images or floats; default: random")
    arguments.add_argument("--labels", type=Path, help="y.npy [N]: whole numbers; prints the accuracy on the device")
    arguments.add_argument("--json", action="store_true", help="print one JSON object, keys as a trial's record")
    return arguments


def main() -> int:
    options = parser().parse_args()
    if options.list:
        from hil.discover import print_everything

        print_everything(PROJECT / ".pio")
        return 0
    if options.labels and not options.inputs:
        raise UserError("--labels needs --inputs")
    if options.upload and not options.model:
        raise UserError("--upload needs the MODEL to flash")
    if options.by_rows and not options.model:
        raise UserError("--by-rows needs the MODEL; a firmware that runs already says itself how it is fed")
    if options.repeat < 1:
        raise UserError("--repeat takes a number of at least 1")
    measurements = _measure(options)
    if options.json:
        records = [measurement.to_json() for measurement in measurements]
        print(json.dumps(records[0] if len(records) == 1 else records))
    else:
        _print_table(measurements, options.repeat)
    return 0 if all(measurement.bit_exact for measurement in measurements) else 1


def _measure(options: argparse.Namespace) -> list[Measurement]:
    """One measurement for each runtime."""
    cache = PROJECT / ".cache" / "hil"
    if options.model is None:
        if options.inputs:
            raise UserError("--inputs needs the MODEL that the firmware holds, for the reference's outputs")
        if options.port == "renode":
            raise UserError("Renode runs a MODEL that is named on the command line; no other firmware runs there")
        url = _uploaded_url() if options.port == EMULATOR else options.port
        running = partial(measure_running, url, PROJECT / ".pio" / "build", _writable(cache), options.board)
        return [_repeated(options.repeat, running)]
    inputs = _load(options.inputs, "--inputs")
    labels = _load(options.labels, "--labels")
    found = []
    runtimes = options.runtime.split(",")
    for runtime in runtimes:
        # Side by side, tflm shows what feeding by rows, which it cannot, is worth.
        by_rows = options.by_rows and (runtime == "sparse" or len(runtimes) == 1)
        with Measurer(
            options.port, runtime, _writable(cache), options.board, upload=options.upload, by_rows=by_rows
        ) as measurer:
            measure = partial(measurer.measure, options.model, inputs, labels, name=options.name)
            if inputs is None:
                found.append(_repeated(options.repeat, measure))
                continue
            with _progress(len(inputs)) as advance:
                found.append(_repeated(options.repeat, partial(measure, progress=advance)))
    return found


def _repeated(count: int, measure: Callable[[], Measurement]) -> Measurement:
    """Measure `count` times: sizes and emulated instructions must come out equal, cycles may vary.

    Returns the measurement with the most cycles, and the median of the seconds.
    """
    measurements = [measure() for _ in range(count)]
    first = measurements[0]
    for number, other in enumerate(measurements[1:], start=2):
        for field in fields(Measurement):
            old, new = getattr(first, field.name), getattr(other, field.name)
            if field.name not in ("seconds", "cycles", "milliseconds") and old != new:
                raise MeasurementError(
                    f"{field.name} was {old} and is {new} at measurement {number}: no figure to trust"
                )
    seconds = {phase: median(each.seconds[phase] for each in measurements) for phase in first.seconds}
    return replace(max(measurements, key=lambda each: each.cycles or 0), seconds=seconds)


def _uploaded_url() -> str:
    """Where `pio run -t upload` puts the emulated firmware: TFSPARSE_PORT, or custom_port of platformio.ini."""
    settings = configparser.ConfigParser()
    settings.read(PROJECT / "platformio.ini")
    port = os.environ.get("TFSPARSE_PORT") or settings.get("env:stm32f405_qemu", "custom_port", fallback="5333")
    return f"socket://127.0.0.1:{port}"


def _writable(folder: Path) -> Path | None:
    """`folder`, made if need be; None (a temporary folder) where the project may not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _load(path: Path | None, option: str) -> np.ndarray | None:
    if path is None:
        return None
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{option}: cannot read {path} ({error}); give a file written by numpy.save") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0 or array.size == 0:
        raise UserError(f"{option}: {path} holds no samples; give one array of them, not an archive")
    return array


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, so that --json stays clean; gives the function that takes the number of inputs done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("on the device"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("inputs", total=total)
        yield lambda done: bar.update(task, completed=done)


def _print_table(measurements: list[Measurement], repeat: int) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    first, *others = measurements
    explained = not others or console.width >= SIDE_BY_SIDE_EXPLAINED
    runtimes = ", ".join(measurement.runtime for measurement in measurements)
    times = f", measured {repeat} times" if repeat > 1 else ""
    table = Table(title=f"{runtimes} on {first.target}{times}", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for measurement in measurements:
        table.add_column(measurement.runtime if others else "value", justify="right", no_wrap=True)
    for other in others:
        table.add_column(f"{first.runtime} / {other.runtime}", justify="right", no_wrap=True)
    if explained:
        table.add_column("what it is", style="dim")
    for name, cells, ratios, meaning in _rows(measurements):
        table.add_row(name, *cells, *(ratios or ("",) * len(others)), *((meaning,) if explained else ()))
    console.print(table)
    if not explained:
        console.print(f"bit_exact: {_verdict(measurements)}", highlight=False)


def _rows(measurements: list[Measurement]) -> Iterator[tuple[str, list[str], list[str], str]]:
    """(name, a cell for each measurement, the first one's ratio to each other, what it is)"""
    first = measurements[0]
    for name, unit, meaning in ROWS:
        values = [getattr(measurement, name) for measurement in measurements]
        if any(value is not None for value in values):
            cells = ["-" if value is None else f"{value:,{'.3f' * (unit == 'ms')}} {unit}".strip() for value in values]
            yield name, cells, [_ratio(values[0], value) for value in values[1:]], meaning
    if any(measurement.fed == BY_ROWS for measurement in measurements):
        ways = ["by rows" if measurement.fed == BY_ROWS else measurement.fed for measurement in measurements]
        yield "fed", ways, [], "how it takes its input: ram_model holds all of it, or the rows needed"
    if first.accuracy is not None:
        shares = [f"{measurement.accuracy:.2%}" for measurement in measurements]
        yield "accuracy", shares, [], f"on the device, {first.inputs} inputs"
    verdicts = [{True: "yes", False: "NO", None: "unknown"}[measurement.bit_exact] for measurement in measurements]
    yield "bit_exact", verdicts, [], _verdict(measurements)
    if any(measurement.max_difference for measurement in measurements):
        steps = [str(measurement.max_difference) for measurement in measurements]
        yield "max_difference", steps, [], "from the reference, in quantisation steps"


def _ratio(one: float | None, other: float | None) -> str:
    return f"{one / other:.2f}" if one is not None and other else ""


def _verdict(measurements: list[Measurement]) -> str:
    inputs = measurements[0].inputs
    if any(measurement.bit_exact is None for measurement in measurements):
        return "no model at hand to compare with; name it on the command line"
    if all(measurement.bit_exact for measurement in measurements):
        return f"all outputs of {inputs} inputs equal the reference's"
    return f"some outputs of {inputs} inputs differ from the reference's"


if __name__ == "__main__":
    run_cli(main)
