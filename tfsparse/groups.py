"""Which weights of a network can only go together: the groups that structured pruning gives scales to.

A group is a channel as physical removal sees it (`rewrite.compact`): it is made by one op or, where additions tie ops'
channels together, by several; pooling, depthwise convolutions and flattening pass it on; it goes where nobody reads it.
So its scale is applied where convolutions and dense layers read it, and channels that are tied share one.

The flattened inputs of the first dense layer, of which a channel has as many as its map has positions, have scales of
their own as well: a channel may be worth reading in some places only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tfsparse.network import Network, Op
from tfsparse.rewrite import channel_ids

_READERS = ("conv", "dense", "flatten")

GroupMembers = list[tuple[Op, int]]
"""The weighted ops that make or read a layer's groups, each with the number of groups its kernel is divided among."""


@lru_cache(maxsize=8)
def group_members(network: Network) -> dict[str, GroupMembers]:
    """The scale layers that the network may have, by name, with the ops whose weights go with their groups.

    An op that both makes and reads groups of a layer (a 1x1 convolution in a residual block) is there twice.
    """
    ids = channel_ids(network)
    members: dict[str, GroupMembers] = {}
    for op in network.ops:
        for name in op.inputs:
            for scale in scales_on_the_way(network, op, name):
                if scale in members:
                    continue
                groups = ids[name] if scale.endswith("_channels") else np.arange(network.shapes[name][-1])
                members[scale] = _members(network, ids, groups, op if scale.endswith("_inputs") else None)
    return members


def _members(network: Network, ids: dict[str, np.ndarray], groups: np.ndarray, only: Op | None) -> GroupMembers:
    if only is not None:
        return [(only, len(groups))]
    found: GroupMembers = []
    for op in network.ops:
        if op.kind in ("conv", "depthwise", "dense"):
            found += [(op, len(groups))] * bool(np.isin(ids[op.name], groups).any())
            if op.kind != "depthwise" and (share := np.isin(ids[op.inputs[0]], groups).mean()):
                # Of a vector put together of several maps, the others' part goes with other groups.
                found += [(op, round(len(groups) / share))]
    return found


def scales_on_the_way(network: Network, op: Op, name: str) -> tuple[str, ...]:
    """The names of the scale layers between tensor `name` and the op that reads it, in order."""
    return _reads(network).get((op.name, name), ())


@lru_cache(maxsize=8)
def _reads(network: Network) -> dict[tuple[str, str], tuple[str, ...]]:
    ids = channel_ids(network)
    image = ids[network.ops[0].name]
    reads: dict[tuple[str, str], tuple[str, ...]] = {}
    first_dense = next(op for op in network.ops if op.kind == "dense")
    for op in network.ops:
        for name in op.inputs:
            numbers = ids[name]
            if op.kind not in _READERS or np.isin(numbers, image).any():
                continue
            if network.op(name).kind not in ("flatten", "concat"):
                reads[op.name, name] = (f"{_first_with(network, ids, numbers)}_channels",)
            elif op == first_dense and len(numbers) > len(set(numbers)):
                reads[op.name, name] = (f"{op.name}_inputs",)
    return reads


def _first_with(network: Network, ids: dict[str, np.ndarray], numbers: np.ndarray) -> str:
    """The first op that has these channels: tied tensors have the same."""
    return next(op.name for op in network.ops if np.array_equal(ids[op.name], numbers))
