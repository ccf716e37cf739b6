"""A network of every layer that has weights, whose values are what a test wants."""

from __future__ import annotations

import numpy as np

from support.tflite_writer import Writer

# What the weights of a network are: values that occur, and the share of zeros.
KINDS = {
    "random": (range(-127, 128), 0.0),
    "sparse": (range(-127, 128), 0.85),
    "few values": (range(-100, 101, 16), 0.6),
    "few bits": (range(-4, 4), 0.3),
    "seven levels": ((0, 0, 0, 0, 1, 1, 1, -1, -1, -1, 2, -2, 3, -3), 0.0),
    "two values": ((-127, 127), 0.5),
    "nearly none": ((77,), 0.996),
}


def network(kind: str | dict[str, str], size: int = 8, seed: int = 0) -> bytes:
    """A convolution, a depthwise and a pointwise one, and a dense layer. kind: of all layers, or by layer."""
    rng = np.random.default_rng([seed, *str(kind).encode()])
    model = Writer()
    x, scale = model.input((1, 7, 6, 3), 0.05, 4), 0.05

    def layer(name: str, operator: str, x: int, shape: tuple[int, ...], out: tuple[int, ...], **options: int) -> int:
        nonlocal scale
        values, zeros = KINDS[kind if isinstance(kind, str) else kind[name]]
        axis = 3 if operator == "DEPTHWISE_CONV_2D" else 0
        channels = shape[axis]
        weights = rng.choice(np.array(values), shape) * (rng.random(shape) >= zeros)
        scales = np.exp(rng.uniform(-4, -2, channels)).astype(np.float32)
        w = model.tensor(shape, scales, data=weights, axis=axis)
        bias = rng.integers(-2000, 2000, channels)
        b = model.tensor((channels,), scales * np.float32(scale), dtype="int32", data=bias)
        # Outputs of about a third of the range, so that few of them are clamped.
        size = np.abs(np.array(values)).mean() * (weights.any() and np.count_nonzero(weights) / channels) ** 0.5
        scale = float(np.float32(scale * 0.06 * max(size, 10) * 2))
        y = model.tensor(out, scale, int(rng.integers(-20, 20)))
        model.operator(operator, [x, w, b], [y], **options)
        return y

    step = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    x = layer("conv", "CONV_2D", x, (size, 3, 3, 3), (1, 7, 6, size), fusedActivationFunction=1, **step)
    x = layer("depthwise", "DEPTHWISE_CONV_2D", x, (1, 3, 3, size), (1, 7, 6, size), depthMultiplier=1, **step)
    stride = step | {"strideH": 2, "strideW": 2}
    x = layer("pointwise", "CONV_2D", x, (6, 1, 1, size), (1, 4, 3, 6), **stride)
    flat = model.tensor((1, 72), scale)
    model.graph.tensors[flat].quantization = model.graph.tensors[x].quantization
    model.operator("RESHAPE", [x, model.integers([1, 72])], [flat])
    x = layer("dense", "FULLY_CONNECTED", flat, (size + 2, 72), (1, size + 2))
    return model.bytes([x])
