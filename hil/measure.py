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
from pathlib import Path
from typing import TYPE_CHECKING

from hil.measurer import EMULATOR, Measurement, MeasurementError, Measurer, measure_running
from tfsparse.errors import UserError, run_cli

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Measurement", "MeasurementError", "Measurer"]

PROJECT = Path(__file__).resolve().parents[1]

BYTES, COUNT = "bytes", ""
ROWS = (
    ("flash_total", BYTES, ".isr_vector + .text + .rodata + .data"),
    ("flash_model", BYTES, "of it the model: kernels, code and payload"),
    ("payload", BYTES, "of it the constant tables"),
    ("ram_total", BYTES, ".data + .bss + stack"),
    ("ram_model", BYTES, "of it the model: arena, statics, stack"),
    ("arena", BYTES, "inputs, outputs and all between"),
    ("stack", BYTES, "of one inference"),
    ("instructions", COUNT, "of one inference, emulated"),
    ("cycles", COUNT, "of one inference"),
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
        "--port", default=EMULATOR, help="emulator (default), /dev/ttyACM0 or any serial port, socket://host:port"
    )
    arguments.add_argument("--runtime", default="sparse", help="sparse (default)")
    arguments.add_argument("--inputs", type=Path, help="X.npy [N, ...]: int8, uint8 images or floats; default: random")
    arguments.add_argument("--labels", type=Path, help="y.npy [N]: whole numbers; prints the accuracy on the device")
    arguments.add_argument("--json", action="store_true", help="print one JSON object, keys as a trial's record")
    return arguments


def main() -> int:
    options = parser().parse_args()
    if options.labels and not options.inputs:
        raise UserError("--labels needs --inputs")
    measurement = _measure(options)
    if options.json:
        print(json.dumps(measurement.to_json()))
    else:
        _print_table(measurement)
    return 0 if measurement.bit_exact else 1


def _measure(options: argparse.Namespace) -> Measurement:
    cache = PROJECT / ".cache" / "hil"
    if options.model is None:
        if options.inputs:
            raise UserError("--inputs needs the MODEL that the firmware holds, for the reference's outputs")
        url = _uploaded_url() if options.port == EMULATOR else options.port
        return measure_running(url, PROJECT / ".pio" / "build", _writable(cache))
    inputs = _load(options.inputs, "--inputs")
    labels = _load(options.labels, "--labels")
    with Measurer(options.port, options.runtime, _writable(cache)) as measurer:
        if inputs is None:
            return measurer.measure(options.model)
        with _progress(len(inputs)) as advance:
            return measurer.measure(options.model, inputs, labels, advance)


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
    if not isinstance(array, np.ndarray) or array.size == 0:
        raise UserError(f"{option}: {path} holds no samples; give one array, not an archive")
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


def _print_table(measurement: Measurement) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{measurement.runtime} on {measurement.target}", title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("what it is", style="dim")
    for name, unit, meaning in ROWS:
        value = getattr(measurement, name)
        if value is not None:
            table.add_row(name, f"{value:,} {unit}".strip(), meaning)
    if measurement.accuracy is not None:
        table.add_row("accuracy", f"{measurement.accuracy:.2%}", f"on the device, {measurement.inputs} inputs")
    verdict = {True: "yes", False: "NO", None: "unknown"}[measurement.bit_exact]
    meaning = {
        True: f"all outputs of {measurement.inputs} inputs equal the reference's",
        False: f"some outputs of {measurement.inputs} inputs differ from the reference's",
        None: "no model at hand to compare with; name it on the command line",
    }[measurement.bit_exact]
    table.add_row("bit_exact", verdict, meaning)
    Console().print(table)


if __name__ == "__main__":
    run_cli(main)
