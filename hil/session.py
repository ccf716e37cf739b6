"""Inferences on a device: inputs there, outputs and figures back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.device import ATTEMPTS, Device, DeviceError, FaultError, Memory, RefusedError
from hil.measurement import MeasurementError

INFERENCE_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class DeviceRun:
    """What came back over the serial line."""

    outputs: np.ndarray  # int8 [N, output_size]
    ticks: int  # of one inference, the largest of all inputs'
    memory: Memory


def run_inputs(device: Device, samples: np.ndarray, progress: Callable[[int], None] | None = None) -> DeviceRun:
    """Run every sample once on the device, and the last one again: equal inputs must give equal figures."""
    outputs, ticks = [], []
    for number, sample in enumerate(samples, start=1):
        output, memory = run_input(device, sample.tobytes())
        outputs.append(output)
        ticks.append(memory.ticks_of_inference)
        if progress:
            progress(number)
    output, memory = run_input(device, samples[-1].tobytes())
    again = memory.ticks_of_inference
    if output != outputs[-1]:
        raise MeasurementError("the device answers the same input differently the second time: the model is not sound")
    if memory.tick == "instruction" and again != ticks[-1]:
        raise MeasurementError(
            f"the same inference took {ticks[-1]} instructions and then {again}: the counter cannot be trusted"
        )
    return DeviceRun(np.stack([np.frombuffer(output, np.int8) for output in outputs]), max(ticks), memory)


def run_input(device: Device, sample: bytes) -> tuple[bytes, Memory]:
    """One inference: its output and what the device tells of it, both from replies that carry a checksum.

    The whole is done anew where the line has damaged a command or a reply. A crash is never tried again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            device.load(sample)
            device.infer(1, 0, timeout=INFERENCE_PATIENCE)
            return device.output(), device.memory()
        except FaultError:
            raise
        except DeviceError as error:
            if attempt == ATTEMPTS or (isinstance(error, RefusedError) and "The model failed" in error.reason):
                raise
            device.settle()
    raise AssertionError("unreachable")
