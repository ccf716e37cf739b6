"""Constant tables of a layer: the weights in the format that takes fewest bytes, biases and multipliers.

Everything is lossless. A table is an array of the generated C; `payload` is the sum of their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfsparse.compiler.layers import Add, Layer, Weighted


@dataclass(frozen=True)
class Table:
    """One constant array: `role` names it, `values` has the C type's dtype."""

    role: str
    values: np.ndarray

    @property
    def size(self) -> int:
        return self.values.nbytes


@dataclass(frozen=True)
class Encoded:
    """`format` of the weights ("dense" or "bitmap"; "constant" for a plain operand) and all tables of one layer."""

    format: str
    tables: tuple[Table, ...]

    @property
    def payload(self) -> int:
        return sum(table.size for table in self.tables)

    def table(self, role: str) -> Table | None:
        return next((table for table in self.tables if table.role == role), None)


def dense(weights: np.ndarray) -> tuple[Table, ...]:
    return (Table("weights", weights.astype(np.int8).reshape(-1)),)


def bitmap(weights: np.ndarray) -> tuple[Table, ...]:
    """One bit a weight in stream order, lowest bit first, 1 where it is not zero; and the non-zero weights."""
    flat = weights.astype(np.int8).reshape(-1)
    return Table("weights", flat[flat != 0]), Table("bitmap", np.packbits(flat != 0, bitorder="little"))


def unpack_bitmap(values: np.ndarray, bits: np.ndarray, count: int) -> np.ndarray:
    """The inverse of `bitmap`: int8 [count]."""
    flat = np.zeros(count, np.int8)
    flat[np.unpackbits(bits, count=count, bitorder="little").astype(bool)] = values
    return flat


def narrowest(values: np.ndarray) -> np.ndarray:
    """The same integers as int8, int16 or int32, whichever is the first to hold them all."""
    for kind in (np.int8, np.int16):
        if values.size == 0 or (values.min() >= np.iinfo(kind).min and values.max() <= np.iinfo(kind).max):
            return values.astype(kind)
    return values.astype(np.int32)


def _encode_weighted(layer: Weighted) -> Encoded:
    """All tables of a layer. Its weights are in stream order already: [outputs, taps]."""
    choices = {"dense": dense(layer.weights), "bitmap": bitmap(layer.weights)}
    name = min(choices, key=lambda name: sum(table.size for table in choices[name]))
    tables = [*choices[name]]
    if np.any(layer.bias):
        tables.append(Table("bias", narrowest(layer.bias)))
    tables.append(Table("multiplier", np.array([m.mantissa for m in layer.multipliers], np.int32)))
    tables.append(Table("shift", np.array([m.shift for m in layer.multipliers], np.int8)))
    return Encoded(name, tuple(table for table in tables if table.size))  # C has no arrays without elements


def encode(layer: Layer) -> Encoded | None:
    """The constant tables of a layer; None where it has none."""
    if isinstance(layer, Weighted):
        return _encode_weighted(layer)
    if isinstance(layer, Add) and layer.constant is not None:
        return Encoded("constant", (Table("constant", layer.constant.astype(np.int8)),))
    return None
