"""What the text of the C files is made of, and the small pieces of text that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfsparse.compiler.counted import Counted
from tfsparse.compiler.encode import Encoded
from tfsparse.compiler.layers import Network
from tfsparse.compiler.rows import Flow
from tfsparse.compiler.schedule import Plan


def wants_small_kernels(optimize: str, fed: bool) -> bool:
    """Whether kernels should take little flash and stack rather than be fast: who feeds inputs by rows lacks RAM."""
    return optimize == "size" or (fed and optimize != "speed")


@dataclass(frozen=True)
class Program:
    """Everything that the text is made of."""

    name: str
    network: Network
    encoded: dict[str, Encoded]  # by layer name
    flow: Flow
    plan: Plan
    optimize: str
    counted: Counted
    kernels: dict[str, str]  # C kernels of layers with weights, by layer name

    @property
    def small(self) -> bool:
        return wants_small_kernels(self.optimize, self.flow.fed)

    @property
    def payload(self) -> int:
        return sum(encoded.payload for encoded in self.encoded.values())


def float_literal(x: float) -> str:
    """The shortest C literal that gives the float32 `x` again."""
    return f"{np.float32(x)!s}f"


def shape_text(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def comment(text: str) -> str:
    """`text` safe inside a C comment and on any console: names come from the file."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return printable[:120].replace("*/", "* /").replace("/*", "/ *")
