"""Several targets as one: a measurement that fails on one device is tried on the next, and a dead one is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hil.device import DeviceError
from hil.emulator import EmulatorError
from hil.measurement import Measurement, MeasurementError
from hil.measurer import Measurer
from hil.targets import target_names
from hil.upload import UploadError

if TYPE_CHECKING:
    import numpy as np

# What may be the device's fault. A model that does not compile, fit or link would do so nowhere.
OF_THE_DEVICE = (DeviceError, EmulatorError, MeasurementError, UploadError)
STRIKES = 2  # so many failures in a row, of models that another device then measured

log = logging.getLogger("hil")


class MeasurerPool:
    """Measures on the first of its targets that is well and free, as `Measurer` does. A context manager; one a thread.

    Args:
        targets: names as `hil.targets` has them, such as ("/dev/ttyACM0", "/dev/ttyACM1"). They must be of one board,
            as the figures of different chips cannot be compared.
        runtime, workdir, upload, by_rows: as for `Measurer`.
    """

    def __init__(
        self, targets: tuple[str, ...], runtime: str, workdir: Path, *, upload: bool = False, by_rows: bool = False
    ):
        self.target, self.by_rows = ",".join(targets), by_rows
        self._measurers = [
            Measurer(target, runtime, workdir / str(number), upload=upload, by_rows=by_rows)
            for number, target in enumerate(targets)
        ]
        self._strikes = dict.fromkeys(self._measurers, 0)

    def __enter__(self) -> MeasurerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for measurer in self._strikes:
            measurer.close()

    def measure(
        self,
        tflite: Path,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        progress: Callable[[int], None] | None = None,
        *,
        name: str = "model",
    ) -> Measurement:
        """As `Measurer.measure`; the measurement's `target` is the device that made it.

        Raises MeasurementError where no device could, with the reason of each.
        """
        failures: dict[Measurer, Exception] = {}
        for measurer in sorted(self._measurers, key=lambda each: each.busy):
            try:
                found = measurer.measure(tflite, inputs, labels, progress, name=name)
            except OF_THE_DEVICE as error:
                failures[measurer] = error
                continue
            self._strikes[measurer] = 0
            self._strike(failures)
            return found
        if len({str(error) for error in failures.values()}) == 1:
            raise next(iter(failures.values()))
        reasons = "; ".join(f"{measurer.target}: {error}" for measurer, error in failures.items())
        raise MeasurementError(f"none of {len(failures)} devices measured it: {reasons}")

    def _strike(self, failures: dict[Measurer, Exception]) -> None:
        """Another device has measured what these could not: it was not the model's fault."""
        for measurer, error in failures.items():
            self._strikes[measurer] += 1
            self._measurers.remove(measurer)
            if self._strikes[measurer] < STRIKES:
                self._measurers.append(measurer)  # asked last from now on
            else:
                log.warning("%s is left out from now on: %s", measurer.target, error)


def open_measurer(
    targets: str, runtime: str, workdir: Path, *, upload: bool = False, by_rows: bool = False
) -> Measurer | MeasurerPool:
    """A measurer on the targets of a list such as "emulator" or "/dev/ttyACM0,/dev/ttyACM1"."""
    names = target_names(targets)
    if len(names) == 1:
        return Measurer(names[0], runtime, workdir, upload=upload, by_rows=by_rows)
    return MeasurerPool(names, runtime, workdir, upload=upload, by_rows=by_rows)
