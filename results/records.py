"""JSON lists of records, one a line: how they are read, and written so that a kill leaves the old or the new file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfsparse.errors import UserError


def load_records(path: Path) -> list[dict[str, Any]]:
    """All records; none where there is no file yet. UserError where it cannot be read."""
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); restore it from the repository, or remove it") from error


def save_lines(lines: Iterable[str], path: Path) -> None:
    """Write a JSON list of these elements, each as its text."""
    rows = list(lines)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text("[\n" + ",\n".join(rows) + "\n]\n" if rows else "[]\n")
    os.replace(partial, path)
