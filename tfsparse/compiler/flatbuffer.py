"""A small FlatBuffers reader that trusts nothing: every offset and length is checked before it is followed.

Only what `.tflite` files use is here: tables, vectors of scalars, vectors of tables, strings. The wire format is that
of the FlatBuffers project ("FlatBuffers internals"): little-endian, a table begins with a signed offset back to its
vtable, the vtable lists its own length, the table's length and one 16-bit offset for each field (0: absent, the default
holds).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from tfsparse.errors import UserError


class BrokenFileError(UserError):
    """The bytes are not a FlatBuffer of the expected shape."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the .tflite file is damaged ({what}); export or copy it again")


_SCALARS = {"b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4, "q": 8, "Q": 8}


def read_scalar(data: bytes, at: int, code: str) -> int | float:
    """The little-endian scalar of struct code `code` at byte `at`."""
    if at < 0 or at + _SCALARS[code] > len(data):
        raise BrokenFileError(f"a value at byte {at} lies outside the file")
    return struct.unpack_from("<" + code, data, at)[0]


@dataclass(frozen=True)
class Table:
    """A table at byte `position` of `data`."""

    data: bytes
    position: int

    def field(self, index: int) -> int:
        """Byte of field `index`, or 0 where the field is absent."""
        vtable = self.position - read_scalar(self.data, self.position, "i")
        length = read_scalar(self.data, vtable, "H")
        slot = 4 + 2 * index
        if slot + 2 > length:
            return 0
        offset = read_scalar(self.data, vtable + slot, "H")
        return self.position + offset if offset else 0

    def _follow(self, index: int) -> int:
        """Byte that the offset in field `index` points to, or 0 where the field is absent."""
        at = self.field(index)
        return at + read_scalar(self.data, at, "I") if at else 0

    def has(self, index: int) -> bool:
        return self.field(index) != 0

    def scalar(self, index: int, code: str, default: int | float = 0) -> int | float:
        at = self.field(index)
        return read_scalar(self.data, at, code) if at else default

    def table(self, index: int) -> Table | None:
        at = self._follow(index)
        return Table(self.data, at) if at else None

    def vector(self, index: int, item: int) -> tuple[int, int]:
        """(first byte, count) of the vector in field `index`, whose items take `item` bytes; count 0 where absent."""
        at = self._follow(index)
        if not at:
            return 0, 0
        count = read_scalar(self.data, at, "I")
        if at + 4 + count * item > len(self.data):
            raise BrokenFileError(f"a list of {count} items at byte {at} does not fit into the file")
        return at + 4, count

    def array(self, index: int, dtype: str) -> np.ndarray:
        """Vector of scalars as a read-only array of `dtype` (little-endian); empty where absent."""
        kind = np.dtype(dtype).newbyteorder("<")
        start, count = self.vector(index, kind.itemsize)
        return np.frombuffer(self.data, kind, count, start)

    def tables(self, index: int, limit: int = 100_000) -> list[Table]:
        """Vector of tables; more than `limit` is taken for damage, so that a hostile count costs no time."""
        start, count = self.vector(index, 4)
        if count > limit:
            raise BrokenFileError(f"a list claims {count} tables")
        return [Table(self.data, at + read_scalar(self.data, at, "I")) for at in range(start, start + 4 * count, 4)]

    def text(self, index: int, limit: int = 200) -> str:
        """UTF-8 string cut to `limit` bytes, fit to be printed in one line; empty where absent."""
        start, count = self.vector(index, 1)
        text = self.data[start : start + min(count, limit)].decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text)


def root(data: bytes, identifier: bytes) -> Table:
    """The root table of a buffer that must carry the four-byte file `identifier`."""
    if len(data) < 8 or data[4:8] != identifier:
        raise UserError(
            f"this is not a .tflite model (its bytes 4..8 are not {identifier.decode()}); "
            "give a file written by the TensorFlow Lite converter"
        )
    return Table(data, read_scalar(data, 0, "I"))
