"""What a model must answer: TFLite's reference kernels, on the host (ai-edge-litert; neither tensorflow nor keras)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfsparse.errors import UserError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

    from tfsparse.compiler import CompiledModel, Port


def open_interpreter(tflite: bytes, *, reference_kernels: bool = True) -> Interpreter:
    """TFLite's interpreter with one thread, no delegates, and its tensors allocated.

    Raises UserError where the bytes are no model, or one that TFLite cannot run.
    """
    # Here and not on top: `python -m hil.measure --help` must not wait for it.
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(model_content=tflite, num_threads=1, experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[-1]
        raise UserError(f"TFLite cannot run this model: {reason}; convert it again") from error
    return interpreter


class Reference:
    """The interpreter with the reference kernels (BUILTIN_REF), used at the int8 border that the compiler exposes.

    A model with float32 or uint8 inputs or outputs is given the values that its own QUANTIZE turns into the int8 ones.
    """

    def __init__(self, tflite: bytes, compiled: CompiledModel):
        from tfsparse.compiler.reader import read_model

        self._compiled = compiled
        # The reference kernel of SUM reads int8 numbers as unsigned; the default one does what is meant.
        has_sum = any(operator.kind == "SUM" for operator in read_model(tflite).operators)
        self._interpreter = open_interpreter(tflite, reference_kernels=not has_sum)
        self._inputs, self._outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """int8 [N, ...], all inputs one after the other -> int8 [N, output_size], all outputs likewise."""
        return np.stack([self._run(sample.reshape(-1)) for sample in inputs])

    def _run(self, sample: np.ndarray) -> np.ndarray:
        start = 0
        for port, tensor in zip(self._compiled.inputs, self._inputs, strict=True):
            self._interpreter.set_tensor(tensor["index"], _to_tensor(sample[start : start + port.size], port, tensor))
            start += port.size
        self._interpreter.invoke()
        ends = zip(self._compiled.outputs, self._outputs, strict=True)
        return np.concatenate([_to_bytes(self._interpreter.get_tensor(tensor["index"]), port) for port, tensor in ends])


def _to_tensor(q: np.ndarray, port: Port, tensor: dict) -> np.ndarray:
    """int8 numbers as the file's own tensor takes them."""
    if tensor["dtype"] == np.float32:
        q = (q.astype(np.float32) - np.float32(port.zero_point)) * np.float32(port.scale)
    elif tensor["dtype"] == np.uint8:
        q = (q.astype(np.int16) + 128).astype(np.uint8)
    return q.reshape(tensor["shape"])


def _to_bytes(values: np.ndarray, port: Port) -> np.ndarray:
    """What the file's tensor holds as the compiled model gives it: int8 numbers, or indices as bytes."""
    if values.dtype == np.float32:
        # The inverse of DEQUANTIZE, exact: a value is a whole multiple of the scale up to float rounding.
        values = (np.rint(values.astype(np.float64) / port.scale) + port.zero_point).astype(np.int8)
    elif values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128).astype(np.int8)
    return np.frombuffer(values.tobytes(), np.int8)


def quantize(samples: np.ndarray, compiled: CompiledModel) -> np.ndarray:
    """Samples as a user has them -> int8 [N, *input_shape without batch] at the model's border.

    int8 is taken as it is; uint8 as images, 0..255 standing for 0..1; floats in the model's own units.
    Raises UserError for another type, for shapes that do not fit, for no samples and for numbers that are none.
    """
    shape = _sample_shape(compiled)
    size = int(np.prod(samples.shape[1:]))
    if samples.ndim < 2 or size != compiled.input_size or not _fits(samples.shape[1:], shape):
        raise UserError(
            f"the inputs have the shape {list(samples.shape)}; this model needs [N, {', '.join(map(str, shape))}]"
        )
    if not len(samples):
        raise UserError("there are no inputs; give at least one")
    samples = samples.reshape(len(samples), *shape)
    if samples.dtype == np.int8:
        return samples
    if samples.dtype == np.uint8:
        real = samples.astype(np.float32) / np.float32(255)
    elif np.issubdtype(samples.dtype, np.floating):
        real = samples.astype(np.float32)
        if not np.isfinite(real).all():
            raise UserError("the inputs hold infinite values or NaN; give finite numbers")
    else:
        raise UserError(f"the inputs have the type {samples.dtype}; use int8, uint8 (images) or float32")
    q = np.rint(real / np.float32(compiled.input_scale)) + compiled.input_zero_point
    return np.clip(q, -128, 127).astype(np.int8)


def _sample_shape(compiled: CompiledModel) -> tuple[int, ...]:
    """Shape of one input, without the batch."""
    shape = compiled.input_shape
    return tuple(shape[1:]) if len(shape) > 1 and shape[0] == 1 else tuple(shape)


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal, but for axes of length one (a grey image without its channel axis) or all flat."""
    return len(given) == 1 or [n for n in given if n != 1] == [n for n in wanted if n != 1]
