"""What a model costs on the chip: build, upload, run, compare. The search and `python -m hil.measure` use `Measurer`.

Sizes come from the ELF file, stack and instructions from the device over its serial line. What the compiler has
planned is compared with both and never printed in their place.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsparse.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from hil.device import Device, Memory
    from hil.footprint import Footprint
    from hil.tflm import Library
    from tfsparse.compiler import CompiledModel

EMULATOR = "emulator"
TFLM = "tflm"
RANDOM_INPUTS, RANDOM_BYTES = 4, 8192  # so many inputs, fewer of large ones, but at least two
SEED = 0
ARENA_SYMBOL = "arena"
DB_SYMBOL = "db_buffer"
MODEL_BESIDE = "model.tflite"  # where pio's builder keeps the model of the firmware.elf in the same folder
LEFT_BEHIND = 3600.0  # seconds
INFERENCE_PATIENCE = 120.0  # seconds


class MeasurementError(UserError):
    """A measurement failed, or its parts disagree: there is no figure to trust."""


@dataclass(frozen=True)
class Measurement:
    """The figures of one model on one target, in DESIGN.md's words. Sizes in bytes; None = could not be known."""

    target: str
    runtime: str
    flash_total: int | None  # .isr_vector + .text + .rodata + .data
    flash_model: int | None  # flash_total minus the baseline's
    payload: int | None  # the model's constant tables
    ram_total: int | None  # .data + .bss + the stack's high-water mark during an inference
    ram_model: int | None  # statics beyond the baseline's, without the harness's copy of the input, + stack
    stack: int | None  # what an inference needs
    arena: int | None
    instructions: int | None  # of one inference; the largest of the inputs' (emulator only)
    cycles: int | None  # the same on a chip with a cycle counter
    bit_exact: bool | None  # every output equal to the reference's; None: no reference at hand
    nnz: int | None
    model_size_counted: int | None
    working_memory_1: int | None
    working_memory_2: int | None
    macs: int | None
    inputs: int  # how many inputs were run and compared
    accuracy: float | None  # on the device, where labels were given
    seconds: dict[str, float]  # compile, measure
    max_difference: int | None = None  # of an output element from the reference's, in quantisation steps
    # Of the runtime tflm: flash_model = payload (the .tflite itself) + flash_kernels + flash_framework
    flash_kernels: int | None = None
    flash_framework: int | None = None
    arena_head: int | None = None  # of the arena: activations
    arena_tail: int | None = None  # of the arena: what lives as long as the interpreter

    def to_json(self) -> dict:
        """Same keys as a trial's record."""
        return asdict(self)


@dataclass(frozen=True)
class DeviceRun:
    """What came back over the serial line."""

    outputs: np.ndarray  # int8 [N, output_size]
    ticks: int  # of one inference, the largest of all inputs'
    memory: Memory


@dataclass(frozen=True)
class Image:
    """A firmware image with its model, ready to run. Sizes in bytes."""

    runtime: str
    elf: Path
    footprint: Footprint
    payload: int
    slot: Path | None = None  # what lies in the board's model slot beside the image
    slot_model: int = 0  # bytes of the model in it
    kernels: int | None = None  # flash of the kernels, where they can be told apart
    slot_crc: int | None = None

    def check_slot(self, memory: Memory, target: str, tflite: Path) -> None:
        """The device must hold this very model, and be able to run it."""
        from hil.tflm import FAILURES

        if memory.slot_crc != self.slot_crc:
            raise MeasurementError(f"{target} holds another model in its flash slot than {tflite}; upload it again")
        if memory.failure:
            reason = FAILURES.get(memory.failure, f"error {memory.failure}")
            raise MeasurementError(f"TFLite Micro does not run {tflite} on this board: {reason}")

    def check_device(self, memory: Memory, compiled: CompiledModel) -> None:
        """What the device tells of its model must be what was built."""
        # The arena of TFLite Micro is planned on the device; ours is planned by the compiler.
        arena = memory.arena if self.slot else compiled.arena
        told = (memory.runtime, memory.input, memory.output, memory.arena, memory.payload)
        planned = (self.runtime, compiled.input_size, compiled.output_size, arena, self.payload)
        if told != planned:
            raise MeasurementError(f"the device tells {told} of its model and the plan is {planned}: they must agree")

    def parts(self, baseline: Footprint) -> dict[str, int | None]:
        """What the image has beyond the baseline, the model apart."""
        if self.kernels is None:
            return {}
        code = self.footprint.flash_total - baseline.flash_total
        return {"flash_kernels": self.kernels, "flash_framework": code - self.kernels}


class Measurer:
    """Measures models on one target. A context manager; use one per thread.

    The baseline firmware is built once and its objects are kept under `workdir`, so that a further model costs its own
    compilation, a link and a run.

    Args:
        target: "emulator" (a QEMU of its own per measurement), "renode", or the URL or path of a serial port where the
            image already runs.
        runtime: "sparse" (our compiler) or "tflm" (TFLite Micro).
        workdir: for objects and images; by default a temporary folder that goes with the measurer.
    """

    def __init__(
        self, target: str = EMULATOR, runtime: str = "sparse", workdir: Path | None = None, board: str | None = None
    ):
        from hil.build import Builder
        from hil.recipe import DEFAULT_BOARD, load_board, runtime_names

        if target == "renode":
            raise MeasurementError("the target 'renode' is not supported yet; use emulator or a serial port")
        if runtime not in runtime_names() or runtime == "none":
            known = ", ".join(name for name in runtime_names() if name != "none")
            raise MeasurementError(f"there is no runtime '{runtime}'; use one of: {known}")
        self.target, self.runtime = target, runtime
        self.board = load_board(board or DEFAULT_BOARD)
        self._own = tempfile.TemporaryDirectory(prefix="hil-") if workdir is None else None
        self._workdir = Path(self._own.name) if self._own else Path(workdir)
        self._builder = Builder(self.board, self._workdir / "objects")
        self._baseline: Footprint | None = None
        self._library: Library | None = None  # of the runtime tflm

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self._own.cleanup()

    @property
    def baseline(self) -> Footprint:
        """The same firmware without a model, built on first use."""
        if self._baseline is None:
            from hil.footprint import read_footprint

            self._baseline = read_footprint(self._builder.build(self._workdir / "baseline.elf", "none"))
        return self._baseline

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

        from hil.recipe import check_model_name
        from hil.reference import Reference, quantize
        from tfsparse.compiler import compile_model

        check_model_name(name)
        started = time.monotonic()
        content = _read_model(tflite)
        self._workdir.mkdir(parents=True, exist_ok=True)
        _sweep(self._workdir)
        with tempfile.TemporaryDirectory(prefix="image-", dir=self._workdir) as folder:
            compiled = compile_model(content, Path(folder) / "model", name=name)
            samples = _random_bytes(compiled.input_size) if inputs is None else quantize(np.asarray(inputs), compiled)
            _check_labels(labels, len(samples), compiled)
            build = self._tflm_image if self.runtime == TFLM else self._sparse_image
            image = build(content, compiled, name, Path(folder))
            baseline = self.baseline
            compiled_at = time.monotonic()
            expected = Reference(content, compiled)(samples)
            run = self._run(image, samples, tflite, progress)
        image.check_device(run.memory, compiled)
        differences = np.abs(run.outputs.astype(np.int16) - expected)
        return Measurement(
            target=self.target,
            runtime=self.runtime,
            **figures_of(image.footprint, baseline, run.memory, run.ticks, image.slot_model),
            payload=image.payload,
            arena=run.memory.arena,
            bit_exact=not differences.any(),
            nnz=compiled.nnz,
            model_size_counted=compiled.model_size_counted,
            working_memory_1=compiled.working_memory_1,
            working_memory_2=compiled.working_memory_2,
            macs=compiled.macs,
            inputs=len(samples),
            accuracy=None if labels is None else accuracy_of(run.outputs, labels, compiled),
            seconds={"compile": compiled_at - started, "measure": time.monotonic() - compiled_at},
            max_difference=int(differences.max()),
            **image.parts(baseline),
            arena_head=run.memory.arena_head,
            arena_tail=run.memory.arena_tail,
        )

    def _sparse_image(self, content: bytes, compiled: CompiledModel, name: str, folder: Path) -> Image:
        """The generated C in an image of its own."""
        from hil.build import ModelSource
        from hil.footprint import read_footprint

        source = ModelSource(compiled.directory, compiled.sources)
        elf = self._builder.build(folder / "firmware.elf", self.runtime, source)
        footprint = read_footprint(elf)
        check_image(footprint, compiled)
        return Image(self.runtime, elf, footprint, compiled.payload)

    def _tflm_image(self, content: bytes, compiled: CompiledModel, name: str, folder: Path) -> Image:
        """TFLite Micro and the kernels that the model needs, made once a set of operators; the model in its slot."""
        from hil import tflm
        from hil.footprint import read_footprint

        if self._library is None:
            self._library = tflm.build_library(self.board)
        operators = tflm.operators_of(content)
        tflm.check_operators(operators, self._library.sources)
        recipe = tflm.image_recipe(self.board, self._library, operators)
        objects = self._builder.compile(self._builder.cache, recipe)
        key = hashlib.sha256(repr((recipe.libraries, recipe.link_flags, objects)).encode()).hexdigest()[:16]
        elf = self._workdir / TFLM / key / "firmware.elf"
        if not elf.is_file():
            elf.parent.mkdir(parents=True, exist_ok=True)
            self._builder.link(elf, objects, recipe)
        slot = folder / "slot.bin"
        slot.write_bytes(tflm.slot_image(content, name))
        room = self.board.flash_origin + self.board.flash_size - self.board.model_slot
        if slot.stat().st_size > room:
            raise MeasurementError(f"the model takes {slot.stat().st_size:,} bytes and its flash slot has {room:,}")
        kernels = tflm.kernel_flash(elf.with_suffix(".map"), self._library)
        crc = tflm.slot_crc(content)
        return Image(self.runtime, elf, read_footprint(elf), len(content), slot, len(content), kernels, crc)

    def _run(
        self, image: Image, samples: np.ndarray, tflite: Path, progress: Callable[[int], None] | None
    ) -> DeviceRun:
        from hil.device import Device, DeviceError
        from hil.emulator import Emulator

        if self.target != EMULATOR:
            with Device(self.target) as device:
                check_build(device.synchronise(), image.footprint.build_id, self.target, tflite)
                image.check_slot(device.memory(), self.target, tflite)
                return run_inputs(device, samples, progress)
        with Emulator(image.elf, self.board, image.slot) as emulator:
            try:
                with Device(emulator.url, name="the emulator") as device:
                    device.wait_ready()
                    check_build(device.build_id(), image.footprint.build_id, self.target, tflite)
                    image.check_slot(device.memory(), self.target, tflite)
                    return run_inputs(device, samples, progress)
            except DeviceError as error:
                if complaint := emulator.complaint():
                    raise MeasurementError(f"QEMU ended during the measurement: {complaint}") from error
                raise


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


def _check_labels(labels: np.ndarray | None, count: int, compiled: CompiledModel) -> None:
    import numpy as np

    if labels is None:
        return
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"the labels have the shape {list(labels.shape)} and type {labels.dtype}; give one whole number for each "
            f"of the {count} inputs"
        )
    classes = max(2, compiled.output_size)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(f"the labels go from {labels.min()} to {labels.max()}; this model knows 0 to {classes - 1}")


# ---- the device ----


def run_inputs(device: Device, samples: np.ndarray, progress: Callable[[int], None] | None = None) -> DeviceRun:
    """Run every sample once on the device, and the last one again: equal inputs must give equal figures."""
    import numpy as np

    outputs, ticks = [], []
    for number, sample in enumerate(samples, start=1):
        output, memory = _run_input(device, sample.tobytes())
        outputs.append(output)
        ticks.append(memory.ticks_of_inference)
        if progress:
            progress(number)
    output, memory = _run_input(device, samples[-1].tobytes())
    again = memory.ticks_of_inference
    if output != outputs[-1]:
        raise MeasurementError("the device answers the same input differently the second time: the model is not sound")
    if memory.tick == "instruction" and again != ticks[-1]:
        raise MeasurementError(
            f"the same inference took {ticks[-1]} instructions and then {again}: the counter cannot be trusted"
        )
    return DeviceRun(np.stack([np.frombuffer(output, np.int8) for output in outputs]), max(ticks), memory)


def _run_input(device: Device, sample: bytes) -> tuple[bytes, Memory]:
    """One inference: its output and what the device tells of it, both from replies that carry a checksum.

    The whole is done anew where the line has damaged a command or a reply. A crash is never tried again.
    """
    from hil.device import ATTEMPTS, DeviceError, FaultError, RefusedError

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


def check_build(found: str, wanted: str, target: str, tflite: Path) -> None:
    """The device must run exactly the image whose ELF the sizes are read from."""
    if found != wanted:
        raise MeasurementError(
            f"{target} runs another firmware (build {found[:12]}) than the one with {tflite} (build {wanted[:12]}); "
            f"upload it first: TFSPARSE_MODEL={tflite} pio run -t upload"
        )


def measure_running(url: str, images: Path, workdir: Path | None = None, board: str | None = None) -> Measurement:
    """Measure the firmware that already runs behind the serial port `url`.

    Args:
        images: PlatformIO's build folder; the image with the device's build id is looked for there, as sizes are in the
            ELF file only. Where its model lies beside it, outputs are compared as well.

    Sizes that need a missing ELF, and `bit_exact` without a model, are None.
    """
    from hil.device import Device
    from hil.footprint import read_footprint

    with Device(url) as device:
        build_id = device.synchronise()
        memory, name = device.memory(), device.model()
        elf = _image_with(build_id, images)
        model = elf.parent / MODEL_BESIDE if elf else None
        if model is None or not model.is_file():
            started = time.monotonic()
            run = None
            if memory.input:
                run = run_inputs(device, _random_bytes(memory.input))
                memory = run.memory
            seconds = {"compile": 0.0, "measure": time.monotonic() - started}
    if model is not None and model.is_file():
        with Measurer(url, memory.runtime, workdir, board) as measurer:
            return measurer.measure(model, name=name)
    figures: dict[str, int | None] = dict.fromkeys(("flash_total", "flash_model", "ram_total", "ram_model"))
    if elf:
        with Measurer(url, workdir=workdir, board=board) as measurer:
            figures = figures_of(read_footprint(elf), measurer.baseline, memory, run.ticks if run else None)
    counted = dict.fromkeys(("nnz", "model_size_counted", "working_memory_1", "working_memory_2", "macs"))
    ticks = run.ticks if run else None
    return Measurement(
        target=url,
        runtime=memory.runtime,
        **figures | _device_figures(memory, ticks),
        payload=memory.payload,
        arena=memory.arena,
        bit_exact=None,
        **counted,
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


# ---- the image ----


def check_image(image: Footprint, compiled: CompiledModel) -> None:
    """What the compiler planned must be what the linker placed."""
    arena, payload = image.size_of(ARENA_SYMBOL), tables_size(image, compiled)
    if arena != compiled.arena:
        raise MeasurementError(f"the plan has an arena of {compiled.arena} bytes and the image one of {arena}")
    if payload != compiled.payload:
        raise MeasurementError(f"the plan has tables of {compiled.payload} bytes and the image of {payload}")


def tables_size(image: Footprint, compiled: CompiledModel) -> int:
    """Bytes of the model's constant tables in the image: the arrays that model.c names LAYER_role."""
    layers = "|".join(re.escape(layer.name) for layer in compiled.layers)
    table = re.compile(rf"({layers})_[a-z]+")
    return sum(s.size for s in image.symbols if s.is_object and s.section == ".rodata" and table.fullmatch(s.name))


def figures_of(
    image: Footprint, baseline: Footprint, memory: Memory, ticks: int | None, slot_model: int = 0
) -> dict[str, int | None]:
    """The figures that an image and a run on the device give together, with the baseline taken off.

    Args:
        slot_model: bytes of a model that lies in flash beside the image; its arena then is no static of the image.
    """
    statics = image.statics - image.size_of(DB_SYMBOL)
    baseline_statics = baseline.statics - baseline.size_of(DB_SYMBOL)
    arena, db = (memory.arena, memory.input) if slot_model else (0, 0)
    return {
        "flash_total": image.flash_total + slot_model,
        "flash_model": image.flash_total + slot_model - baseline.flash_total,
        "ram_total": image.statics + arena + db + memory.stack_invoke,
        "ram_model": statics - baseline_statics + arena + memory.stack,
        **_device_figures(memory, ticks),
    }


def _device_figures(memory: Memory, ticks: int | None) -> dict[str, int | None]:
    """What the device alone tells."""
    return {
        "stack": memory.stack,
        "instructions": ticks if memory.tick == "instruction" else None,
        "cycles": ticks if memory.tick == "cycle" else None,
    }


def accuracy_of(outputs: np.ndarray, labels: np.ndarray, compiled: CompiledModel) -> float:
    """Share of right answers: the largest output, or, of a single output, whether it is above one half."""
    import numpy as np

    if compiled.output_size == 1:
        real = (outputs[:, 0].astype(np.float32) - compiled.output_zero_point) * compiled.output_scale
        predictions = (real > 0.5).astype(np.int64)
    else:
        predictions = outputs.argmax(axis=1)
    return float((predictions == labels).mean())
