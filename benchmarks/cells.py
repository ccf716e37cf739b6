"""Results of a benchmark's single runs, kept so that a benchmark that was stopped goes on where it was.

One JSON line a result, in an ignored folder. A result counts only as long as the code that made it is the same,
comments and layout apart.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "benchmarks"


def fingerprint(paths: Sequence[Path]) -> str:
    """Twelve hexadecimal digits of what these files say: Python's syntax trees, anything else's bytes."""
    digest = hashlib.sha256()
    for path in paths:
        data = path.read_bytes()
        digest.update(ast.dump(ast.parse(data)).encode() if path.suffix == ".py" else data)
    return digest.hexdigest()[:12]


class Cells:
    """Values by key (a tuple of JSON values), in a file that is only ever appended to."""

    def __init__(self, name: str, folder: Path = FOLDER):
        self._path = folder / f"{name}.jsonl"
        self._values: dict[Hashable, Any] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                try:
                    key, value = json.loads(line)
                except ValueError:
                    continue  # a kill in the middle of a line: its run is done again
                self._values[tuple(key)] = value

    def get(self, *key) -> Any | None:
        return self._values.get(key)

    def put(self, value: Any, *key) -> None:
        """Keep a value; it is on disk when this returns."""
        self._values[key] = value
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.exists() and self._path.stat().st_size and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps([key, value]) + "\n")
