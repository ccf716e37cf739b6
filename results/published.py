"""Others' figures, as published: `published.json`, with how sure each is and what its sizes count."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from results.table import RESULTS
from tfsparse.errors import UserError

PUBLISHED = RESULTS / "published.json"

PRIMARY, SECOND_HAND, UNCHECKED = "primary", "second-hand", "unchecked, from memory"
SURE = {
    PRIMARY: "read in its authors' own text",
    SECOND_HAND: "as a later text quotes it",
    UNCHECKED: "recalled, seen in no text: not to be relied on, and in no chart",
}
COUNTED, MEASURED = "counted", "measured"
KINDS = {
    COUNTED: "a formula of its authors: no code, mostly no indices; a kB is taken as 1,000 bytes",
    MEASURED: "of a program that ran on the chip",
}


@dataclass(frozen=True)
class Published:
    """One system's figure on one data set. `test_accuracy` is a share of 1; sizes in bytes, None where none is given.

    `rule`: None for all classes, `unstated` for two classes whose rule its authors do not tell. `input`: where it is
    not the data set's own images. `kind` says what the sizes are (`KINDS`), `sure` how sure the figure is (`SURE`).
    """

    system: str
    dataset: str
    rule: str | None
    test_accuracy: float
    model_bytes: int | None
    ram_bytes: int | None
    macs: int | None
    kind: str
    sure: str
    input: str | None
    note: str
    source: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.sure not in SURE:
            raise UserError(f"{self.system}: kind '{self.kind}' or sure '{self.sure}' is none of those in published.py")


def load_published(path: Path = PUBLISHED) -> list[Published]:
    """All figures, in the file's order. UserError where it cannot be read."""
    try:
        return [Published(**row) for row in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read {path} ({error}); restore it from the repository") from error
