"""What a model must answer: TFLite's reference kernels, on the host (ai-edge-litert; neither tensorflow nor keras)."""

from __future__ import annotations

import numpy as np

from tfsparse.compiler import CompiledModel
from tfsparse.errors import UserError


class Reference:
    """The interpreter with the reference kernels (BUILTIN_REF), used at the int8 border that the compiler exposes.

    A model with float32 or uint8 input or output is given the values that its own QUANTIZE turns into the int8 ones.
    """

    def __init__(self, tflite: bytes, compiled: CompiledModel):
        # Here and not on top: `python -m hil.measure --help` must not wait for it.
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._compiled = compiled
        try:
            self._interpreter = Interpreter(
                model_content=tflite, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"TFLite itself refuses the model ({error}); convert it again") from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """int8 [N, *input_shape] -> int8 [N, output_size]"""
        return np.stack([self._run(sample) for sample in inputs])

    def _run(self, sample: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input["index"], self._to_model(sample).reshape(self._input["shape"]))
        self._interpreter.invoke()
        return self._from_model(self._interpreter.get_tensor(self._output["index"]).reshape(-1))

    def _to_model(self, q: np.ndarray) -> np.ndarray:
        kind = self._input["dtype"]
        if kind == np.int8:
            return q
        if kind == np.uint8:
            return (q.astype(np.int16) + 128).astype(np.uint8)
        scale, zero = np.float32(self._compiled.input_scale), self._compiled.input_zero_point
        return (q.astype(np.float32) - zero) * scale

    def _from_model(self, y: np.ndarray) -> np.ndarray:
        if y.dtype == np.int8:
            return y
        if y.dtype == np.uint8:
            return (y.astype(np.int16) - 128).astype(np.int8)
        # The inverse of DEQUANTIZE, exact: y is a whole multiple of the scale up to float rounding.
        q = np.rint(y.astype(np.float64) / self._compiled.output_scale) + self._compiled.output_zero_point
        return q.astype(np.int8)


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
