"""The layer graph: what a candidate's network computes, framework-neutral, with shapes and costs but no weights.

A `Network` is a tuple of `Op`s in topological order, the last of which gives the class logits. The same graph is
walked by everything left of the `.tflite` border: `build` makes Keras models of it, `rewrite` prunes and rescales it,
the oracle asks it what a candidate needs before anything is trained. It needs neither TensorFlow nor weights.

Shapes are without the batch: maps are (height, width, channels), vectors (units,).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from tfsparse.candidate import Block, Candidate, Layer

WEIGHTED = ("conv", "depthwise", "dense")
POOLS = ("max_pool", "average_pool")
KINDS = ("input", *WEIGHTED, *POOLS, "add", "concat", "flatten")

Shape = tuple[int, ...]


class Infeasible(Exception):
    """A candidate that cannot be built, or cannot meet a budget, as was found before its training; the message says
    why. `ram`: the ram_model in bytes, where that was measured and is the reason."""

    def __init__(self, message: str, ram: int | None = None):
        super().__init__(message)
        self.ram = ram


@dataclass(frozen=True)
class Op:
    """One operation, named like the tensor it gives.

    `kernel` (height, width), `stride` and `padding` ("same" or "valid", as TensorFlow defines them) belong to
    convolutions and pooling; `channels` is a convolution's or dense layer's number of outputs. `activation` is "relu"
    or "linear". `normalised` marks weighted ops that a batch normalisation follows in training (it is folded before
    conversion). `dropout` is the rate applied to the op's output in training.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    channels: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "same"
    activation: str = "linear"
    normalised: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Network:
    """Operations in topological order. The first is the input, the last gives the logits."""

    ops: tuple[Op, ...]
    input_shape: Shape

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Each op's output shape."""
        shapes: dict[str, Shape] = {}
        for op in self.ops:
            shapes[op.name] = self.input_shape if op.kind == "input" else _output_shape(op, shapes)
        return shapes

    @cached_property
    def consumers(self) -> dict[str, tuple[Op, ...]]:
        """The ops that read each tensor."""
        found: dict[str, list[Op]] = {op.name: [] for op in self.ops}
        for op in self.ops:
            for name in op.inputs:
                found[name].append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    @property
    def output(self) -> Op:
        return self.ops[-1]

    def op(self, name: str) -> Op:
        return next(op for op in self.ops if op.name == name)

    def kernel_shape(self, op: Op) -> Shape:
        """A weighted op's kernel: (kh, kw, in, out) of a convolution, (kh, kw, channels) depthwise, (in, out) dense."""
        incoming = self.shapes[op.inputs[0]]
        if op.kind == "conv":
            return (*op.kernel, incoming[-1], op.channels)
        if op.kind == "depthwise":
            return (*op.kernel, incoming[-1])
        return (incoming[0], op.channels)

    @property
    def weight_count(self) -> int:
        """Weights before pruning, biases left out."""
        return sum(prod(self.kernel_shape(op)) for op in self.ops if op.kind in WEIGHTED)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one dense inference."""
        total = 0
        for op in self.ops:
            if op.kind in WEIGHTED:
                positions = 1 if op.kind == "dense" else prod(self.shapes[op.name][:2])
                total += positions * prod(self.kernel_shape(op))
        return total

    def least_memory(self, by_rows: bool) -> int:
        """Bytes that int8 execution holds at least where layers pass rows on as soon as they are made: the most that a
        single layer needs at a time. `by_rows`: the image itself comes row by row, too, else all of it is there before
        the first layer begins.

        A convolution needs a window's rows and makes one, which may begin in a row that dies; a dense layer, and a
        pooling into a single row, read all that comes before them.
        """
        needs = [0]
        for op in self.ops:
            if op.kind in ("input", "flatten", "concat"):
                continue
            source, made = self.shapes[op.inputs[0]], self.shapes[op.name]
            if op.kind == "dense":
                needs.append(prod(source) + prod(made))
                continue
            row, new = prod(source[1:]), prod(made[1:])
            if (op.inputs[0] == self.ops[0].name and not by_rows) or (op.kind in POOLS and made[0] == 1):
                rows = source[0]
            else:
                rows = min(op.kernel[0], source[0]) if op.kind in ("conv", "depthwise") else 1
            needs.append(rows * row + new - min(row, new))
        return max(needs)

    @property
    def memory_bound(self) -> int:
        """Bytes that layer-wise int8 execution holds at least: max over ops of inputs + output (flattening is free, and
        an addition writes over one of its inputs). Pruning whole channels can lower it, passing on rows as well: see
        `least_memory`."""
        needs = [0]
        for op in self.ops:
            if op.kind in ("input", "flatten"):
                continue
            inputs = [prod(self.shapes[name]) for name in op.inputs]
            needs.append(sum(inputs) if op.kind == "add" else sum(inputs) + prod(self.shapes[op.name]))
        return max(needs)


def _output_shape(op: Op, shapes: dict[str, Shape]) -> Shape:
    incoming = [shapes[name] for name in op.inputs]
    first = incoming[0]
    if op.kind == "dense":
        return (op.channels,)
    if op.kind == "flatten":
        return (prod(first),)
    if op.kind == "concat":
        return (*first[:-1], sum(shape[-1] for shape in incoming))
    if op.kind == "add":
        if len(set(incoming)) != 1:
            raise ValueError(f"{op.name} adds different shapes: {incoming}")
        return first
    channels = op.channels if op.kind == "conv" else first[-1]
    height, width = (_positions(size, kernel, op) for size, kernel in zip(first[:2], op.kernel, strict=True))
    return (height, width, channels)


def _positions(size: int, kernel: int, op: Op) -> int:
    """Output positions along one axis, as TensorFlow's SAME and VALID give them."""
    if op.padding == "same":
        return -(-size // op.stride)
    if size < kernel:
        raise Infeasible(f"{op.name}: a window of {kernel} does not fit a map of {size}")
    return (size - kernel) // op.stride + 1


def network_of(candidate: Candidate, input_shape: Shape, classes: int) -> Network:
    """The candidate's network for images of `input_shape` (height, width, channels); `Infeasible` where it has none."""
    height, width, channels = input_shape
    if candidate.grey and channels == 3:
        channels = 1
    builder = _Builder((height, width, channels), candidate)
    tensor = builder.add(Op("image", "input"))
    if candidate.input_factor > 1:
        tensor = builder.pool("shrink", tensor, candidate.input_pooling, candidate.input_factor)
    scales = []
    for index, block in enumerate(candidate.blocks, start=1):
        tensor = builder.block(f"b{index}", tensor, block)
        scales.append(tensor)
    vectors = [builder.global_average(f"scale{i}", scale) for i, scale in enumerate(scales[:-1], start=1)]
    vectors = vectors if candidate.multi_scale else []
    vectors.append(builder.head(tensor))
    tensor = builder.add(Op("scales", "concat", tuple(vectors))) if len(vectors) > 1 else vectors[0]
    for index, units in enumerate(candidate.dense, start=1):
        tensor = builder.add(Op(f"d{index}", "dense", (tensor,), channels=units, activation="relu", normalised=True))
    builder.drop_out(tensor, candidate.training.dropout)
    builder.add(Op("logits", "dense", (tensor,), channels=classes))
    return builder.network()


class _Builder:
    """Collects ops in order; each method returns the name of the tensor that it made."""

    def __init__(self, input_shape: Shape, candidate: Candidate):
        self.input_shape = input_shape
        self.candidate = candidate
        self.ops: list[Op] = []
        self.shapes: dict[str, Shape] = {}

    def network(self) -> Network:
        # Global averages of scales are made before it is known whether they are wanted.
        wanted = {self.ops[-1].name}
        for op in reversed(self.ops):
            if op.name in wanted:
                wanted.update(op.inputs)
        return Network(tuple(op for op in self.ops if op.name in wanted), self.input_shape)

    def add(self, op: Op) -> str:
        shape = self.input_shape if op.kind == "input" else _output_shape(op, self.shapes)
        self.ops.append(op)
        self.shapes[op.name] = shape
        return op.name

    def drop_out(self, tensor: str, rate: float) -> None:
        self.ops = [replace(op, dropout=rate) if op.name == tensor else op for op in self.ops]

    def pool(self, name: str, tensor: str, pooling: str, factor: int) -> str:
        op = Op(name, f"{pooling}_pool", (tensor,), kernel=(factor, factor), stride=factor, padding="valid")
        return self.add(op)

    def block(self, name: str, tensor: str, block: Block) -> str:
        entry = tensor
        stride = block.factor if block.downsampling == "stride" else 1
        for index, layer in enumerate(block.layers, start=1):
            last = index == len(block.layers)
            activation = "linear" if last and block.residual else "relu"
            tensor = self.layer(f"{name}_l{index}", tensor, layer, stride if last else 1, activation)
        if block.residual:
            shortcut = entry
            if self.shapes[entry] != self.shapes[tensor]:
                channels = self.shapes[tensor][-1]
                shortcut = self.add(
                    Op(f"{name}_shortcut", "conv", (entry,), channels=channels, stride=stride, normalised=True)
                )
            tensor = self.add(Op(f"{name}_add", "add", (tensor, shortcut), activation="relu"))
        if block.downsampling != "stride" and block.factor > 1:
            tensor = self.pool(f"{name}_pool", tensor, block.downsampling, block.factor)
        return tensor

    def layer(self, name: str, tensor: str, layer: Layer, stride: int, activation: str) -> str:
        kernel = (layer.kernel, layer.kernel)
        conv = {"channels": layer.filters, "activation": activation, "normalised": True}
        if layer.convolution == "separable":
            inner = "linear" if self.candidate.linear_depthwise else "relu"
            tensor = self.add(
                Op(f"{name}_depthwise", "depthwise", (tensor,), kernel=kernel, stride=stride, activation=inner,
                   normalised=True)
            )  # fmt: skip
            return self.add(Op(f"{name}_pointwise", "conv", (tensor,), **conv))
        if layer.convolution == "cut":
            channels = max(1, round(self.shapes[tensor][-1] * layer.cut))
            tensor = self.add(
                Op(f"{name}_cut", "conv", (tensor,), channels=channels, activation="relu", normalised=True)
            )
        return self.add(Op(f"{name}_conv", "conv", (tensor,), kernel=kernel, stride=stride, **conv))

    def head(self, tensor: str) -> str:
        if self.candidate.head == "average":
            return self.global_average("pooled", tensor)
        if self.candidate.head == "depthwise":
            window = self.shapes[tensor][:2]
            tensor = self.add(
                Op("pooled", "depthwise", (tensor,), kernel=window, padding="valid", activation="relu",
                   normalised=True)
            )  # fmt: skip
        return self.add(Op("features", "flatten", (tensor,)))

    def global_average(self, name: str, tensor: str) -> str:
        # As a pooling and a flattening: TFLite Micro's older releases have no int8 MEAN.
        window = self.shapes[tensor][:2]
        pooled = self.add(Op(f"{name}_average", "average_pool", (tensor,), kernel=window, padding="valid"))
        return self.add(Op(f"{name}_features", "flatten", (pooled,)))
