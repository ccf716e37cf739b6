"""A candidate drawn: its layer graph from the image down to the logits, shortcuts and scales as arcs beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from tfsparse.network import WEIGHTED, Network, Op, Shape

WIDTH, BOX, THIN, GAP, LANE = 320, 38, 28, 12, 15

_TIMES = "\u00d7"
_BLOCK = re.compile(r"b(\d+)_")


@dataclass(frozen=True)
class Box:
    """One operation. `bytes_share` is its output's int8 bytes over the largest output's, in 0..1."""

    kind: str
    title: str
    detail: str
    shape: str
    y: float
    height: float
    bytes_share: float


@dataclass(frozen=True)
class Arc:
    """A path beside the main one, from one box's bottom to another's side. `x` is its lane."""

    y_from: float
    y_to: float
    x: float
    x_box: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The background of one block."""

    title: str
    y: float
    height: float


@dataclass(frozen=True)
class Picture:
    """Everything laid out, in the units of the SVG's view box."""

    left: float
    width: float
    height: float
    boxes: tuple[Box, ...] = ()
    arcs: tuple[Arc, ...] = ()
    frames: tuple[Frame, ...] = ()
    arrows: tuple[tuple[float, float], ...] = field(default=())
    """From one box's bottom to the next one's top."""

    @property
    def total_width(self) -> float:
        lanes = [arc.x for arc in self.arcs if arc.x > self.left]
        # An outer lane's label lies outside it.
        return max([self.left + self.width + 6, *(lane + 14 for lane in lanes)])


def lay_out(network: Network) -> Picture:
    """The picture of a network: operations on the way that carries the data down, everything else as labelled arcs."""
    main = _main_path(network)
    branches = list(_branches(network, main))
    shortcuts = [branch for branch in branches if branch[2].kind == "add"]
    scales = [branch for branch in branches if branch[2].kind != "add"]
    left = LANE * 2.0 if shortcuts else 4.0

    shown = [op for op in main if not _is_idle_flattening(network, op)]
    largest = max(prod(network.shapes[op.name]) for op in shown)
    boxes: dict[str, Box] = {}
    y = 4.0
    for previous, op in zip([None, *shown], shown, strict=False):
        # Room for a block's name where one begins.
        if _block_of(op) and (previous is None or _block_of(previous) != _block_of(op)):
            y += 16
        height = BOX if op.kind in WEIGHTED else THIN
        share = prod(network.shapes[op.name]) / largest
        detail = _detail(network, op)
        boxes[op.name] = Box(op.kind, _title(op), detail, _shape(network.shapes[op.name]), y, height, share)
        y += height + GAP

    # An arc may begin at an op that is not shown: it begins at what was flattened then.
    def box_of(op: Op) -> Box:
        while op.name not in boxes:
            op = network.op(op.inputs[0])
        return boxes[op.name]

    arcs = [_arc(box_of(source), box_of(target), left - LANE, left, ops) for source, ops, target in shortcuts]
    for lane, (source, ops, target) in enumerate(scales, start=1):
        arcs.append(_arc(box_of(source), box_of(target), left + WIDTH + lane * LANE, left + WIDTH, ops))
    drawn = list(boxes.values())
    return Picture(
        left=left,
        width=WIDTH,
        height=y,
        boxes=tuple(drawn),
        arcs=tuple(arcs),
        frames=tuple(_frames(shown, boxes)),
        arrows=tuple((a.y + a.height, b.y) for a, b in pairwise(drawn)),
    )


def _main_path(network: Network) -> list[Op]:
    """From the image to the logits: through the layers of a residual block, and through the last of several scales."""
    path = [network.output]
    while path[-1].inputs:
        index = -1 if path[-1].kind == "concat" else 0
        path.append(network.op(path[-1].inputs[index]))
    return path[::-1]


def _branches(network: Network, main: list[Op]) -> Iterator[tuple[Op, list[Op], Op]]:
    """(where it leaves the main path, the ops on it, where it comes back) of every side path."""
    names = {op.name for op in main}
    for target in main:
        for op_name in target.inputs:
            if target.kind == "add" and op_name == target.inputs[0]:
                continue
            ops: list[Op] = []
            op = network.op(op_name)
            while op.name not in names:
                ops.append(op)
                op = network.op(op.inputs[0])
            if ops or target.kind == "add":
                yield op, ops[::-1], target


def _arc(source: Box, target: Box, x: float, x_box: float, ops: list[Op]) -> Arc:
    label = "; ".join(_title(op) for op in ops if op.kind != "flatten")
    return Arc(source.y + source.height - 5, target.y + target.height / 2, x, x_box, label)


def _frames(shown: list[Op], boxes: dict[str, Box]) -> Iterator[Frame]:
    blocks: dict[str, list[Box]] = {}
    for op in shown:
        if block := _block_of(op):
            blocks.setdefault(block, []).append(boxes[op.name])
    for block, members in blocks.items():
        top, bottom = members[0].y, members[-1].y + members[-1].height
        yield Frame(f"block {block}", top - 16, bottom - top + 20)


def _block_of(op: Op) -> str | None:
    match = _BLOCK.match(op.name)
    return match[1] if match else None


def _is_idle_flattening(network: Network, op: Op) -> bool:
    """Flattening a map of one pixel says nothing."""
    return op.kind == "flatten" and prod(network.shapes[op.inputs[0]][:-1]) == 1


def _title(op: Op) -> str:
    window = f"{op.kernel[0]}{_TIMES}{op.kernel[1]}"
    stride = f" /{op.stride}" if op.stride > 1 else ""
    match op.kind:
        case "input":
            return "image"
        case "conv":
            return f"conv {window}{stride}, {op.channels} filter{'s' * (op.channels != 1)}"
        case "depthwise":
            return f"depthwise {window}{stride}"
        case "dense":
            return f"dense, {op.channels} units"
        case "max_pool" | "average_pool":
            return f"{op.kind.removesuffix('_pool')} pooling {window}"
        case "concat":
            return "concatenate scales"
        case "add":
            return "add" + (" \u00b7 ReLU" if op.activation == "relu" else "")
        case _:
            return op.kind


def _detail(network: Network, op: Op) -> str:
    if op.kind not in WEIGHTED:
        return ""
    weights = prod(network.kernel_shape(op))
    relu = " · ReLU" if op.activation == "relu" else ""
    return f"{weights:,} weight{'s' * (weights != 1)}{relu}"


def _shape(shape: Shape) -> str:
    return _TIMES.join(str(size) for size in shape)
