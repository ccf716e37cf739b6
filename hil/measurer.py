"""What a model costs on the chip: build, run, compare. The search and `python -m hil.measure` use `Measurer`.

Sizes come from the ELF file, stack and instructions from the device over its serial line. What the compiler has
planned is compared with both and never printed in their place.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.measurement import (
    COUNTED,
    ROWS,
    WHOLE,
    Measurement,
    MeasurementError,
    counted_figures,
    device_figures,
    figures_of,
)
from tfsparse.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from hil.footprint import Footprint
    from hil.images import ImageBuilder
    from hil.recipe import Board
    from tfsparse.compiler import CompiledModel

EMULATOR = "emulator"
RANDOM_INPUTS, RANDOM_BYTES = 4, 8192  # so many inputs, fewer of large ones, but at least two
SEED = 0
MODEL_BESIDE = "model.tflite"  # where pio's builder keeps the model of the firmware.elf in the same folder
LEFT_BEHIND = 3600.0  # seconds


class Measurer:
    """Measures models on one target. A context manager; use one per thread.

    The baseline firmware is built once and its objects are kept under `workdir`, so that a further model costs its own
    compilation, a link and a run.

    Args:
        target: a name as `hil.targets` has them: "emulator" (a QEMU of its own for each measurement), "renode", or a
            serial port.
        runtime: "sparse" (our compiler) or "tflm" (TFLite Micro).
        workdir: for objects and images; by default a temporary folder that goes with the measurer.
        board: folder of firmware/boards; by default the emulated STM32F405, or what the device says it is.
        upload: flash the device behind a serial port with each model's image; else it must run it already.
        by_rows: feed models their input row by row (runtime sparse only), so that they never hold it all.
        formats: what the compiler may write weights as (`compiler.encode.FORMATS`); by default it chooses among all.
        optimize: what the compiler goes for (`compiler.OPTIMIZE`).

    Raises MeasurementError where there is no such runtime, or it cannot do that.
    """

    def __init__(
        self,
        target: str = EMULATOR,
        runtime: str = "sparse",
        workdir: Path | None = None,
        board: str | None = None,
        *,
        upload: bool = False,
        by_rows: bool = False,
        formats: tuple[str, ...] | None = None,
        optimize: str | None = None,
    ):
        from hil.recipe import runtime_names
        from hil.targets import open_target, split_name

        if runtime not in runtime_names() or runtime == "none":
            known = ", ".join(name for name in runtime_names() if name != "none")
            raise MeasurementError(f"there is no runtime '{runtime}'; use one of: {known}")
        if by_rows and runtime != "sparse":
            raise MeasurementError(
                f"the runtime {runtime} takes its input as a whole; feed it by rows with the runtime sparse"
            )
        # A board that is named, wherever that is done, stands in the figures: those of an emulated Cortex-M0 must not
        # pass for the default one's.
        self.target = f"{board}@{target}" if board and not split_name(target)[0] else target
        self.runtime, self.by_rows = runtime, by_rows
        self._compiling: dict[str, Any] = {"by_rows": by_rows} | ({"formats": formats} if formats else {})
        self._compiling |= {"optimize": optimize} if optimize else {}
        self._target = open_target(target, board, upload=upload)
        self._own = tempfile.TemporaryDirectory(prefix="hil-") if workdir is None else None
        self._workdir = Path(self._own.name) if self._own else Path(workdir)
        self._images: ImageBuilder | None = None

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self._own.cleanup()

    @property
    def images(self) -> ImageBuilder:
        """For the target's board, which may have to be asked which one it is."""
        if self._images is None:
            from hil.images import ImageBuilder

            self._images = ImageBuilder(self._target.board(), self._workdir)
        return self._images

    @property
    def board(self) -> Board:
        return self.images.board

    @property
    def busy(self) -> bool:
        """Whether another measurement runs on the target, for whose end `measure` would wait."""
        return self._target.busy

    @property
    def baseline(self) -> Footprint:
        """The same firmware without a model, built on first use."""
        return self.images.baseline

    def measure(
        self,
        tflite: Path,
        inputs: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        progress: Callable[[int], None] | None = None,
        *,
        name: str = "model",
    ) -> Measurement:
        """Build the firmware with `tflite`, run it and compare every output with the reference's.

        Args:
            inputs: int8 [N, *input_shape], or uint8 images or floats; by default a few seeded random ones.
            labels: int [N], for the accuracy.
            progress: called with the number of inputs done.
            name: what the firmware calls the model (`m-model-[name]`).

        Raises:
            MeasurementError: no figure can be given; the message says why.
            UserError: the model is broken, unsupported or too big, or a tool is missing.
        """
        import numpy as np

        from hil.accuracy import accuracy_of, check_labels, numbers_of
        from hil.recipe import check_model_name
        from hil.reference import Reference, quantize
        from hil.session import run_inputs
        from tfsparse.compiler import compile_model

        check_model_name(name)
        started = time.monotonic()
        content = _read_model(tflite)
        self._workdir.mkdir(parents=True, exist_ok=True)
        _sweep(self._workdir)
        with tempfile.TemporaryDirectory(prefix="image-", dir=self._workdir) as folder:
            compiled = compile_model(content, Path(folder) / "model", name=name, **self._compiling)
            check_ports(compiled)
            samples = _random_bytes(compiled.input_size) if inputs is None else quantize(np.asarray(inputs), compiled)
            if labels is not None:
                check_labels(labels, len(samples), compiled)
            image = self.images.build(self.runtime, content, compiled, name, Path(folder))
            baseline = self.baseline
            compiled_at = time.monotonic()
            expected = Reference(content, compiled)(samples)
            with self._target.holding(image, tflite) as device:
                run = run_inputs(device, samples, progress)
        image.check_device(run.memory, compiled)
        numbers, wanted = numbers_of(run.outputs, compiled), numbers_of(expected, compiled)
        differences = np.abs(numbers.astype(np.int64) - wanted)
        return Measurement(
            target=self.target,
            runtime=self.runtime,
            fed=ROWS if self.by_rows else WHOLE,
            **figures_of(image.footprint, baseline, run.memory, run.ticks, image.slot_model),
            payload=image.payload,
            arena=run.memory.arena,
            bit_exact=not differences.any(),
            **counted_figures(compiled),
            inputs=len(samples),
            accuracy=None if labels is None else accuracy_of(run.outputs, labels, compiled),
            seconds={"compile": compiled_at - started, "measure": time.monotonic() - compiled_at},
            max_difference=int(differences.max()),
            **image.parts(baseline),
            arena_head=run.memory.arena_head,
            arena_tail=run.memory.arena_tail,
        )


def _sweep(workdir: Path) -> None:
    """Remove the image folders that killed measurements have left; those of running ones are younger."""
    for folder in workdir.glob("image-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(folder, ignore_errors=True)


def _read_model(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the model {path} ({error.strerror}); give the path of a .tflite file") from error


def _random_bytes(size: int) -> np.ndarray:
    """int8 [2..RANDOM_INPUTS, size], the same at every call."""
    import numpy as np

    count = min(RANDOM_INPUTS, max(2, RANDOM_BYTES // size))
    return np.random.default_rng(SEED).integers(-128, 128, (count, size), dtype=np.int8)


def check_ports(compiled: CompiledModel) -> None:
    """UserError for a model that the serial protocol, with its one input buffer and one output, cannot carry."""
    if len(compiled.inputs) != 1 or len(compiled.outputs) != 1:
        raise UserError(
            f"the model has {len(compiled.inputs)} inputs and {len(compiled.outputs)} outputs, and the serial protocol "
            "carries one of each; split the model, or use its C without our firmware: python -m tfsparse.compiler"
        )


def measure_running(name: str, images: Path, workdir: Path | None = None, board: str | None = None) -> Measurement:
    """Measure the firmware that already runs behind a serial port.

    Args:
        name: the target's, [BOARD@]PORT.
        images: PlatformIO's build folder; the image with the device's build id is looked for there, as sizes are in the
            ELF file only. Where its model lies beside it, outputs are compared as well.

    Sizes that need a missing ELF, and `bit_exact` without a model, are None.
    """
    from hil.device import Device
    from hil.footprint import read_footprint
    from hil.session import run_inputs
    from hil.targets import PortTarget, split_name

    url = split_name(name)[1]
    with PortTarget(name, url, None, upload=False).turn(), Device(url) as device:
        build_id = device.synchronise()
        memory, called = device.memory(), device.model()
        elf = _image_with(build_id, images)
        model = elf.parent / MODEL_BESIDE if elf else None
        if model is None or not model.is_file():
            started = time.monotonic()
            run = None
            if memory.input:
                run = run_inputs(device, _random_bytes(memory.input))
                memory = run.memory
            if device.build_id() != build_id:
                raise MeasurementError(f"another firmware was put on {name} while it was measured; measure it again")
            seconds = {"compile": 0.0, "measure": time.monotonic() - started}
    if model is not None and model.is_file():
        with Measurer(name, memory.runtime, workdir, board, by_rows=memory.row > 0) as measurer:
            return measurer.measure(model, name=called)
    figures: dict[str, int | None] = dict.fromkeys(("flash_total", "flash_model", "ram_total", "ram_model"))
    if elf:
        with Measurer(name, workdir=workdir, board=board) as measurer:
            beside = memory.payload if memory.slot_crc else 0
            figures = figures_of(read_footprint(elf), measurer.baseline, memory, run.ticks if run else None, beside)
    ticks = run.ticks if run else None
    return Measurement(
        target=name,
        runtime=memory.runtime,
        fed=ROWS if memory.row else WHOLE,
        **figures | device_figures(memory, ticks),
        payload=memory.payload,
        arena=memory.arena,
        bit_exact=None,
        **dict.fromkeys(COUNTED),
        inputs=len(run.outputs) if run else 0,
        accuracy=None,
        seconds=seconds,
    )


def _image_with(build_id: str, images: Path) -> Path | None:
    from hil.footprint import read_footprint

    for elf in sorted(images.glob("*/firmware.elf")):
        try:
            if read_footprint(elf).build_id == build_id:
                return elf
        except UserError:
            continue  # an image half written, or of another project
    return None
