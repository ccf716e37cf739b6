"""Counted figures of a network: the SpArSe paper's sizes (METHOD: ModelSize, WorkingMemory 1 and 2) and MACs."""

from __future__ import annotations

from dataclasses import dataclass

from tfsparse.compiler.layers import Convolution, FullyConnected, Layer, Network, Weighted


@dataclass(frozen=True)
class Counted:
    """Elements = bytes at int8. Biases are left out everywhere, as in the paper."""

    nnz: int  # non-zero weights of convolutions and dense layers; ModelSize is one byte for each
    working_memory_1: int  # max over layers of inputs + non-zero weights
    working_memory_2: int  # max over layers of inputs + outputs
    macs: int  # multiply-accumulates of the dense network, one sample


def layer_macs(layer: Layer) -> int:
    if isinstance(layer, Convolution):
        return layer.window.out_height * layer.window.out_width * layer.weights.size
    return layer.rows * layer.weights.size if isinstance(layer, FullyConnected) else 0


def layer_nnz(layer: Layer) -> int:
    return layer.nnz if isinstance(layer, Weighted) else 0


def count(network: Network) -> Counted:
    def read(layer: Layer) -> int:
        return sum(network.values[i].size for i in layer.inputs)

    return Counted(
        nnz=sum(map(layer_nnz, network.layers)),
        working_memory_1=max(read(layer) + layer_nnz(layer) for layer in network.layers),
        working_memory_2=max(read(layer) + network.values[layer.output].size for layer in network.layers),
        macs=sum(map(layer_macs, network.layers)),
    )
