"""The user's budgets: how much flash and RAM a model may take on the chip, and how often it may err."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tfsparse.errors import UserError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([km])i?b?|b|bytes)?", re.IGNORECASE)
_UNITS = {None: 1, "k": 1024, "m": 1024**2}
_LARGEST = 2**40  # bytes, beyond any chip


@dataclass(frozen=True)
class Budgets:
    """Bytes of flash (flash_model: kernels, code and payload) and RAM (ram_model), and the validation error in (0, 1);
    None where the user sets no limit."""

    flash: int | None = None
    ram: int | None = None
    error: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"flash": self.flash, "ram": self.ram, "error": self.error}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Budgets:
        # Folders of before there was a limit to the error have none.
        return cls(data["flash"], data["ram"], data.get("error"))

    def met_by(self, flash: float, ram: float, error: float) -> bool:
        limits = ((self.flash, flash), (self.ram, ram), (self.error, error))
        return all(limit is None or value <= limit for limit, value in limits)

    def tighter(self, other: Budgets) -> Budgets:
        """The smaller of two limits, each."""
        return Budgets(_least(self.flash, other.flash), _least(self.ram, other.ram), _least(self.error, other.error))

    def __str__(self) -> str:
        sizes = {"flash": self.flash, "ram": self.ram}
        parts = [f"{name} {value} B" for name, value in sizes.items() if value is not None]
        if self.error is not None:
            parts.append(f"accuracy {1 - self.error:.2%}")
        return ", ".join(parts) or "none"


def _least(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def parse_accuracy(text: str) -> float:
    """0.985 for "0.985", "98.5%" or "98.5"."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if "%" in text or value > 1:
        value /= 100
    if not 0 < value < 1:
        raise UserError(f"{text!r} is not an accuracy: give a share or per cent, such as 0.985 or 98.5%")
    return value


def parse_bytes(text: str) -> int:
    """2048 for "2048", "2048B", "2k", "2KB", "2kB" or "2 KiB" (as embedded engineers count: a kB is 1024 bytes)."""
    match = _SIZE.fullmatch(text.strip())
    size = 0.0 if match is None else float(match[1]) * _UNITS[match[2] and match[2].lower()]
    if not 1 <= size < _LARGEST:
        raise UserError(f"{text!r} is not a size: give bytes or kilobytes, such as 2048, 2k or 2KB")
    return int(size)
