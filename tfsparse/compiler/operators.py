"""One function for each operator of TFLite: checks it, resolves its numbers as TFLite does, and appends its layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier, fit_line, hard_swish_16, quantize_multiplier, scale_all
from tfsparse.compiler.grid import MOST_AXES, broadcast, grid, strides_of
from tfsparse.compiler.layers import (
    Add,
    ArgMax,
    Concatenate,
    Convolution,
    FullyConnected,
    Gather,
    LeakyRelu,
    Lookup,
    Mean,
    Move,
    Multiply,
    Pad,
    Pool,
    Reduce,
    Rescale,
    Softmax,
)
from tfsparse.compiler.lowering import Lowering
from tfsparse.compiler.reader import Tensor

_MOST_PIXELS = 0xFFFF
_MOST_SUMMED = 4_096  # bounds the compiler's time, which looks at every sum there may be


def conv(at: Lowering) -> None:
    image, weights = at.tensor(0), at.tensor(1)
    data = at.constant(weights, "its weights", ("int8",))
    _, _, in_channels = at.image(image)
    depthwise = at.operator.kind == "DEPTHWISE_CONV_2D"
    if data.ndim != 4 or 0 in data.shape or (depthwise and data.shape[0] != 1):
        raise at.refuse(f"its weights have the shape {data.shape}")
    if depthwise:
        out_channels, run = data.shape[3], 1
        ordered = data[0].transpose(2, 0, 1).reshape(out_channels, -1)
    else:
        out_channels, run = data.shape[0], data.shape[3]
        ordered = data.reshape(out_channels, -1)
    groups = in_channels // run
    if groups * run != in_channels or groups == 0 or out_channels % groups:
        raise at.refuse(f"{in_channels} input and {out_channels} output channels do not fit its weights {data.shape}")
    kernel = (data.shape[1], data.shape[2])
    window = at.window(image, kernel, out_channels)
    at.layers.append(
        Convolution(
            **at.weighted(weights, 3 if depthwise else 0),
            weights=ordered,
            window=window,
            in_channels=in_channels,
            out_channels=out_channels,
            run=run,
            per_group=out_channels // groups,
        )
    )


def fully_connected(at: Lowering) -> None:
    if at.operator.options.weights_format != 0:
        raise at.refuse("its weights are shuffled; export them in the default format")
    tensor, weights = at.tensor(0), at.tensor(1)
    data = at.constant(weights, "its weights", ("int8",))
    if data.ndim != 2 or 0 in data.shape:
        raise at.refuse(f"its weights have the shape {data.shape}")
    size = int(np.prod(tensor.shape, dtype=np.int64))
    rows = size // data.shape[1]
    if rows * data.shape[1] != size or int(np.prod(at.output().shape, dtype=np.int64)) != rows * data.shape[0]:
        raise at.refuse(f"input {tensor.shape} and output {at.output().shape} do not fit weights {data.shape}")
    if max(rows, *data.shape) > 0xFFFF:
        raise at.refuse(f"{rows} times weights of shape {data.shape} is beyond any microcontroller")
    at.layers.append(FullyConnected(**at.weighted(weights, 0), weights=data, rows=rows))


def pool(at: Lowering) -> None:
    image = at.tensor(0)
    channels = at.image(image)[2]
    value, scale, zero = at.source(0)
    output = at.output()
    if at.activation_quantization(output) != (scale, zero):
        raise at.refuse("input and output have different scales, which TFLite does not define for pooling")
    lowest, highest = at.clamp(at.operator.options.activation, scale, zero)
    kind = "max_pool" if at.operator.kind == "MAX_POOL_2D" else "average_pool"
    window = at.window(image, at.operator.options.window, channels)
    at.layers.append(
        Pool(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), kind=kind,
            window=window, channels=channels, lowest=lowest, highest=highest,
        )
    )  # fmt: skip


def _binary(at: Lowering) -> dict[str, object]:
    """The fields that all operators of two operands share; one operand may be a constant, and they may broadcast."""
    tensors, output = (at.tensor(0), at.tensor(1)), at.output()
    zeros = tuple(at.activation_quantization(tensor)[1] for tensor in tensors)
    scale, zero = at.activation_quantization(output)
    grid = broadcast(output.shape, *(tensor.shape for tensor in tensors))
    if grid is None or np.broadcast_shapes(*(tensor.shape for tensor in tensors)) != tuple(output.shape):
        raise at.refuse(f"shapes {tensors[0].shape} and {tensors[1].shape} do not broadcast to {output.shape}")
    fixed = [i for i, tensor in enumerate(tensors) if tensor.data is not None]
    if len(fixed) == 2:
        raise at.refuse("both operands are constants; let the converter fold them")
    constants = [at.constant(tensors[i], "its operand", ("int8",)).reshape(-1) for i in fixed]
    lowest, highest = at.clamp(at.operator.options.activation, scale, zero)
    return {
        "name": at.name(),
        "place": at.place(),
        "inputs": tuple(at.source(i)[0] for i in (0, 1) if i not in fixed),
        "output": at.define(output),
        "grid": grid,
        "constant": constants[0] if fixed else None,
        "constant_at": fixed[0] if fixed else 0,
        "input_zeros": zeros,
        "output_zero": zero,
        "lowest": lowest,
        "highest": highest,
    }


def add(at: Lowering) -> None:
    """ADD and SUB: both operands are brought to twice the larger of their scales, with 20 more bits."""
    scales = [at.activation_quantization(at.tensor(i))[0] for i in (0, 1)]
    scale, _ = at.activation_quantization(at.output())
    twice = float(2 * max(scales))
    out = at.multiplier(twice / float(np.float32(1 << 20) * scale))
    if out.shift > 0:
        raise at.refuse("its output scale is too small beside its inputs' scales")
    at.layers.append(
        Add(
            **_binary(at),
            input_multipliers=tuple(at.multiplier(float(scale) / twice) for scale in scales),
            output_multiplier=out,
            subtract=at.operator.kind == "SUB",
        )
    )


def multiply(at: Lowering) -> None:
    first, second = (at.activation_quantization(at.tensor(i))[0] for i in (0, 1))
    scale, _ = at.activation_quantization(at.output())
    # TFLite multiplies and divides in float32 here.
    at.layers.append(Multiply(**_binary(at), multiplier=at.multiplier(float(first * second / scale))))


def same_bytes(at: Lowering) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape, so the value is shared and nothing is done."""
    tensor, output = at.tensor(0), at.output()
    if math.prod(tensor.shape) != math.prod(output.shape):
        raise at.refuse(f"it turns {tensor.shape} into {output.shape}, which has another number of elements")
    if tensor.index in at.floats and output.dtype == "float32":
        at.dequantize(output, at.floats[tensor.index])
        return
    value, scale, zero = at.source(0, uint8=True)
    _same_quantization(at, (scale, zero), uint8=True)
    at.share(output, value)


def _same_quantization(at: Lowering, quantization: tuple[np.float32, int], *, uint8: bool = False) -> None:
    """Operators that only move numbers keep their scale."""
    if at.activation_quantization(at.output(), uint8=uint8) != quantization:
        raise at.refuse("input and output have different scales")


def concatenation(at: Lowering) -> None:
    output = at.output()
    shape, rank = output.shape, len(output.shape)
    axis = at.operator.options.axis
    if not -rank <= axis < rank:
        raise at.refuse(f"its axis {axis} does not exist in shape {shape}")
    if at.operator.options.activation != "NONE":
        raise at.refuse(f"the fused activation {at.operator.options.activation} is not supported")
    axis %= rank
    values, parts, lengths = [], [], []
    for i in range(len(at.operator.inputs)):
        tensor = at.tensor(i)
        if at.activation_quantization(tensor) != at.activation_quantization(output):
            raise at.refuse(
                f"its input '{tensor.name}' has another scale than its output, which TFLite refuses, too; "
                "convert the model again"
            )
        if (
            len(tensor.shape) != rank
            or tensor.shape[:axis] + tensor.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :]
        ):
            raise at.refuse(f"its input '{tensor.name}' of shape {tensor.shape} does not fit its output {shape}")
        lengths.append(math.prod(tensor.shape[axis:]))
        if tensor.data is not None:
            parts.append(at.constant(tensor, "its constant inputs", ("int8",)).reshape(-1))
        else:
            values.append(at.source(i)[0])
            parts.append(values[-1])
    if sum(lengths) != math.prod(shape[axis:]):
        raise at.refuse(f"its inputs do not add up to its output {shape}")
    outer = math.prod(shape[:axis])
    if not values:
        raise at.refuse("all its inputs are constants; let the converter fold them")
    at.layers.append(
        Concatenate(
            name=at.name(), place=at.place(), inputs=tuple(values), output=at.define(output), outer=outer,
            lengths=tuple(lengths), parts=tuple(parts),
        )
    )  # fmt: skip


def pad(at: Lowering) -> None:
    """PAD: rows and columns of an image, which a convolution behind may do itself, or any axes."""
    tensor, output = at.tensor(0), at.output()
    paddings = at.constant(at.tensor(1), "its paddings", ("int32", "int64"))
    value, scale, zero = at.source(0)
    _same_quantization(at, (scale, zero))
    shape, rank = tensor.shape, len(tensor.shape)
    if paddings.shape != (rank, 2) or np.any(paddings < 0) or np.any(paddings > 32767):
        raise at.refuse(f"its paddings {paddings.tolist()} are not a pair of 0..32767 for each axis of {shape}")
    before = tuple(int(n) for n in paddings[:, 0])
    whole = tuple(n + int(pair.sum()) for n, pair in zip(shape, paddings, strict=True))
    at.expect_shape(output, whole)
    if rank == 4 and shape[0] == 1 and not np.any(paddings[[0, 3]]):
        (top, bottom), (left, right) = paddings[1].tolist(), paddings[2].tolist()
        at.layers.append(
            Pad(
                name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), rows=shape[1],
                width=shape[2], channels=shape[3], top=top, bottom=bottom, left=left, right=right, fill=zero,
            )
        )  # fmt: skip
        return
    pitches = strides_of(whole)
    _move(at, value, output, shape, strides_of(shape), pitches, start_out=_at(before, pitches), fill=zero)


def _at(index: tuple[int, ...], strides: tuple[int, ...]) -> int:
    return sum(i * stride for i, stride in zip(index, strides, strict=True))


def _move(
    at: Lowering,
    value: int,
    output: Tensor,
    counts: tuple[int, ...],
    strides_in: tuple[int, ...],
    strides_out: tuple[int, ...] | None = None,
    *,
    start_in: int = 0,
    start_out: int = 0,
    fill: int | None = None,
) -> None:
    """Append the layer that copies `counts` elements with the given strides, by default to places side by side."""
    loops = grid(counts, strides_in, strides_of(counts) if strides_out is None else strides_out)
    if len(loops.counts) > MOST_AXES:
        raise at.refuse(f"it moves elements along {len(loops.counts)} axes; {MOST_AXES} are the most")
    at.layers.append(
        Move(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), grid=loops,
            start_in=start_in, start_out=start_out, fill=fill,
        )
    )  # fmt: skip


def transpose(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    order = tuple(int(axis) for axis in at.integers(1, "its permutation"))
    value, scale, zero = at.source(0)
    _same_quantization(at, (scale, zero))
    rank = len(tensor.shape)
    order = tuple(axis + rank if axis < 0 else axis for axis in order)
    if sorted(order) != list(range(rank)):
        raise at.refuse(f"its permutation {order} does not fit shape {tensor.shape}")
    at.expect_shape(output, tuple(tensor.shape[axis] for axis in order))
    moved = [axis for axis in order if tensor.shape[axis] != 1]
    if moved == sorted(moved):
        at.share(output, value)  # only axes of one element change places
        return
    strides = strides_of(tensor.shape)
    _move(at, value, output, output.shape, tuple(strides[axis] for axis in order))


def _dense_slice(at: Lowering, shape: tuple[int, ...]) -> list[tuple[int, int, int, bool]]:
    """(begin, count, stride, kept) of each axis of `shape`: what STRIDED_SLICE's lists and masks mean."""
    begins, ends, steps = (at.integers(i, what).tolist() for i, what in ((1, "begin"), (2, "end"), (3, "strides")))
    begin_mask, end_mask, ellipsis, new_axis, shrink = at.operator.options.masks
    if not len(begins) == len(ends) == len(steps):
        raise at.refuse("its begin, end and strides differ in length")
    if new_axis or ellipsis:
        raise at.refuse("it adds axes or has an ellipsis, which is not supported; slice with plain indices")
    if len(begins) > len(shape):
        raise at.refuse(f"it has {len(begins)} indices for shape {shape}")
    axes = []
    for k, n in enumerate(shape):
        if k >= len(begins):
            axes.append((0, n, 1, True))
            continue
        step, single = steps[k], bool(shrink >> k & 1)
        if step == 0 or (single and step < 0):
            raise at.refuse(f"its stride {step} on axis {k} leads nowhere")
        begin = begins[k] + n if begins[k] < 0 else begins[k]
        end = ends[k] + begin if at.operator.options.from_begin else ends[k] + n if ends[k] < 0 else ends[k]
        if single:
            if begin_mask >> k & 1:
                begin = 0
            if not 0 <= begin < n:
                raise at.refuse(f"its index {begins[k]} lies outside axis {k} of shape {shape}")
            axes.append((begin, 1, 1, False))
            continue
        begin, end, _ = slice(
            None if begin_mask >> k & 1 else max(begin, -1 if step < 0 else 0),
            None if end_mask >> k & 1 or (step < 0 and end < 0) else max(end, 0),
            step,
        ).indices(n)
        axes.append((begin, len(range(begin, end, step)), step, True))
    return axes


def strided_slice(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    value, scale, zero = at.source(0)
    _same_quantization(at, (scale, zero))
    axes = _dense_slice(at, tensor.shape)
    at.expect_shape(output, tuple(count for _, count, _, kept in axes if kept))
    strides = strides_of(tensor.shape)
    counts = tuple(count for _, count, _, _ in axes)
    start = _at(tuple(begin for begin, *_ in axes), strides)
    if counts == tensor.shape and all(step == 1 or n == 1 for (_, n, step, _) in axes):
        at.share(output, value)
        return
    moves = tuple(stride * step for stride, (_, _, step, _) in zip(strides, axes, strict=True))
    _move(at, value, output, counts, moves, start_in=start)


def split(at: Lowering) -> None:
    """SPLIT: equal parts of an axis, each a layer of its own."""
    axes, tensor = at.integers(0, "its axis"), at.tensor(1)
    value, scale, zero = at.source(1)
    rank, outputs = len(tensor.shape), [at.model.tensors[i] for i in at.operator.outputs]
    if len(axes) != 1 or not -rank <= axes[0] < rank or not outputs:
        raise at.refuse(f"its axis {axes.tolist()} does not exist in shape {tensor.shape}")
    axis = int(axes[0]) % rank
    part, left = divmod(tensor.shape[axis], len(outputs))
    if left:
        raise at.refuse(f"{tensor.shape[axis]} elements do not split into {len(outputs)} equal parts")
    strides = strides_of(tensor.shape)
    for i, output in enumerate(outputs):
        if at.activation_quantization(output) != (scale, zero):
            raise at.refuse("input and output have different scales")
        shape = (*tensor.shape[:axis], part, *tensor.shape[axis + 1 :])
        at.expect_shape(output, shape)
        _move(at, value, output, shape, strides, start_in=i * part * strides[axis])


def gather(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    indices = at.constant(at.tensor(1), "its indices", ("int32", "int64"))
    value, scale, zero = at.source(0)
    _same_quantization(at, (scale, zero))
    rank, axis = len(tensor.shape), at.operator.options.axis
    if not -rank <= axis < rank or at.operator.options.batch_dims != 0:
        raise at.refuse(f"its axis {axis} or its batch axes do not fit shape {tensor.shape}")
    axis %= rank
    if np.any(indices < 0) or np.any(indices >= tensor.shape[axis]):
        raise at.refuse(f"its indices leave 0..{tensor.shape[axis] - 1}")
    at.expect_shape(output, (*tensor.shape[:axis], *indices.shape, *tensor.shape[axis + 1 :]))
    inner = math.prod(tensor.shape[axis + 1 :])
    at.layers.append(
        Gather(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output),
            outer=math.prod(tensor.shape[:axis]), inner=inner, pitch=inner * tensor.shape[axis],
            indices=indices.reshape(-1),
        )
    )  # fmt: skip


def arg_max(at: Lowering) -> None:
    tensor, axes, output = at.tensor(0), at.integers(1, "its axis"), at.output()
    value, *_ = at.source(0)
    rank = len(tensor.shape)
    if len(axes) != 1 or not -rank <= axes[0] < rank:
        raise at.refuse(f"its axis {axes.tolist()} does not exist in shape {tensor.shape}")
    if output.dtype not in ("int32", "int64"):
        raise at.refuse(f"its output is {output.dtype} instead of int32 or int64")
    axis = int(axes[0]) % rank
    at.expect_shape(output, (*tensor.shape[:axis], *tensor.shape[axis + 1 :]))
    at.layers.append(
        ArgMax(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output, indices=True),
            outer=math.prod(tensor.shape[:axis]), count=tensor.shape[axis], inner=math.prod(tensor.shape[axis + 1 :]),
            width=4 if output.dtype == "int32" else 8,
        )
    )  # fmt: skip


def _reduced_axes(at: Lowering) -> list[int]:
    """The axes of SUM or MEAN, checked, in order; and the output's shape."""
    tensor = at.tensor(0)
    axes, rank = at.integers(1, "its axes"), len(tensor.shape)
    if len(axes) == 0 or np.any(axes < -rank) or np.any(axes >= rank):
        raise at.refuse(f"its axes {axes.tolist()} do not exist in shape {tensor.shape}")
    reduced = sorted({int(axis) % rank for axis in axes})
    keep = at.operator.options.keep_dims
    shape = tuple(1 if k in reduced else n for k, n in enumerate(tensor.shape) if keep or k not in reduced)
    at.expect_shape(at.output(), shape)
    return reduced


def mean(at: Lowering) -> None:
    """MEAN: over all pixels of an image, that is axes between leading ones and the channels, or over any axes."""
    tensor, output = at.tensor(0), at.output()
    value, input_scale, input_zero = at.source(0)
    output_scale, output_zero = at.activation_quantization(output)
    reduced = _reduced_axes(at)
    first, behind = reduced[0], reduced[-1] + 1
    count = math.prod(tensor.shape[k] for k in reduced)
    if not 0 < count <= _MOST_PIXELS:
        raise at.refuse(f"it averages {count} elements of shape {tensor.shape}; {_MOST_PIXELS} are the most")
    # TFLite divides the 31-bit mantissa by the count, after as many left shifts as keep it in 32 bits.
    plain = at.multiplier(float(input_scale) / float(output_scale))
    up = min(count.bit_length() - 1, 31 + plain.shift)
    multiplier = Multiplier((plain.mantissa << up) // count, plain.shift - up)
    channels = math.prod(tensor.shape[behind:])
    # Most of the time the kernel that knows pixels and channels will do.
    if (
        math.prod(tensor.shape[:first]) == 1
        and reduced == list(range(first, behind))
        and behind < len(tensor.shape)
        and channels <= 0xFFFF
    ):
        at.layers.append(
            Mean(
                name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), pixels=count,
                channels=channels, input_zero=input_zero, output_zero=output_zero, multiplier=multiplier,
            )
        )  # fmt: skip
        return
    sums = np.arange(-128 * count, 127 * count + 1)
    if count > _MOST_SUMMED:
        raise at.refuse(
            f"it averages {count} elements of shape {tensor.shape} over these axes; {_MOST_SUMMED} are the most"
        )
    if 255 * count << max(0, multiplier.shift) >= 1 << 31:
        raise at.refuse("its output scale is too small beside its input scale")
    outputs = scale_all(sums - input_zero * count, multiplier) + output_zero
    _reduce(at, value, reduced, sums, outputs, float(input_scale) / float(output_scale) / count, input_zero * count)


def total(at: Lowering) -> None:
    """SUM, which TFLite computes in float32.

    This follows its default kernel: the reference kernel of tensorflow 2.21 and ai-edge-litert 2.3 reads int8 numbers
    as unsigned, and what it gives for negative ones is no sum.
    """
    tensor, output = at.tensor(0), at.output()
    value, input_scale, input_zero = at.source(0)
    output_scale, output_zero = at.activation_quantization(output)
    reduced = _reduced_axes(at)
    count = math.prod(tensor.shape[k] for k in reduced)
    if not 0 < count <= _MOST_SUMMED:
        raise at.refuse(f"it sums {count} elements of shape {tensor.shape}; {_MOST_SUMMED} are the most")
    sums = np.arange(-128 * count, 127 * count + 1)
    factor = np.float32(input_scale / output_scale)
    at.multiplier(float(factor))  # refuses what is out of all proportion
    bias = np.float32(-input_zero) * factor * np.float32(count)
    outputs = _to_integers(sums.astype(np.float32) * factor + bias) + output_zero
    _reduce(at, value, reduced, sums, outputs, float(factor), input_zero * count)


def _reduce(
    at: Lowering, value: int, reduced: list[int], sums: np.ndarray, outputs: np.ndarray, slope: float, turn: int
) -> None:
    """Append the layer that turns each of `sums` of int8 numbers into its output, given before it is clamped.

    `turn` is the sum that stands for zero.
    """
    shape = at.tensor(0).shape
    strides = strides_of(shape)
    axes = [[k for k in range(len(shape)) if (k in reduced) is inside] for inside in (False, True)]
    kept, inner = (grid(tuple(shape[k] for k in part), tuple(strides[k] for k in part)) for part in axes)
    line = fit_line(sums, np.clip(outputs, -128, 127), slope, turn)
    if line is None or max(len(kept.counts), len(inner.counts)) > MOST_AXES:
        raise at.refuse("its scales are such that its rounding cannot be followed exactly; convert the model again")
    at.layers.append(
        Reduce(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(at.output()), kept=kept, reduced=inner,
            line=line,
        )
    )  # fmt: skip


def rescale(at: Lowering) -> None:
    """QUANTIZE from int8 to int8, RELU, RELU6 and RELU_N1_TO_1 on their own."""
    tensor, output, quantize = at.tensor(0), at.output(), at.operator.kind == "QUANTIZE"
    if quantize and tensor.index in at.floats:
        _requantize(at, at.floats[tensor.index])
        return
    value, input_scale, input_zero = at.source(0, uint8=quantize)
    output_scale, output_zero = at.activation_quantization(output, uint8=quantize)
    at.expect_shape(output, tensor.shape)
    lowest, highest = at.clamp("NONE" if quantize else at.operator.kind, output_scale, output_zero)
    # TFLite divides in double for QUANTIZE, and in float32 for the others.
    ratio = float(input_scale) / float(output_scale) if quantize else float(input_scale / output_scale)
    multiplier = at.multiplier(ratio)
    if (multiplier, input_zero, lowest, highest) == (quantize_multiplier(1.0), output_zero, -128, 127):
        at.share(output, value)
        return
    at.layers.append(
        Rescale(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output, uint8=quantize),
            size=math.prod(output.shape), multiplier=multiplier, input_zero=input_zero,
            output_zero=output_zero, lowest=lowest, highest=highest,
        )
    )  # fmt: skip


def _lookup(at: Lowering, value: int, outputs: np.ndarray, *, uint8: bool = False) -> None:
    """Append the layer that gives `outputs` [256] for the inputs -128..127; clamps them."""
    table = np.clip(outputs, -128, 127).astype(np.int8)
    # Both ends may be long and flat; they are left to the clamp in front of the table.
    changes = np.flatnonzero(np.diff(table))
    first, last = (int(changes[0]), int(changes[-1]) + 1) if len(changes) else (0, 0)
    output = at.output()
    at.expect_shape(output, at.tensor(0).shape)
    at.layers.append(
        Lookup(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output, uint8=uint8),
            size=math.prod(output.shape), first=first - 128, table=table[first : last + 1],
        )
    )  # fmt: skip


_ALL_INPUTS = np.arange(-128, 128)


def _to_integers(x: np.ndarray) -> np.ndarray:
    """float32 -> integers, rounded half away from zero as C's roundf does."""
    x = np.clip(x.astype(np.float64), -1e6, 1e6)
    return np.trunc(x + np.copysign(0.5, x)).astype(np.int64)


def _requantize(at: Lowering, origin: Tensor) -> None:
    """QUANTIZE of a DEQUANTIZE: through float32 and back."""
    scale, zero = at.activation_quantization(origin, uint8=True)
    output_scale, output_zero = at.activation_quantization(at.output(), uint8=True)
    real = (float(scale) * (_ALL_INPUTS - zero)).astype(np.float32)
    _lookup(at, at.alias[origin.index], _to_integers(real / output_scale) + output_zero, uint8=True)


def dequantize(at: Lowering) -> None:
    """DEQUANTIZE: nothing is done as long as what follows only moves numbers or quantises them again."""
    tensor, output = at.tensor(0), at.output()
    at.source(0, uint8=True)
    at.expect_shape(output, tensor.shape)
    if output.dtype != "float32":
        raise at.refuse(f"it makes {output.dtype} numbers instead of float32")
    at.dequantize(output, tensor)


def logistic(at: Lowering) -> None:
    """LOGISTIC and TANH: TFLite, too, has a table of all 256 outputs, from float32."""
    value, input_scale, input_zero = at.source(0)
    scale, zero = at.activation_quantization(at.output())
    # expf and tanhf give the float nearest to the truth, but for cases too rare to meet one of 256.
    real = (input_scale * (_ALL_INPUTS - input_zero).astype(np.float32)).astype(np.float64)
    if at.operator.kind == "LOGISTIC":
        wanted = (np.float32(1 / 256), -128)
        outputs = np.float32(1) / (np.float32(1) + np.exp(-real).astype(np.float32))
    else:
        wanted = (np.float32(1 / 128), 0)
        outputs = np.tanh(real).astype(np.float32)
    if (scale, zero) != wanted:
        raise at.refuse(f"its output must have scale {wanted[0]} and zero point {wanted[1]}, as TFLite demands")
    _lookup(at, value, _to_integers(outputs * (np.float32(1) / scale)) + zero)


def leaky_relu(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    value, input_scale, input_zero = at.source(0)
    output_scale, output_zero = at.activation_quantization(output)
    at.expect_shape(output, tensor.shape)
    below = float(input_scale * np.float32(at.operator.options.alpha) / output_scale)
    if not math.isfinite(below):
        raise at.refuse(f"its slope {at.operator.options.alpha} is no number")
    flipped = at.multiplier(abs(below))
    at.layers.append(
        LeakyRelu(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output),
            size=math.prod(output.shape), input_zero=input_zero, output_zero=output_zero,
            above=at.multiplier(float(input_scale / output_scale)),
            below=flipped if below >= 0 else Multiplier(-flipped.mantissa, flipped.shift),
        )
    )  # fmt: skip


def hard_swish(at: Lowering) -> None:
    """x * relu6(x + 3) / 6 in TFLite's 16-bit fixed point, as a table."""
    value, input_scale, input_zero = at.source(0)
    scale, zero = at.activation_quantization(at.output())
    fine = np.float32(1 / 128) * input_scale
    out, gate = (at.multiplier(float(fine / by)) for by in (scale, np.float32(3) / np.float32(32768)))
    if out.shift > 0:
        raise at.refuse("its output scale is too small beside its input's scale")
    _lookup(at, value, np.array([hard_swish_16(x - input_zero, out, gate) for x in _ALL_INPUTS.tolist()]) + zero)


def softmax(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    value, input_scale, _ = at.source(0)
    if at.activation_quantization(output) != (np.float32(1 / 256), -128):
        raise at.refuse("its output must have scale 1/256 and zero point -128, as TFLite demands")
    at.expect_shape(output, tensor.shape)
    depth = tensor.shape[-1] if tensor.shape else 0
    if not 0 < depth <= 2048:
        raise at.refuse(f"it spans {depth} elements; 1..2048 are supported")
    # Differences to the maximum are scaled to 5 integer and 26 fraction bits (TFLite's PreprocessSoftmaxScaling).
    real = min(float(np.float32(at.operator.options.beta)) * float(input_scale) * (1 << 26), (1 << 31) - 1.0)
    rows = math.prod(tensor.shape[:-1])
    if not real > 1.0 or rows > 0xFFFF:
        raise at.refuse(f"beta times input scale is {real / (1 << 26):g}, for which TFLite has no softmax")
    multiplier = quantize_multiplier(real)
    at.layers.append(
        Softmax(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output),
            rows=rows, depth=depth, multiplier=multiplier,
            lowest_difference=-math.floor(31 * (1 << 26) / (1 << multiplier.shift)),
        )
    )  # fmt: skip


HANDLERS: dict[str, Callable[[Lowering], None]] = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": conv,
    "FULLY_CONNECTED": fully_connected,
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
    "ADD": add,
    "SUB": add,
    "MUL": multiply,
    "CONCATENATION": concatenation,
    "PAD": pad,
    "TRANSPOSE": transpose,
    "STRIDED_SLICE": strided_slice,
    "SPLIT": split,
    "GATHER": gather,
    "MEAN": mean,
    "SUM": total,
    "ARG_MAX": arg_max,
    "RELU": rescale,
    "RELU6": rescale,
    "RELU_N1_TO_1": rescale,
    "QUANTIZE": rescale,
    "DEQUANTIZE": dequantize,
    "LOGISTIC": logistic,
    "TANH": logistic,
    "LEAKY_RELU": leaky_relu,
    "HARD_SWISH": hard_swish,
    "SOFTMAX": softmax,
    "RESHAPE": same_bytes,
    "SQUEEZE": same_bytes,
    "EXPAND_DIMS": same_bytes,
}
