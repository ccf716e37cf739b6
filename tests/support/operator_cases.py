"""Random models of one operator each: shapes, scales, zero points, options; for every operator the compiler knows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from support.tflite_writer import Writer

Random = np.random.Generator
_PADDINGS = {"SAME": 0, "VALID": 1}
_ACTIVATIONS = (0, 0, 1, 2, 3)  # none, none, RELU, RELU_N1_TO_1, RELU6


def _shape(rng: Random, ranks: tuple[int, int] = (1, 4), most: int = 6) -> tuple[int, ...]:
    """A small shape; some axes have one element."""
    rank = int(rng.integers(ranks[0], ranks[1] + 1))
    return tuple(int(rng.integers(1, most + 1)) if rng.random() < 0.85 else 1 for _ in range(rank))


def _scale(rng: Random) -> float:
    """Over five orders of magnitude, now and then a power of two."""
    return float(2.0 ** rng.integers(-8, 2)) if rng.random() < 0.2 else float(np.exp(rng.uniform(-6, 2)))


def _zero(rng: Random) -> int:
    return int(rng.choice([-128, 127, 0])) if rng.random() < 0.3 else int(rng.integers(-128, 128))


def _like(rng: Random, scale: float) -> float:
    """Another scale of about the same size, or the very same."""
    return scale if rng.random() < 0.15 else float(scale * np.exp(rng.uniform(-1.5, 1.5)))


def _activation(rng: Random) -> int:
    return int(rng.choice(_ACTIVATIONS))


def _unary(kind: str, rng: Random, shape: tuple[int, ...], output: tuple[float, int] | None = None, **options) -> bytes:
    model, scale = Writer(), _scale(rng)
    x = model.input(shape, scale, _zero(rng))
    to, zero = output or (_like(rng, scale), _zero(rng))
    y = model.tensor(shape, to, zero)
    model.operator(kind, [x], [y], **options)
    return model.bytes([y])


def _same_scale(rng: Random, shape: tuple[int, ...]) -> tuple[Writer, int, Callable[..., int]]:
    """(model, its input, function that makes tensors of the input's scale and zero point)."""
    model, scale, zero = Writer(), _scale(rng), _zero(rng)
    return model, model.input(shape, scale, zero), lambda shape, **data: model.tensor(shape, scale, zero, **data)


def _binary(kind: str) -> Callable[[Random], bytes]:
    def case(rng: Random) -> bytes:
        shape = _shape(rng, (1, 4))
        shapes = [shape, shape]
        if rng.random() < 0.6:  # one operand, or both, broadcast
            for i in rng.permutation(2)[: rng.integers(1, 3)]:
                cut = int(rng.integers(0, len(shape))) if rng.random() < 0.4 else 0
                shapes[i] = tuple(n if rng.random() < 0.6 else 1 for n in shape)[cut:]
        out = np.broadcast_shapes(*shapes)
        model, scale = Writer(), _scale(rng)
        constant = int(rng.integers(0, 2)) if rng.random() < 0.4 else None
        operands, scales = [], []
        for i in (0, 1):
            scales.append(_like(rng, scale))
            data = rng.integers(-128, 128, shapes[i]).astype(np.int8)
            make = model.input if i != constant else lambda *args, data=data: model.tensor(*args, data=data)
            operands.append(make(shapes[i], scales[i], _zero(rng)))
        largest = scales[0] * scales[1] * 90 if kind == "MUL" else max(scales)
        y = model.tensor(out, _like(rng, largest), _zero(rng))
        model.operator(kind, operands, [y], fusedActivationFunction=_activation(rng))
        return model.bytes([y])

    return case


def _window(rng: Random, height: int, width: int) -> dict[str, int]:
    return {
        "padding": int(rng.integers(0, 2)),
        "strideH": int(rng.integers(1, min(height, 3) + 1)),
        "strideW": int(rng.integers(1, min(width, 3) + 1)),
        "fusedActivationFunction": _activation(rng),
    }


def _outputs(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    extent = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == _PADDINGS["SAME"] else -(-(size - extent + 1) // stride)


def _convolution(rng: Random, depthwise: bool) -> bytes:
    height, width, channels = (int(rng.integers(1, 10)), int(rng.integers(1, 10)), int(rng.integers(1, 7)))
    kernel = tuple(int(rng.integers(1, min(n, 4) + 1)) for n in (height, width))
    options = _window(rng, height, width)
    fits = all((k - 1) * 2 < n for k, n in zip(kernel, (height, width), strict=True))
    dilation = 2 if fits and options["strideH"] == options["strideW"] == 1 and rng.random() < 0.4 else 1
    options |= {"dilationHFactor": dilation, "dilationWFactor": dilation}
    if depthwise:
        options["depthMultiplier"] = int(rng.integers(1, 4))
        filters = channels * options["depthMultiplier"]
        shape, axis = (1, *kernel, filters), 3
    else:
        filters = int(rng.integers(1, 9))
        shape, axis = (filters, *kernel, channels), 0
    model, scale = Writer(), _scale(rng)
    x = model.input((1, height, width, channels), scale, _zero(rng))
    weights = rng.integers(-127, 128, shape) * (rng.random(shape) >= rng.choice([0.0, 0.5, 0.9]))
    taps = weights.size // filters
    scales = np.exp(rng.uniform(-5, 0, filters if rng.random() < 0.8 else 1)).astype(np.float32)
    w = model.tensor(shape, scales, data=weights, axis=axis)
    inputs = [x, w]
    if not depthwise or rng.random() < 0.8:  # TFLite wants a bias for CONV_2D
        bias = rng.integers(-3000, 3000, filters)
        inputs.append(model.tensor((filters,), scales * np.float32(scale), dtype="int32", data=bias))
    out = [
        _outputs(n, k, options[stride], dilation, options["padding"])
        for n, k, stride in zip((height, width), kernel, ("strideH", "strideW"), strict=True)
    ]
    y = model.tensor((1, *out, filters), _like(rng, scale * float(scales.max()) * 20 * taps**0.5), _zero(rng))
    model.operator("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, [y], **options)
    return model.bytes([y])


def _dense(rng: Random) -> bytes:
    rows, inputs, units = int(rng.choice([1, 1, 3])), int(rng.integers(1, 40)), int(rng.integers(1, 12))
    model, scale = Writer(), _scale(rng)
    x = model.input((rows, inputs), scale, _zero(rng))
    weights = rng.integers(-127, 128, (units, inputs)) * (rng.random((units, inputs)) >= rng.choice([0.0, 0.6, 0.95]))
    scales = np.exp(rng.uniform(-5, 0, units if rng.random() < 0.5 else 1)).astype(np.float32)
    w = model.tensor((units, inputs), scales, data=weights)
    bias = model.tensor((units,), scales * np.float32(scale), dtype="int32", data=rng.integers(-3000, 3000, units))
    y = model.tensor((rows, units), _like(rng, scale * float(scales.max()) * 20 * inputs**0.5), _zero(rng))
    operands = [x, w, bias if rng.random() < 0.8 else -1]
    model.operator("FULLY_CONNECTED", operands, [y], fusedActivationFunction=_activation(rng))
    return model.bytes([y])


def _pool(kind: str) -> Callable[[Random], bytes]:
    def case(rng: Random) -> bytes:
        height, width, channels = int(rng.integers(1, 9)), int(rng.integers(1, 9)), int(rng.integers(1, 10))
        kernel = tuple(int(rng.integers(1, min(n, 4) + 1)) for n in (height, width))
        options = _window(rng, height, width)
        model, x, make = _same_scale(rng, (1, height, width, channels))
        out = [
            _outputs(n, k, options[stride], 1, options["padding"])
            for n, k, stride in zip((height, width), kernel, ("strideH", "strideW"), strict=True)
        ]
        y = make((1, *out, channels))
        model.operator(kind, [x], [y], filterHeight=kernel[0], filterWidth=kernel[1], **options)
        return model.bytes([y])

    return case


def _reduction(kind: str) -> Callable[[Random], bytes]:
    def case(rng: Random) -> bytes:
        shape = _shape(rng, (1, 4))
        rank = len(shape)
        axes = sorted(rng.permutation(rank)[: rng.integers(1, rank + 1)].tolist())
        keep = bool(rng.integers(0, 2))
        out = tuple(1 if k in axes else n for k, n in enumerate(shape) if keep or k not in axes)
        model, scale = Writer(), _scale(rng)
        zero = _zero(rng)
        x = model.input(shape, scale, zero)
        count = int(np.prod([shape[k] for k in axes]))
        same = kind == "MEAN" and rng.random() < 0.2
        to = scale if same else float(scale * np.exp(rng.uniform(-0.7, 0.7)) * (count if kind == "SUM" else 1))
        y = model.tensor(out, to, zero if same else _zero(rng))
        model.operator(
            kind, [x, model.integers([k - rank * int(rng.integers(0, 2)) for k in axes])], [y], keepDims=keep
        )
        return model.bytes([y])

    return case


def _concatenation(rng: Random) -> bytes:
    shape = _shape(rng)
    axis = int(rng.integers(0, len(shape)))
    model, scale, zero = Writer(), _scale(rng), _zero(rng)
    parts, lengths = [], []
    for i in range(int(rng.integers(2, 5))):
        lengths.append(int(rng.integers(1, 5)))
        part = (*shape[:axis], lengths[-1], *shape[axis + 1 :])
        if i and rng.random() < 0.2:
            parts.append(model.tensor(part, scale, zero, data=rng.integers(-128, 128, part)))
        else:
            parts.append(model.input(part, scale, zero))
    y = model.tensor((*shape[:axis], sum(lengths), *shape[axis + 1 :]), scale, zero)
    model.operator("CONCATENATION", parts, [y], axis=axis - len(shape) * int(rng.integers(0, 2)))
    return model.bytes([y])


def _pad(rng: Random) -> bytes:
    shape = _shape(rng, (1, 4))
    paddings = rng.integers(0, 3, (len(shape), 2)) * (rng.random((len(shape), 1)) < 0.6)
    model, x, make = _same_scale(rng, shape)
    y = make([n + int(pair.sum()) for n, pair in zip(shape, paddings, strict=True)])
    model.operator("PAD", [x, model.integers(paddings, str(rng.choice(["int32", "int64"])))], [y])
    return model.bytes([y])


def _transpose(rng: Random) -> bytes:
    shape = _shape(rng, (2, 5), 5)
    order = rng.permutation(len(shape)).tolist()
    model, x, make = _same_scale(rng, shape)
    y = make([shape[k] for k in order])
    model.operator("TRANSPOSE", [x, model.integers(order)], [y])
    return model.bytes([y])


def _strided_slice(rng: Random) -> bytes:
    shape = _shape(rng, (1, 4), 7)
    begins, ends, steps, masks, out = [], [], [], [0, 0, 0], []
    for k, n in enumerate(shape):
        step = int(rng.choice([1, 1, 2, 3, -1, -2]))
        first, last = sorted((int(rng.integers(0, n)), int(rng.integers(0, n))))
        single = step > 0 and rng.random() < 0.2
        if step < 0:
            begin, end = last, first - 1
            end = end if end >= 0 else -n - 1
        else:
            begin, end = first, last + 1
        if single:
            end = begin + 1
            masks[2] |= 1 << k
        else:
            if rng.random() < 0.2:
                begin, masks[0] = n - 1 if step < 0 else 0, masks[0] | 1 << k
            if rng.random() < 0.2:
                end, masks[1] = -n - 1 if step < 0 else n, masks[1] | 1 << k
            out.append(len(range(n)[slice(begin, None if end < -n else end, step)]))
        # Negative indices count from behind; what a mask hides may be anything.
        begins.append(begin - n if rng.random() < 0.3 else begin)
        ends.append(end - n if 0 < end < n and rng.random() < 0.3 and not single else end)
        steps.append(step)
    model, x, make = _same_scale(rng, shape)
    y = make(out)
    options = {"beginMask": masks[0], "endMask": masks[1], "shrinkAxisMask": masks[2]}
    model.operator("STRIDED_SLICE", [x, *(model.integers(list_) for list_ in (begins, ends, steps))], [y], **options)
    return model.bytes([y])


def _split(rng: Random) -> bytes:
    shape = list(_shape(rng))
    axis, parts = int(rng.integers(0, len(shape))), int(rng.integers(2, 4))
    shape[axis] *= parts
    model, x, make = _same_scale(rng, tuple(shape))
    outputs = [make((*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])) for _ in range(parts)]
    axes = model.integers(axis - len(shape) * int(rng.integers(0, 2)))
    model.operator("SPLIT", [axes, x], outputs, numSplits=parts)
    return model.bytes(outputs if rng.random() < 0.7 else outputs[1:])


def _gather(rng: Random) -> bytes:
    shape = _shape(rng)
    axis = int(rng.integers(0, len(shape)))
    indices = rng.integers(0, shape[axis], _shape(rng, (1, 2)))
    model, x, make = _same_scale(rng, shape)
    y = make((*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    model.operator("GATHER", [x, model.integers(indices)], [y], axis=axis)
    return model.bytes([y])


def _arg_max(rng: Random) -> bytes:
    shape = _shape(rng)
    axis, dtype = int(rng.integers(0, len(shape))), str(rng.choice(["int32", "int64"]))
    model, x, _ = _same_scale(rng, shape)
    y = model.tensor((*shape[:axis], *shape[axis + 1 :]), dtype=dtype)
    model.operator("ARG_MAX", [x, model.integers(axis)], [y], outputType={"int32": 2, "int64": 4}[dtype])
    return model.bytes([y])


def _quantize(rng: Random) -> bytes:
    """QUANTIZE between int8 and uint8, any scales."""
    model, shape, scale = Writer(), _shape(rng), _scale(rng)
    types = [str(rng.choice(["int8", "uint8"])) for _ in range(2)]
    lifts = [128 * (dtype == "uint8") for dtype in types]
    x = model.input(shape, scale, _zero(rng) + lifts[0], dtype=types[0])
    y = model.tensor(shape, _like(rng, scale), _zero(rng) + lifts[1], dtype=types[1])
    model.operator("QUANTIZE", [x], [y])
    return model.bytes([y])


def _dequantize(rng: Random) -> bytes:
    """int8 to float32 and, behind a RESHAPE, back to another scale."""
    model, shape, scale = Writer(), _shape(rng), _scale(rng)
    x = model.input(shape, scale, _zero(rng))
    real, flat = model.tensor(shape, dtype="float32"), model.tensor((int(np.prod(shape)),), dtype="float32")
    y = model.tensor((int(np.prod(shape)),), _like(rng, scale), _zero(rng))
    model.operator("DEQUANTIZE", [x], [real])
    model.operator("RESHAPE", [real, model.integers([int(np.prod(shape))])], [flat])
    model.operator("QUANTIZE", [flat], [y])
    return model.bytes([y])


def _shape_only(kind: str) -> Callable[[Random], bytes]:
    """An operator that changes the shape alone, in front of a RELU6."""

    def case(rng: Random) -> bytes:
        shape = (1, *_shape(rng))
        model, x, make = _same_scale(rng, shape)
        other = {"RESHAPE": (int(np.prod(shape)),), "SQUEEZE": tuple(n for n in shape if n > 1)}.get(kind, (*shape, 1))
        y, z = make(other), make(other)
        extra = {"RESHAPE": list(other), "EXPAND_DIMS": -1}.get(kind)
        model.operator(kind, [x] if extra is None else [x, model.integers(extra)], [y])
        model.operator("RELU6", [y], [z])
        return model.bytes([z])

    return case


CASES: dict[str, Callable[[Random], bytes]] = {
    "CONV_2D": lambda rng: _convolution(rng, False),
    "DEPTHWISE_CONV_2D": lambda rng: _convolution(rng, True),
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": _pool("MAX_POOL_2D"),
    "ADD": _binary("ADD"),
    "SUB": _binary("SUB"),
    "MUL": _binary("MUL"),
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "GATHER": _gather,
    "MEAN": _reduction("MEAN"),
    "SUM": _reduction("SUM"),
    "ARG_MAX": _arg_max,
    "RELU": lambda rng: _unary("RELU", rng, _shape(rng)),
    "RELU6": lambda rng: _unary("RELU6", rng, _shape(rng)),
    "RELU_N1_TO_1": lambda rng: _unary("RELU_N1_TO_1", rng, _shape(rng)),
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "LOGISTIC": lambda rng: _unary("LOGISTIC", rng, (16, 16), (1 / 256, -128)),
    "TANH": lambda rng: _unary("TANH", rng, (16, 16), (1 / 128, 0)),
    "LEAKY_RELU": lambda rng: _unary("LEAKY_RELU", rng, _shape(rng), alpha=float(rng.uniform(-0.5, 1.5))),
    "HARD_SWISH": lambda rng: _unary("HARD_SWISH", rng, (16, 16)),
    "SOFTMAX": lambda rng: _unary("SOFTMAX", rng, _shape(rng, (2, 3), 12), (1 / 256, -128), beta=1.0),
    "RESHAPE": _shape_only("RESHAPE"),
    "SQUEEZE": _shape_only("SQUEEZE"),
    "EXPAND_DIMS": _shape_only("EXPAND_DIMS"),
}
