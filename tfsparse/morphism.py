"""Network morphisms: a candidate's neighbours, each of which changes one thing.

METHOD.md lists them: block +-1, layer +-1, kind of convolution, filters, kernel, downsampling, channel cut, dense
width, dense layer +-1, residual, multi-scale, head, input, and each knob of training and pruning. `FAMILIES` names
them; a morph draws what is left open (which layer, how much) from a random generator.

A morph makes a candidate of the space or none at all: what it inherits is canonical, what it adds is inside the ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from tfsparse.candidate import MAX_DENSE, MAX_LAYERS, Block, Candidate, Layer, Training
from tfsparse.space import DesignSpace, Parameter


@dataclass(frozen=True)
class Morph:
    """A neighbour, and the family of the change that led to it."""

    family: str
    candidate: Candidate


def neighbour(
    space: DesignSpace, candidate: Candidate, rng: np.random.Generator, families: Sequence[str] | None = None
) -> Morph | None:
    """One random neighbour of the candidate, by one of these families (all where none are named).

    None where the families drawn do not apply to it (a single block cannot lose a block).
    """
    names = list(families or FAMILIES)
    for place in rng.permutation(len(names)).tolist():
        name = names[place]
        changed = FAMILIES[name](space, candidate, rng)
        if changed is None:
            continue
        changed = space.canonical(changed)
        if changed != candidate:
            return Morph(name, changed)
    return None


Change = Callable[[DesignSpace, Candidate, np.random.Generator], Candidate | None]


def _pick(rng: np.random.Generator, items: Sequence):
    return items[int(rng.integers(len(items)))]


def _other(space: DesignSpace, name: str, value, rng: np.random.Generator):
    """Another value of a parameter: any other choice, a step along an order, or a nearby number."""
    parameter = space.parameter(name)
    if parameter.categorical or parameter.kind == "boolean":
        return _pick(rng, [choice for choice in parameter.domain if choice != value])
    if parameter.kind == "float" or len(parameter.domain) > 10:
        return _near(parameter, value, rng)
    domain = parameter.domain
    place = domain.index(value)
    return _pick(rng, domain[max(place - 1, 0) : place] + domain[place + 1 : place + 2])


def _near(parameter: Parameter, value: float, rng: np.random.Generator) -> int | float:
    """A number some way up or down the parameter's own scale, inside its range; an int is never the same."""
    span = np.log(parameter.high / parameter.low) if parameter.log else parameter.high - parameter.low
    step = span * rng.normal(0.0, 0.15)
    moved = value * np.exp(step) if parameter.log else value + step
    moved = min(max(float(f"{moved:.3g}"), parameter.low), parameter.high)
    if parameter.kind == "int":
        moved = round(moved)
        if moved == value:
            moved = value + 1 if (step > 0 and value < parameter.high) or value == parameter.low else value - 1
    return moved


def _with_block(candidate: Candidate, at: int, *blocks: Block) -> Candidate:
    """The candidate with the block at `at` replaced by these (none removes it)."""
    return replace(candidate, blocks=candidate.blocks[:at] + blocks + candidate.blocks[at + 1 :])


def _with_layer(candidate: Candidate, at: int, number: int, *layers: Layer) -> Candidate:
    block = candidate.blocks[at]
    changed = replace(block, layers=block.layers[:number] + layers + block.layers[number + 1 :])
    return _with_block(candidate, at, changed)


def _layers(candidate: Candidate) -> list[tuple[int, int]]:
    return [(b, n) for b, block in enumerate(candidate.blocks) for n in range(len(block.layers))]


def _add_block(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    if len(candidate.blocks) == space.max_blocks:
        return None
    at = int(rng.integers(len(candidate.blocks)))
    block = candidate.blocks[at]
    # Behind its neighbour and as wide, at the same resolution and residual: the likeliest to do no harm.
    layer = Layer(_pick(rng, ("plain", "separable")), block.layers[-1].filters, 3)
    return _with_block(candidate, at, block, Block((layer,), residual=True))


def _remove_block(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    if len(candidate.blocks) == 1:
        return None
    return _with_block(candidate, int(rng.integers(len(candidate.blocks))))


def _add_layer(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    room = [b for b, block in enumerate(candidate.blocks) if len(block.layers) < MAX_LAYERS]
    if not room:
        return None
    at = _pick(rng, room)
    number = int(rng.integers(len(candidate.blocks[at].layers)))
    layer = candidate.blocks[at].layers[number]
    added = Layer(_pick(rng, ("plain", "separable")), layer.filters, 3)
    return _with_layer(candidate, at, number, layer, added)


def _remove_layer(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    deep = [(b, n) for b, n in _layers(candidate) if len(candidate.blocks[b].layers) > 1]
    if not deep:
        return None
    return _with_layer(candidate, *_pick(rng, deep))


def _convolution(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    at, number = _pick(rng, _layers(candidate))
    layer = candidate.blocks[at].layers[number]
    convolution = _other(space, "block1/layer1/convolution", layer.convolution, rng)
    cut = 0.5 if convolution == "cut" else 1.0
    return _with_layer(candidate, at, number, replace(layer, convolution=convolution, cut=cut))


def _filters(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    at, number = _pick(rng, _layers(candidate))
    layer = candidate.blocks[at].layers[number]
    filters = _other(space, "block1/layer1/filters", layer.filters, rng)
    return _with_layer(candidate, at, number, replace(layer, filters=filters))


def _kernel(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    at, number = _pick(rng, _layers(candidate))
    layer = candidate.blocks[at].layers[number]
    return _with_layer(
        candidate, at, number, replace(layer, kernel=_other(space, "block1/layer1/kernel", layer.kernel, rng))
    )


def _cut(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    cuts = [(b, n) for b, n in _layers(candidate) if candidate.blocks[b].layers[n].convolution == "cut"]
    if not cuts:
        return None
    at, number = _pick(rng, cuts)
    layer = candidate.blocks[at].layers[number]
    return _with_layer(candidate, at, number, replace(layer, cut=_other(space, "block1/layer1/cut", layer.cut, rng)))


def _factor(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    at = int(rng.integers(len(candidate.blocks)))
    block = candidate.blocks[at]
    return _with_block(candidate, at, replace(block, factor=_other(space, "block1/factor", block.factor, rng)))


def _downsampling(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    smaller = [b for b, block in enumerate(candidate.blocks) if block.factor > 1]
    if not smaller:
        return None
    at = _pick(rng, smaller)
    block = candidate.blocks[at]
    other = _other(space, "block1/downsampling", block.downsampling, rng)
    return _with_block(candidate, at, replace(block, downsampling=other))


def _residual(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    at = int(rng.integers(len(candidate.blocks)))
    block = candidate.blocks[at]
    return _with_block(candidate, at, replace(block, residual=not block.residual))


def _add_dense(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    if len(candidate.dense) == MAX_DENSE:
        return None
    units = space.parameter("dense1/units").draw(rng.random())
    at = int(rng.integers(len(candidate.dense) + 1))
    return replace(candidate, dense=(*candidate.dense[:at], units, *candidate.dense[at:]))


def _remove_dense(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    if not candidate.dense:
        return None
    at = int(rng.integers(len(candidate.dense)))
    return replace(candidate, dense=candidate.dense[:at] + candidate.dense[at + 1 :])


def _dense_units(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
    if not candidate.dense:
        return None
    at = int(rng.integers(len(candidate.dense)))
    units = _other(space, "dense1/units", candidate.dense[at], rng)
    return replace(candidate, dense=(*candidate.dense[:at], units, *candidate.dense[at + 1 :]))


def _field(name: str, exists: Callable[[DesignSpace, Candidate], bool] = lambda space, candidate: True) -> Change:
    """A change of one of the candidate's own fields, where it exists."""

    def change(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
        if not exists(space, candidate):
            return None
        return replace(candidate, **{name: _other(space, name, getattr(candidate, name), rng)})

    return change


def _knob(name: str) -> Change:
    """A change of one knob of training or pruning, where it exists."""

    def change(space: DesignSpace, candidate: Candidate, rng: np.random.Generator) -> Candidate | None:
        full = f"training/{name}"
        if full not in space.values(candidate) or (name == "pruning" and len(space.parameter(full).domain) < 2):
            return None
        other = _other(space, full, getattr(candidate.training, name), rng)
        return replace(candidate, training=replace(candidate.training, **{name: other}))

    return change


ARCHITECTURE: dict[str, Change] = {
    "add block": _add_block,
    "remove block": _remove_block,
    "add layer": _add_layer,
    "remove layer": _remove_layer,
    "convolution": _convolution,
    "filters": _filters,
    "kernel": _kernel,
    "cut": _cut,
    "factor": _factor,
    "downsampling": _downsampling,
    "residual": _residual,
    "add dense": _add_dense,
    "remove dense": _remove_dense,
    "dense units": _dense_units,
    "head": _field("head"),
    "multi scale": _field("multi_scale", lambda space, candidate: len(candidate.blocks) > 1),
    "input factor": _field("input_factor"),
    "input pooling": _field("input_pooling", lambda space, candidate: candidate.input_factor > 1),
    "grey": _field("grey", lambda space, candidate: space.input_shape[-1] == 3),
    "linear depthwise": _field("linear_depthwise"),
}
TRAINING: dict[str, Change] = {f"training {field.name}": _knob(field.name) for field in fields(Training)}
FAMILIES: dict[str, Change] = {**ARCHITECTURE, **TRAINING}
