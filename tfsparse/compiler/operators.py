"""One function for each operator of TFLite: checks it, resolves its numbers as TFLite does, and appends its layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier, quantize_multiplier
from tfsparse.compiler.layers import (
    Add,
    Concatenate,
    Convolution,
    FullyConnected,
    Mean,
    Pad,
    Pool,
    Rescale,
    Softmax,
)
from tfsparse.compiler.lowering import Lowering


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


def add(at: Lowering) -> None:
    """ADD of two values, or of a value and a constant; one of them may repeat along leading axes of the other."""
    tensors, output = (at.tensor(0), at.tensor(1)), at.output()
    quantizations = [at.activation_quantization(tensor) for tensor in tensors]
    scale, zero = at.activation_quantization(output)
    # The one that repeats comes second, and so does the constant.
    first, second = sorted((0, 1), key=lambda i: (-math.prod(tensors[i].shape), tensors[i].data is not None))
    whole, part = tensors[first].shape, tensors[second].shape
    at.expect_shape(output, whole)
    core = part[next((i for i, n in enumerate(part) if n != 1), len(part)) :]
    if whole[len(whole) - len(core) :] != core or len(part) > len(whole):
        raise at.refuse(f"shapes {tensors[0].shape} and {tensors[1].shape} differ otherwise than in leading axes")
    constant = None
    values = [at.source(first)[0]]
    if tensors[second].data is None:
        values.append(at.source(second)[0])
    else:
        constant = at.constant(tensors[second], "its second operand", ("int8",)).reshape(-1)
    twice = float(2 * max(scale for scale, _ in quantizations))
    lowest, highest = at.clamp(at.operator.options.activation, scale, zero)
    out = at.multiplier(twice / float(np.float32(1 << 20) * scale))
    if out.shift > 0:
        raise at.refuse("its output scale is too small beside its inputs' scales")
    at.layers.append(
        Add(
            name=at.name(),
            place=at.place(),
            inputs=tuple(values),
            output=at.define(output),
            constant=constant,
            size=math.prod(core),
            repeats=math.prod(whole) // math.prod(core),
            input_zeros=(quantizations[first][1], quantizations[second][1]),
            input_multipliers=tuple(at.multiplier(float(quantizations[i][0]) / twice) for i in (first, second)),
            output_multiplier=out,
            output_zero=zero,
            lowest=lowest,
            highest=highest,
        )
    )


def same_bytes(at: Lowering) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape, so the value is shared and nothing is done."""
    tensor, output = at.tensor(0), at.output()
    value, scale, zero = at.source(0)
    if at.activation_quantization(output) != (scale, zero):
        raise at.refuse("input and output have different scales")
    if math.prod(tensor.shape) != math.prod(output.shape):
        raise at.refuse(f"it turns {tensor.shape} into {output.shape}, which has another number of elements")
    at.share(output, value)


def concatenation(at: Lowering) -> None:
    output = at.output()
    shape, rank = output.shape, len(output.shape)
    axis = at.operator.options.axis
    if not -rank <= axis < rank:
        raise at.refuse(f"its axis {axis} does not exist in shape {shape}")
    if at.operator.options.activation != "NONE":
        raise at.refuse(f"the fused activation {at.operator.options.activation} is not supported")
    axis %= rank
    values, lengths = [], []
    for i in range(len(at.operator.inputs)):
        tensor = at.tensor(i)
        value, scale, zero = at.source(i)
        if (scale, zero) != at.activation_quantization(output):
            raise at.refuse(f"its input '{tensor.name}' has another scale than its output; convert the model again")
        if (
            len(tensor.shape) != rank
            or tensor.shape[:axis] + tensor.shape[axis + 1 :] != shape[:axis] + shape[axis + 1 :]
        ):
            raise at.refuse(f"its input '{tensor.name}' of shape {tensor.shape} does not fit its output {shape}")
        values.append(value)
        lengths.append(math.prod(tensor.shape[axis:]))
    if sum(lengths) != math.prod(shape[axis:]):
        raise at.refuse(f"its inputs do not add up to its output {shape}")
    outer = math.prod(shape[:axis])
    at.layers.append(
        Concatenate(
            name=at.name(), place=at.place(), inputs=tuple(values), output=at.define(output), outer=outer,
            lengths=tuple(lengths),
        )
    )  # fmt: skip


def pad(at: Lowering) -> None:
    height, width, channels = at.image(at.tensor(0))
    paddings = at.constant(at.tensor(1), "its paddings", ("int32", "int64"))
    value, scale, zero = at.source(0)
    output = at.output()
    if at.activation_quantization(output) != (scale, zero):
        raise at.refuse("input and output have different scales")
    if paddings.shape != (4, 2) or np.any(paddings < 0) or np.any(paddings > 32767):
        raise at.refuse(f"its paddings {paddings.tolist()} are not four pairs of 0..32767")
    if np.any(paddings[0]) or np.any(paddings[3]):
        raise at.refuse("it pads batch or channels; only rows and columns are supported")
    (top, bottom), (left, right) = paddings[1].tolist(), paddings[2].tolist()
    at.expect_shape(output, (1, height + top + bottom, width + left + right, channels))
    at.layers.append(
        Pad(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), rows=height, width=width,
            channels=channels, top=top, bottom=bottom, left=left, right=right, fill=zero,
        )
    )  # fmt: skip


def mean(at: Lowering) -> None:
    """MEAN over all pixels: axes 1 and 2 of an image, or any that lie between leading ones and the rest."""
    tensor, output = at.tensor(0), at.output()
    axes = at.constant(at.tensor(1), "its axes", ("int32", "int64")).reshape(-1)
    value, input_scale, input_zero = at.source(0)
    output_scale, output_zero = at.activation_quantization(output)
    rank = len(tensor.shape)
    if len(axes) == 0 or np.any(axes < -rank) or np.any(axes >= rank):
        raise at.refuse(f"its axes {axes.tolist()} do not exist in shape {tensor.shape}")
    reduced = sorted({int(axis) % rank for axis in axes})
    first, behind = reduced[0], reduced[-1] + 1
    if math.prod(tensor.shape[:first]) != 1 or reduced != list(range(first, behind)) or behind == rank:
        raise at.refuse(f"it averages the axes {reduced} of shape {tensor.shape}; only rows and columns are supported")
    kept = (1,) * len(reduced) if at.operator.options.keep_dims else ()
    at.expect_shape(output, tensor.shape[:first] + kept + tensor.shape[behind:])
    pixels = math.prod(tensor.shape[first:behind])
    if not 0 < max(pixels, math.prod(tensor.shape[behind:])) <= 0xFFFF:
        raise at.refuse(f"it averages {pixels} pixels of shape {tensor.shape}; 65535 are the most")
    # TFLite divides the 31-bit mantissa by the count, after as many left shifts as keep it in 32 bits.
    plain = at.multiplier(float(input_scale) / float(output_scale))
    up = min(pixels.bit_length() - 1, 31 + plain.shift)
    at.layers.append(
        Mean(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), pixels=pixels,
            channels=math.prod(tensor.shape[behind:]), input_zero=input_zero, output_zero=output_zero,
            multiplier=Multiplier((plain.mantissa << up) // pixels, plain.shift - up),
        )
    )  # fmt: skip


def rescale(at: Lowering) -> None:
    """QUANTIZE from int8 to int8, RELU, RELU6 and RELU_N1_TO_1 on their own."""
    tensor, output = at.tensor(0), at.output()
    value, input_scale, input_zero = at.source(0)
    output_scale, output_zero = at.activation_quantization(output)
    at.expect_shape(output, tensor.shape)
    activation = "NONE" if at.operator.kind == "QUANTIZE" else at.operator.kind
    lowest, highest = at.clamp(activation, output_scale, output_zero)
    at.layers.append(
        Rescale(
            name=at.name(), place=at.place(), inputs=(value,), output=at.define(output), size=math.prod(output.shape),
            multiplier=at.multiplier(float(input_scale) / float(output_scale)), input_zero=input_zero,
            output_zero=output_zero, lowest=lowest, highest=highest,
        )
    )  # fmt: skip


def softmax(at: Lowering) -> None:
    tensor, output = at.tensor(0), at.output()
    value, input_scale, _ = at.source(0)
    if at.activation_quantization(output) != (np.float32(1 / 256), -128):
        raise at.refuse("its output must have scale 1/256 and zero point -128, as TFLite demands")
    at.expect_shape(output, tensor.shape)
    depth = tensor.shape[-1]
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
    "CONCATENATION": concatenation,
    "PAD": pad,
    "MEAN": mean,
    "RELU": rescale,
    "RELU6": rescale,
    "RELU_N1_TO_1": rescale,
    "QUANTIZE": rescale,
    "SOFTMAX": softmax,
    "RESHAPE": same_bytes,
    "SQUEEZE": same_bytes,
    "EXPAND_DIMS": same_bytes,
}
