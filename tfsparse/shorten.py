"""Int8 models whose constants say the same in fewer bits: an edit of the `.tflite`, left of the border.

A network of a few hundred weights pays as much for what stands beside them: each output channel has a multiplier of 31
bits and a bias of as many as its sums. Both follow from the channel's weight scale, which is free: where the scale
moves by a per cent, so does the channel's gain. So scales are moved to where the multiplier has few bits, and weights
that were trained on few levels become the levels' numbers, small integers, whose sums and biases are small too. And
biases are rounded to what an int8 output tells apart, some hundred sums being one step of it.
The result is an ordinary int8 model; what it computes, TFLite's reference kernels say.
"""

from __future__ import annotations

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tfsparse.candidate import FULL_BITS
from tfsparse.compiler.narrow import OFFSETS
from tfsparse.levels import top_level

_WEIGHTED = (
    schema.BuiltinOperator.CONV_2D,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D,
    schema.BuiltinOperator.FULLY_CONNECTED,
)
_INT8_TOP = 127
# A weight that int8 rounded is this near to its level, in steps of int8: half a one, and a little more.
_NEAR = 0.6


def shorten(
    tflite: bytes, mantissa_bits: int | None, weight_bits: int = FULL_BITS, bias_fraction: int | None = None
) -> bytes:
    """The model with multipliers of `mantissa_bits` bits behind the leading one, weights of `weight_bits`, and biases
    in steps of the output with `bias_fraction` bits behind the point (None: multipliers, biases as they are).

    Weights that are not on so few levels stay what they are, as do layers without weights and models that are not
    int8. A channel's gain changes by at most 1 in 2^(mantissa_bits + 1), its bias by 2^-(bias_fraction + 1) steps.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(tflite))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if model.operatorCodes[operator.opcodeIndex].builtinCode in _WEIGHTED:
                _shorten_layer(model, graph, operator, mantissa_bits, weight_bits, bias_fraction)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _shorten_layer(
    model, graph, operator, mantissa_bits: int | None, weight_bits: int, bias_fraction: int | None
) -> None:
    source, weights, *rest = (graph.tensors[i] for i in operator.inputs if i >= 0)
    target = graph.tensors[operator.outputs[0]]
    if any(t.type != schema.TensorType.INT8 for t in (source, weights, target)) or len(rest) > 1:
        return
    before = np.asarray(weights.quantization.scale, np.float64)
    q = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8).reshape(weights.shape)
    scale = before
    if weight_bits < FULL_BITS:
        axis = weights.quantization.quantizedDimension if len(before) > 1 else None
        levels = _levels(q, axis, top_level(weight_bits))
        if levels is not None:
            q = levels
            scale = before * (_INT8_TOP / top_level(weight_bits))
            _replace(model, weights, q.astype(np.int8))
    ratio = np.float64(source.quantization.scale[0]) / np.float64(target.quantization.scale[0])
    if mantissa_bits is not None:
        scale = _scales_of_short_multipliers(scale, ratio, mantissa_bits)
    weights.quantization.scale = scale.astype(np.float32)
    weights.quantization.min = weights.quantization.max = None
    for bias in rest:
        old = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32).astype(np.float64)
        unit = 1.0 if bias_fraction is None else _bias_units(scale, ratio, bias_fraction)
        _replace(model, bias, (np.rint(old * before / scale / unit) * unit).astype(np.int32))
        bias.quantization.scale = (source.quantization.scale[0] * scale).astype(np.float32)


def _levels(q: np.ndarray, axis: int | None, top: int) -> np.ndarray | None:
    """The numbers of the levels, in -top..top, that int8 weights lie on; None where one lies on none."""
    places = q.astype(np.float64) * top / _INT8_TOP
    levels = np.rint(places)
    if np.abs(places - levels).max(initial=0) > _NEAR * top / _INT8_TOP:
        return None
    axes = tuple(i for i in range(q.ndim) if i != axis)
    outermost = np.abs(levels).max(axis=axes)
    return levels if np.all((outermost == top) | (outermost == 0)) else None


def _scales_of_short_multipliers(scale: np.ndarray, ratio: float, bits: int) -> np.ndarray:
    """The scales nearest to these whose products with `ratio` have `bits` bits behind the leading one.

    A float32 cannot hold them exactly. They lie above by about the offset that the compiler takes off mantissas
    (`compiler.narrow`), never below, so that halves go away from zero as they would with the short multiplier itself.
    """
    mantissa, exponent = np.frexp(scale * ratio)
    wanted = np.ldexp(np.rint(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)
    found = ((wanted + np.ldexp(float(OFFSETS[1]), exponent - 31)) / ratio).astype(np.float32)
    while np.any(low := found.astype(np.float64) * ratio < wanted):
        found = np.where(low, np.nextafter(found, np.float32(np.inf)), found)
    return found.astype(np.float64)


def _bias_units(scale: np.ndarray, ratio: float, fraction: int) -> np.ndarray:
    """Powers of 2, in sums: the largest that are at most 2^-fraction steps of the output; 1 where that is less."""
    _, exponent = np.frexp(scale.astype(np.float32).astype(np.float64) * ratio)
    return np.ldexp(1.0, np.maximum(0, -exponent - fraction))


def _replace(model, tensor, values: np.ndarray) -> None:
    """Give a tensor a buffer of its own: equal tensors may share one."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
