"""The design space: which candidates there are, how to draw one, and how the optimiser sees one.

The space is a table of `Parameter`s, some of which exist only under conditions (a third block's filters exist only
where there is a third block). Everything else reads the table: random and quasi-random candidates, Keras Tuner's
hyperparameters, and the encoding that the Gaussian processes see. Ranges are METHOD.md's.

    space = DesignSpace((28, 28, 1), classes=10)
    candidate = space.sample(np.random.default_rng(0))
    space.candidate(space.values(candidate)) == candidate
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from math import isfinite, log2, prod, sqrt
from typing import Any

import numpy as np

from tfsparse.budgets import Budgets
from tfsparse.candidate import (
    CONVOLUTIONS,
    DOWNSAMPLINGS,
    FULL_BITS,
    HEADS,
    MAX_BLOCKS,
    MAX_DENSE,
    MAX_LAYERS,
    PRUNINGS,
    SCHEDULES,
    WEIGHT_BITS,
    Block,
    Candidate,
    Layer,
    Training,
)
from tfsparse.network import WEIGHTED, Infeasible, Network, Shape, network_of

Value = int | float | str | bool
Values = dict[str, Value]

# An emulated chip runs some ten instructions a multiply-accumulate: more of them than this would cost minutes to
# train and seconds to measure, and no microcontroller of this class would run it at a useful rate.
MAX_MACS = 2_000_000

# What the compiled tables can shrink to at best: next to nothing where weights are pruned (the gaps between those that
# stay are coded); where they are not, a fifth of the int8 weights being zero by chance is already rare.
_PRUNED_BYTES_A_WEIGHT = 1 / 100
_DENSE_BYTES_A_WEIGHT = 0.8

# What `guesses` supposes: bytes of kernels and code, bytes that remain of a weight after pruning, bytes of stack; and
# how the logarithm of the error goes with every doubling of the MACs, of the classifier's inputs and of the narrowest
# layer (about two thirds of a least-squares fit to 36 random candidates trained on digits).
_CODE_GUESS = 1500
_PRUNED_GUESS = 0.4
_STACK_GUESS = 200
_ERROR_BY_MACS = -0.15
_ERROR_BY_VECTOR = -0.1
_ERROR_BY_NARROWEST = -0.15

# What `likely_ram` supposes. A network that gets its image whole holds, beside the stack, between the least that
# streaming rows does and what layers one after the other do: the weights of their logarithms. Of 25 untrained
# candidates for images of 28x28 that were measured it held 1.03 times so much in the geometric mean, of 15 for 8x8 1.23
# times (deviations of the logarithm 0.28 and 0.23); by layers one after the other 0.41 and 0.78 times (0.68 and 0.31).
_STREAMED = (0.7, 0.3)

_BLOCKS_PRIOR = (4, 8, 6, 2, 2, 1, 1)
_BITS_PRIOR = {3: 1, 4: 3, 6: 1, 8: 3}
_FRACTIONS = (0.125, 0.25, 0.375, 0.5, 0.75)
_DISTILLATIONS = (0.0, 0.3, 0.6, 0.9)


@dataclass(frozen=True)
class Parameter:
    """One axis of the space.

    `kind` is "int" or "float" (from `low` to `high`), "choice" (one of `choices`, without an order unless `ordered`) or
    "boolean". `log`: its numbers lie on a logarithmic scale. `conditions` are (parent's name, parent's values): the
    parameter exists where all hold. `group`: parameters that mean the same in different places (every layer's filters)
    share it, and with it their length scale in the surrogate. `weights` is the prior over the values of a choice, a
    boolean or a short int; `mode` the likeliest number of a float, whose prior falls from there to nothing at both ends
    (a triangle on its scale; without a mode it is even).
    """

    name: str
    group: str
    kind: str
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Value, ...] = ()
    ordered: bool = False
    weights: tuple[float, ...] = ()
    mode: float | None = None
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    @property
    def domain(self) -> tuple[Value, ...]:
        """The values of a parameter that has few, in order."""
        if self.kind == "int":
            return tuple(range(int(self.low), int(self.high) + 1))
        return (False, True) if self.kind == "boolean" else self.choices

    @cached_property
    def _edges(self) -> list[float]:
        return (np.cumsum(self.weights) / sum(self.weights)).tolist()

    @property
    def categorical(self) -> bool:
        return self.kind == "choice" and not self.ordered

    def exists(self, values: Mapping[str, Value]) -> bool:
        return all(values.get(parent) in wanted for parent, wanted in self.conditions)

    def draw(self, u: float) -> Value:
        """The prior's quantile at u in [0, 1): small numbers are likelier where the scale is logarithmic."""
        if self.weights:
            return self.domain[min(bisect_right(self._edges, u), len(self.weights) - 1)]
        if self.kind in ("choice", "boolean"):
            return self.domain[int(u * len(self.domain))]
        if self.mode is not None:
            peak = self.unit(self.mode)
            u = sqrt(u * peak) if u < peak else 1 - sqrt((1 - u) * (1 - peak))
        value = self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)
        if self.kind == "int":
            return round(value)
        # Three digits are plenty, and keep records readable.
        return min(max(float(f"{value:.3g}"), self.low), self.high)

    def unit(self, value: Value) -> float:
        """Where the value lies in [0, 1]; for a categorical parameter the index of the choice."""
        if self.kind in ("choice", "boolean"):
            index = self.domain.index(value)
            return float(index) if self.categorical else index / (len(self.domain) - 1)
        if self.log:
            return log2(value / self.low) / log2(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def holds(self, value: Value) -> bool:
        """Whether the value is one that this parameter can take."""
        if self.kind in ("choice", "boolean"):
            return value in self.domain and type(value) is type(self.domain[0])
        wanted = int if self.kind == "int" else float
        return type(value) is wanted and self.low <= value <= self.high

    def nearest(self, value: Any) -> Value | None:
        """The value of this parameter that lies nearest to a number; None where it has no order, or that is none."""
        if self.categorical or self.kind == "boolean" or type(value) not in (int, float) or not isfinite(value):
            return None
        if self.kind == "float":
            return float(min(max(value, self.low), self.high))
        scale = log2 if self.log else float
        # Below the range, a number may have no logarithm.
        clipped = min(max(value, self.domain[0]), self.domain[-1])
        return min(self.domain, key=lambda one: abs(scale(one) - scale(clipped)))


@dataclass(frozen=True)
class Encoded:
    """N candidates as the surrogate sees them.

    `unit` [N, P] each parameter's place in [0, 1] (categorical: the index of the choice; 0 where it does not exist),
    `active` [N, P] whether it exists, `features` [N, F] numbers computed from the network's shapes, without training.
    """

    unit: np.ndarray
    active: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.unit)

    def __getitem__(self, rows) -> Encoded:
        return Encoded(self.unit[rows], self.active[rows], self.features[rows])


class DesignSpace:
    """Every candidate for images of `input_shape` (height, width, channels) and a number of classes.

    Candidates have up to `max_blocks` blocks, weights of any of these `weight_bits` (where it is one, that is no axis
    of the space), and any of these kinds of pruning.
    `budgets` are hard: `refusal` turns away a candidate that cannot meet them by its shapes alone. `by_rows`: the image
    is fed to it row by row.
    """

    def __init__(
        self,
        input_shape: Shape,
        classes: int,
        budgets: Budgets | None = None,
        max_macs: int = MAX_MACS,
        *,
        by_rows: bool = False,
        max_blocks: int = MAX_BLOCKS,
        weight_bits: tuple[int, ...] = WEIGHT_BITS,
        prunings: tuple[str, ...] = PRUNINGS,
    ):
        self.input_shape = tuple(int(size) for size in input_shape)
        self.classes = int(classes)
        self.budgets = budgets or Budgets()
        self.max_macs = max_macs
        self.by_rows = by_rows
        self.max_blocks = max_blocks
        self.parameters = tuple(_parameters(self.input_shape[-1] == 3, max_blocks, tuple(weight_bits), tuple(prunings)))
        self._index = {parameter.name: i for i, parameter in enumerate(self.parameters)}
        self._judged: dict[Candidate, tuple[Network | None, str | None]] = {}
        self._rows: dict[Candidate, tuple[np.ndarray, np.ndarray]] = {}

    def parameter(self, name: str) -> Parameter:
        return self.parameters[self._index[name]]

    def _knobs(self, pruning: str) -> tuple[str, ...]:
        """The names of the fields of `Training` that are axes here and have an effect with this kind of pruning."""
        return tuple(
            field.name
            for field in fields(Training)
            if f"training/{field.name}" in self._index and pruning in _PRUNING_KNOBS.get(field.name, PRUNINGS)
        )

    # Drawing candidates

    @property
    def dimensions(self) -> int:
        return len(self.parameters)

    def at(self, u: Sequence[float]) -> Candidate:
        """The candidate at a point of the unit cube [0, 1)^dimensions, under the prior; what does not exist ignores
        its u."""
        values: Values = {}
        for parameter, place in zip(self.parameters, u, strict=True):
            if parameter.exists(values):
                values[parameter.name] = parameter.draw(float(place))
        return self.candidate(values)

    def sample(self, rng: np.random.Generator) -> Candidate:
        """A candidate drawn from the prior, which leans to small networks. It may still be one that `refusal` turns
        away."""
        return self.at(rng.random(self.dimensions))

    # Candidates <-> hyperparameter values

    def declare(self, hp) -> None:
        """Register the space with Keras Tuner's `HyperParameters`, conditional scopes included."""
        for parameter in self.parameters:
            with ExitStack() as scopes:
                for parent, wanted in parameter.conditions:
                    scopes.enter_context(hp.conditional_scope(parent, list(wanted)))
                name = parameter.name
                sampling = "log" if parameter.log else "linear"
                if parameter.kind == "int":
                    hp.Int(name, int(parameter.low), int(parameter.high), sampling=sampling)
                elif parameter.kind == "float":
                    hp.Float(name, parameter.low, parameter.high, sampling=sampling)
                elif parameter.kind == "boolean":
                    hp.Boolean(name)
                else:
                    hp.Choice(name, list(parameter.choices), ordered=parameter.ordered)

    def candidate(self, values: Mapping[str, Value]) -> Candidate:
        """The candidate with these hyperparameter values; those that do not exist under the others are ignored."""
        blocks = []
        for b in range(1, values["blocks"] + 1):
            layers = []
            for number in range(1, values[f"block{b}/layers"] + 1):
                at = f"block{b}/layer{number}"
                convolution = values[f"{at}/convolution"]
                cut = values[f"{at}/cut"] if convolution == "cut" else 1.0
                layers.append(Layer(convolution, values[f"{at}/filters"], values[f"{at}/kernel"], cut))
            factor = values[f"block{b}/factor"]
            downsampling = values[f"block{b}/downsampling"] if factor > 1 else Block(()).downsampling
            blocks.append(Block(tuple(layers), downsampling, factor, values[f"block{b}/residual"]))
        training = {name: values[f"training/{name}"] for name in self._knobs(values["training/pruning"])}
        factor = values["input_factor"]
        return self.canonical(
            Candidate(
                blocks=tuple(blocks),
                head=values["head"],
                multi_scale=values["multi_scale"] if len(blocks) > 1 else False,
                dense=tuple(values[f"dense{i}/units"] for i in range(1, values["dense"] + 1)),
                grey=values.get("grey", False),
                input_factor=factor,
                input_pooling=values["input_pooling"] if factor > 1 else Candidate(()).input_pooling,
                linear_depthwise=values["linear_depthwise"],
                training=Training(**training),
            )
        )

    def values(self, candidate: Candidate) -> Values:
        """The hyperparameter values of a candidate of this space, those that exist only."""
        values: Values = {"blocks": len(candidate.blocks)}
        for b, block in enumerate(candidate.blocks, start=1):
            values[f"block{b}/layers"] = len(block.layers)
            values[f"block{b}/residual"] = block.residual
            values[f"block{b}/factor"] = block.factor
            if block.factor > 1:
                values[f"block{b}/downsampling"] = block.downsampling
            for number, layer in enumerate(block.layers, start=1):
                at = f"block{b}/layer{number}"
                values[f"{at}/convolution"] = layer.convolution
                values[f"{at}/filters"] = layer.filters
                values[f"{at}/kernel"] = layer.kernel
                if layer.convolution == "cut":
                    values[f"{at}/cut"] = layer.cut
        values["head"] = candidate.head
        if len(candidate.blocks) > 1:
            values["multi_scale"] = candidate.multi_scale
        values["dense"] = len(candidate.dense)
        for i, units in enumerate(candidate.dense, start=1):
            values[f"dense{i}/units"] = units
        if self.input_shape[-1] == 3:
            values["grey"] = candidate.grey
        values["input_factor"] = candidate.input_factor
        if candidate.input_factor > 1:
            values["input_pooling"] = candidate.input_pooling
        values["linear_depthwise"] = candidate.linear_depthwise
        for name in self._knobs(candidate.training.pruning):
            values[f"training/{name}"] = getattr(candidate.training, name)
        return values

    def canonical(self, candidate: Candidate) -> Candidate:
        """The one candidate among those that mean the same: what has no effect is at its default."""
        blank, plain = Candidate(()), Block(())
        changes: dict[str, Any] = {}
        blocks = tuple(
            replace(
                block,
                downsampling=block.downsampling if block.factor > 1 else plain.downsampling,
                layers=tuple(
                    layer if layer.convolution == "cut" or layer.cut == 1.0 else replace(layer, cut=1.0)
                    for layer in block.layers
                ),
            )
            for block in candidate.blocks
        )
        if blocks != candidate.blocks:
            changes["blocks"] = blocks
        if not _has_depthwise(candidate):
            changes["linear_depthwise"] = blank.linear_depthwise
        if candidate.input_factor == 1:
            changes["input_pooling"] = blank.input_pooling
        if len(candidate.blocks) == 1:
            changes["multi_scale"] = False
        if self.input_shape[-1] != 3:
            changes["grey"] = False
        knobs = self._knobs(candidate.training.pruning)
        defaults = {field.name: field.default for field in fields(Training) if field.name not in knobs}
        if any(getattr(candidate.training, name) != value for name, value in defaults.items()):
            changes["training"] = replace(candidate.training, **defaults)
        return replace(candidate, **changes) if changes else candidate

    def contains(self, candidate: Candidate) -> bool:
        """Whether the candidate is in the space, in its canonical form."""
        return self.outside(candidate) is None

    def outside(self, candidate: Candidate) -> str | None:
        """What of the candidate the space has not; None where it has all of it."""
        if reason := self._wrong_count(candidate):
            return reason
        values = self.values(candidate)
        existing = {parameter.name for parameter in self.parameters if parameter.exists(values)}
        wrong = [name for name in values if name not in existing or not self.parameter(name).holds(values[name])]
        if wrong:
            return ", ".join(f"{name} is {values[name]}" for name in wrong)
        if existing != set(values) or self.canonical(candidate) != candidate:
            return "it is not in its canonical form"
        return None

    def _wrong_count(self, candidate: Candidate) -> str | None:
        """What there is too much or too little of in the candidate, or None."""
        if not 1 <= len(candidate.blocks) <= self.max_blocks:
            return f"it has {len(candidate.blocks)} blocks, and 1 to {self.max_blocks} are allowed"
        if not all(1 <= len(block.layers) <= MAX_LAYERS for block in candidate.blocks):
            return f"a block has 1 to {MAX_LAYERS} layers"
        if len(candidate.dense) > MAX_DENSE:
            return f"it has {len(candidate.dense)} hidden dense layers, and {MAX_DENSE} are allowed"
        return None

    def nearest(self, candidate: Candidate) -> Candidate:
        """The candidate in its canonical form, each of its numbers that the space has not at the nearest that it has;
        where that does not bring it into the space, as it was (see `outside`)."""
        candidate = self.canonical(candidate)
        if self._wrong_count(candidate):
            return candidate
        values = self.values(candidate)
        for name, value in values.items():
            if not self.parameter(name).holds(value):
                near = self.parameter(name).nearest(value)
                if near is None:
                    return candidate
                values[name] = near
        return self.candidate(values)

    # What a candidate needs by its shapes alone

    def network(self, candidate: Candidate) -> Network:
        """The candidate's layer graph, its dropout left out (the shapes' sake); Infeasible where it has none."""
        network, reason = self._judge(candidate)
        if network is None:
            raise Infeasible(reason)
        return network

    def refusal(self, candidate: Candidate) -> str | None:
        """Why the candidate is turned away before any training; None where it may be trained."""
        network, reason = self._judge(candidate)
        if network is None:
            return reason
        if network.macs > self.max_macs:
            return f"needs {network.macs} multiply-accumulates, over the limit of {self.max_macs}"
        ram, flash = self.budgets.ram, self.budgets.flash
        kept = _slimmest(network) if candidate.training.prunes_groups else network
        held = kept.least_memory(self.by_rows)
        if ram is not None and held > ram:
            return f"holds {held} bytes at once by its shapes, over the {ram} bytes of RAM"
        least = self.least_payload(kept, candidate)
        if flash is not None and least > flash:
            return f"its weights take {least} bytes at the least, over the {flash} bytes of flash"
        return None

    def least_payload(self, network: Network, candidate: Candidate) -> int:
        """Bytes of the constant tables that no pruning of this kind goes below."""
        share = _DENSE_BYTES_A_WEIGHT if candidate.training.pruning == "none" else _PRUNED_BYTES_A_WEIGHT
        return int(network.weight_count * share * _share_of_bits(candidate))

    def guesses(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Logarithms of error, flash and RAM [N, 3] that shapes let expect before anything was measured.

        The surrogates learn what is left. The error's guess is only relative: its level differs from data set to data
        set.
        """
        rows = []
        for candidate in candidates:
            network = self.network(candidate)
            kept = _share_of_bits(candidate) * (1.0 if candidate.training.pruning == "none" else _PRUNED_GUESS)
            _, macs, _, vector, narrowest, *_ = self._features(candidate)
            rows.append(
                (
                    _ERROR_BY_MACS * macs + _ERROR_BY_VECTOR * vector + _ERROR_BY_NARROWEST * narrowest,
                    np.log(_CODE_GUESS + kept * network.weight_count),
                    np.log(_STACK_GUESS + (network.least_memory(True) if self.by_rows else network.memory_bound)),
                )
            )
        return np.array(rows, float).reshape(-1, 3)

    def likely_ram(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Bytes of ram_model [N] that shapes let expect, nearer to what is measured than the surrogates' `guesses`."""
        networks = [self.network(candidate) for candidate in candidates]
        least = np.array([one.least_memory(self.by_rows) for one in networks], float)
        if self.by_rows:
            return _STACK_GUESS + least
        whole = np.array([one.memory_bound for one in networks], float)
        return _STACK_GUESS + least ** _STREAMED[0] * whole ** _STREAMED[1]

    @property
    def least(self) -> Budgets:
        """The smallest budgets that some candidate could meet by its shapes: below them, nothing can."""
        return Budgets(flash=min(flash for _, flash, _ in self._smallest), ram=min(ram for ram, _, _ in self._smallest))

    @property
    def smallest(self) -> Candidate:
        """A candidate that needs no more RAM than any other, and little flash."""
        return self.smallest_by_head[0]

    @property
    def smallest_by_head(self) -> list[Candidate]:
        """Of each head the candidate that needs no more RAM than any other with it, and little flash; the one that
        needs the least first."""
        found: dict[str, Candidate] = {}
        for _, _, candidate in sorted(self._smallest, key=lambda one: one[:2]):
            found.setdefault(candidate.head, candidate)
        return list(found.values())

    @cached_property
    def _smallest(self) -> list[tuple[int, int, Candidate]]:
        """(bytes of RAM, bytes of flash, candidate) of the candidates that are small in one way or another."""
        greys = (False, True) if self.input_shape[-1] == 3 else (False,)
        kinds = self.parameter("training/pruning").choices
        training = Training(pruning=next((kind for kind in kinds if kind != "none"), "none"))
        found = []
        for grey, input_factor, factor, head in product(greys, (1, 2, 3, 4), (1, 2, 3), HEADS):
            block = Block((Layer("plain", 1, 1),), "stride", factor)
            candidate = self.canonical(
                Candidate((block,), head=head, grey=grey, input_factor=input_factor, training=training)
            )
            network, _ = self._judge(candidate)
            if network is not None:
                found.append((network.least_memory(self.by_rows), self.least_payload(network, candidate), candidate))
        return found

    def _judge(self, candidate: Candidate) -> tuple[Network | None, str | None]:
        # Dropout is the only part of the training that a network shows, and it changes no shape.
        key = candidate.architecture
        if key not in self._judged:
            if len(self._judged) >= _REMEMBERED:
                self._judged.clear()
            try:
                network = network_of(key, self.input_shape, self.classes)
                network.shapes  # noqa: B018 - Infeasible shapes show here
                self._judged[key] = (network, None)
            except Infeasible as error:
                self._judged[key] = (None, str(error))
        return self._judged[key]

    # What the surrogate sees

    def encode(self, candidates: Sequence[Candidate]) -> Encoded:
        """The candidates' parameters and features; every candidate must have a network."""
        rows = [self._row(candidate) for candidate in candidates]
        unit = np.array([unit for unit, _ in rows], float).reshape(-1, self.dimensions)
        active = np.array([active for _, active in rows], bool).reshape(-1, self.dimensions)
        features = np.array([self._features(candidate) for candidate in candidates]).reshape(len(candidates), -1)
        return Encoded(unit, active, features)

    def _row(self, candidate: Candidate) -> tuple[np.ndarray, np.ndarray]:
        """One candidate's `unit` and `active`."""
        if candidate not in self._rows:
            if len(self._rows) >= _REMEMBERED:
                self._rows.clear()
            unit, active = np.zeros(self.dimensions), np.zeros(self.dimensions, bool)
            for name, value in self.values(candidate).items():
                column = self._index[name]
                unit[column] = self.parameters[column].unit(value)
                active[column] = True
            active[self._index["linear_depthwise"]] = _has_depthwise(candidate)
            unit[~active] = 0.0
            self._rows[candidate] = unit, active
        return self._rows[candidate]

    def _features(self, candidate: Candidate) -> tuple[float, ...]:
        """Numbers that tell a network's cost and capacity, whatever blocks it is made of; logarithms where sizes."""
        network = self.network(candidate)
        cached = network.__dict__.get("_features")
        if cached is None:
            kinds = [op.kind for op in network.ops]
            vector = prod(network.shapes[network.output.inputs[0]])
            narrowest = min(network.shapes[op.name][-1] for op in network.ops if op.kind in WEIGHTED)
            cached = (
                log2(network.weight_count),
                log2(network.macs),
                log2(network.memory_bound),
                log2(vector),
                log2(narrowest),
                log2(sum(kind in WEIGHTED for kind in kinds)),
                # A kernel is linked only where an operator needs it.
                *(float(kind in kinds) for kind in ("depthwise", "max_pool", "average_pool", "add", "concat")),
            )
            network.__dict__["_features"] = cached
        return cached


# Networks and encodings that are kept, as most are asked for several times within a proposal; a long search must not
# grow with them.
_REMEMBERED = 10_000
# What each knob of pruning needs: it exists with these kinds of pruning only.
_PRUNED = tuple(kind for kind in PRUNINGS if kind != "none")
_PRUNING_KNOBS = {
    "kl_weight": _PRUNED,
    "kl_warmup": _PRUNED,
    "threshold_convolution": ("unstructured", "both"),
    "threshold_dense": ("unstructured", "both"),
    "threshold_group": ("structured", "both"),
}


def _slimmest(network: Network) -> Network:
    """The network with a single channel or unit everywhere, below which structured pruning cannot go."""
    slim = network.__dict__.get("_slimmest")
    if slim is None:
        ops = tuple(replace(op, channels=min(op.channels, 1)) for op in network.ops[:-1])
        slim = Network((*ops, network.output), network.input_shape)
        try:
            slim.shapes  # noqa: B018 - an addition to the image itself keeps its channels
        except ValueError:
            slim = network
        network.__dict__["_slimmest"] = slim
    return slim


def _share_of_bits(candidate: Candidate) -> float:
    """What a weight takes of the byte that int8 has for it."""
    return candidate.training.weight_bits / FULL_BITS


def _has_depthwise(candidate: Candidate) -> bool:
    return any(layer.convolution == "separable" for block in candidate.blocks for layer in block.layers)


def _parameters(
    colour: bool, max_blocks: int, weight_bits: tuple[int, ...], prunings: tuple[str, ...]
) -> Iterator[Parameter]:
    """The table: names, ranges, conditions and priors. Parents come before the parameters that depend on them."""
    yield Parameter("blocks", "blocks", "int", 1, max_blocks, weights=_BLOCKS_PRIOR[:max_blocks])
    for b in range(1, max_blocks + 1):
        here = (("blocks", tuple(range(b, max_blocks + 1))),) if b > 1 else ()
        block = f"block{b}"
        yield Parameter(f"{block}/layers", "layers", "int", 1, MAX_LAYERS, weights=(4, 3, 1), conditions=here)
        yield Parameter(f"{block}/residual", "residual", "boolean", weights=(2, 1), conditions=here)
        yield Parameter(f"{block}/factor", "factor", "int", 1, 3, weights=(2, 5, 2), conditions=here)
        yield Parameter(
            f"{block}/downsampling",
            "downsampling",
            "choice",
            choices=DOWNSAMPLINGS,
            conditions=(*here, (f"{block}/factor", (2, 3))),
        )
        for number in range(1, MAX_LAYERS + 1):
            deep = (*here, (f"{block}/layers", tuple(range(number, MAX_LAYERS + 1)))) if number > 1 else here
            at = f"{block}/layer{number}"
            yield Parameter(f"{at}/convolution", "convolution", "choice", choices=CONVOLUTIONS, conditions=deep)
            yield Parameter(f"{at}/filters", "filters", "int", 1, 100, log=True, conditions=deep)
            yield Parameter(f"{at}/kernel", "kernel", "int", 1, 5, weights=(1, 2, 5, 1, 2), conditions=deep)
            yield Parameter(
                f"{at}/cut",
                "cut",
                "choice",
                choices=_FRACTIONS,
                ordered=True,
                conditions=(*deep, (f"{at}/convolution", ("cut",))),
            )
    yield Parameter("head", "head", "choice", choices=HEADS, weights=(1, 1, 1))
    yield Parameter(
        "multi_scale",
        "multi_scale",
        "boolean",
        weights=(3, 1),
        conditions=(("blocks", tuple(range(2, max_blocks + 1))),),
    )
    yield Parameter("dense", "dense", "int", 0, MAX_DENSE, weights=(5, 3, 1))
    for i in range(1, MAX_DENSE + 1):
        wanted = (("dense", tuple(range(i, MAX_DENSE + 1))),)
        yield Parameter(f"dense{i}/units", "units", "int", 2, 200, log=True, conditions=wanted)
    if colour:
        yield Parameter("grey", "grey", "boolean")
    yield Parameter("input_factor", "input_factor", "int", 1, 4, weights=(6, 3, 1, 1))
    yield Parameter(
        "input_pooling",
        "input_pooling",
        "choice",
        choices=("average", "max"),
        conditions=(("input_factor", (2, 3, 4)),),
    )
    yield Parameter("linear_depthwise", "linear_depthwise", "boolean")
    yield from _training_parameters(weight_bits, prunings)


def _training_parameters(weight_bits: tuple[int, ...], prunings: tuple[str, ...]) -> Iterator[Parameter]:
    # The modes lie where more of benchmarks/digits_table.csv's random candidates came to something. Of all, 15 in 164
    # erred in less than one image of ten; of those with a learning rate above 0.004, augmentation below a half, dropout
    # below a quarter and a KL weight below 3.2, 2 in 13.
    yield Parameter("training/learning_rate", "learning_rate", "float", 1e-3, 0.1, log=True, mode=0.02)
    yield Parameter("training/schedule", "schedule", "choice", choices=SCHEDULES, weights=(3, 2, 1))
    yield Parameter("training/batch_size", "batch_size", "choice", choices=(32, 64, 128), ordered=True, log=True)
    yield Parameter("training/epochs", "epochs", "float", 0.5, 2.0, log=True)
    yield Parameter("training/dropout", "dropout", "float", 0.0, 0.5, mode=0.0)
    yield Parameter("training/weight_decay", "weight_decay", "float", 1e-6, 1e-2, log=True)
    yield Parameter("training/augmentation", "augmentation", "float", 0.0, 1.0, mode=0.3)
    yield Parameter("training/pruning", "pruning", "choice", choices=prunings)
    for name, low, high, log, mode in (
        ("kl_weight", 0.1, 10.0, True, 0.3),
        ("kl_warmup", 0.1, 0.9, False, None),
        ("threshold_convolution", 0.0, 5.0, False, None),
        ("threshold_dense", 0.0, 5.0, False, None),
        ("threshold_group", 0.0, 5.0, False, None),
    ):
        group = "threshold" if name in ("threshold_convolution", "threshold_dense") else name
        where = (("training/pruning", _PRUNING_KNOBS[name]),)
        yield Parameter(f"training/{name}", group, "float", low, high, log=log, mode=mode, conditions=where)
    yield Parameter(
        "training/distillation",
        "distillation",
        "choice",
        choices=_DISTILLATIONS,
        ordered=True,
        weights=(6, 1, 1, 1),
    )
    if len(weight_bits) > 1:
        prior = tuple(_BITS_PRIOR[bits] for bits in weight_bits)
        yield Parameter(
            "training/weight_bits", "weight_bits", "choice", choices=weight_bits, ordered=True, weights=prior
        )
