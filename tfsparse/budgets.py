"""The user's budgets: how much flash and RAM a model may take on the chip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tfsparse.errors import UserError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([km])i?b?|b|bytes)?", re.IGNORECASE)
_UNITS = {None: 1, "k": 1024, "m": 1024**2}


@dataclass(frozen=True)
class Budgets:
    """Bytes of flash (flash_model: kernels, code and payload) and RAM (ram_model); None where the user sets no
    limit."""

    flash: int | None = None
    ram: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"flash": self.flash, "ram": self.ram}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Budgets:
        return cls(data["flash"], data["ram"])

    def met_by(self, flash: float, ram: float) -> bool:
        return (self.flash is None or flash <= self.flash) and (self.ram is None or ram <= self.ram)

    def tighter(self, other: Budgets) -> Budgets:
        """The smaller of two limits, each."""
        return Budgets(_least(self.flash, other.flash), _least(self.ram, other.ram))

    def __str__(self) -> str:
        parts = [f"{name} {value} B" for name, value in self.to_json().items() if value is not None]
        return ", ".join(parts) or "none"


def _least(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def parse_bytes(text: str) -> int:
    """2048 for "2048", "2048B", "2k", "2KB", "2kB" or "2 KiB" (as embedded engineers count: a kB is 1024 bytes)."""
    match = _SIZE.fullmatch(text.strip())
    size = 0 if match is None else int(float(match[1]) * _UNITS[match[2] and match[2].lower()])
    if size < 1:
        raise UserError(f"{text!r} is not a size: give bytes or kilobytes, such as 2048, 2k or 2KB")
    return size
