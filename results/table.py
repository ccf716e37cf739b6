"""The table of results: one entry a network, in `table.json`, with everything that `results.verify` measures again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.measurement import ROWS, WHOLE
from results.records import save_lines
from tfsparse.candidate import Candidate
from tfsparse.errors import UserError
from tfsparse.start import candidate_in

if TYPE_CHECKING:
    from tfsparse_datasets import Dataset

RESULTS = Path(__file__).resolve().parent
TABLE = RESULTS / "table.json"

COUNTED = ("nnz", "model_size_counted", "working_memory_1", "working_memory_2", "macs")
MEASURED = ("payload", "flash_model", "flash_total", "ram_model", "ram_total", "instructions")
FIGURES = (*COUNTED, *MEASURED)
"""An entry's sizes, by a measurement's words."""

# Every network of the table was trained and chosen on the parts that this seed makes.
DATA_SEED = 0

TRAINED_ON_VALIDATION = (
    "trained on the validation part as well, after all was chosen: val_accuracy is of images seen in training"
)
"""What an entry's note says, behind its data set's, where that is so."""

DIGITS = 6
"""Decimals of the accuracies in the table: more than one image of any test part makes."""


def check_name(name: str) -> None:
    """UserError where an entry cannot be called so: files are."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise UserError(f"'{name}' is no name for an entry; use small letters, digits, '-' and '.'")


@dataclass(frozen=True)
class Entry:
    """One network of the table. Accuracies are shares of 1 of the int8 model, sizes are bytes.

    `test_accuracy`, `val_accuracy` and `accuracy_sd` (of the test accuracy, sample standard deviation) are over the
    trainings with `seeds`, whose single accuracies are `test_accuracies` and `val_accuracies` in the same order; the
    stored file is the training with `tflite_seed`, the best on validation. `tflite` and `candidate` are paths relative
    to the table. `fed`: the input is given as a whole, or by rows, which changes `ram_model`. `note` is what must be
    said of the data set, `origin` how the candidate came about. `command` makes the entry anew.
    """

    dataset: str
    rule: str | None
    name: str
    tflite: str
    candidate: str
    fed: str
    note: str
    test_accuracy: float
    val_accuracy: float
    accuracy_sd: float | None
    seeds: tuple[int, ...]
    tflite_seed: int
    tflite_test_accuracy: float
    tflite_val_accuracy: float
    nnz: int
    model_size_counted: int
    working_memory_1: int
    working_memory_2: int
    macs: int
    payload: int
    flash_model: int
    flash_total: int
    ram_model: int
    ram_total: int
    instructions: int
    target: str
    runtime: str
    command: str
    test_accuracies: tuple[float, ...] = ()
    val_accuracies: tuple[float, ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.fed not in (WHOLE, ROWS):
            raise UserError(f"the entry {self.name} is fed '{self.fed}'; that is '{WHOLE}' or '{ROWS}'")

    @property
    def title(self) -> str:
        """The data set with its rule, as `tfsparse_datasets.load` takes it: `mnist:lt-half`."""
        return f"{self.dataset}:{self.rule}" if self.rule else self.dataset

    @property
    def trained_on_validation(self) -> bool:
        return self.note.endswith(TRAINED_ON_VALIDATION)

    @property
    def data_note(self) -> str:
        """The data set's own part of the note."""
        return self.note.removesuffix(TRAINED_ON_VALIDATION).removesuffix("; ")

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Entry:
        """Raises UserError where a key is missing or unknown."""
        known = {field.name: field for field in fields(cls)}
        lacking = [name for name, field in known.items() if field.default is MISSING and name not in data]
        unknown = sorted(set(data) - set(known))
        if lacking or unknown:
            said = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has {', '.join(unknown)}"] * bool(unknown)
            raise UserError(f"the entry {data.get('name', 'without a name')} of the table {' and '.join(said)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def load_table(path: Path = TABLE) -> list[Entry]:
    """All entries; none where there is no table yet. UserError where it cannot be read."""
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); restore it from the repository") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is no list of entries; restore it from the repository")
    entries = [Entry.from_json(row) for row in rows]
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path} has several entries of the name {', '.join(twice)}; keep one of each")
    return entries


def save_table(entries: Sequence[Entry], path: Path = TABLE) -> None:
    """Write the table, sorted by data set, rule and name, so that the same entries give the same bytes."""
    ordered = sorted(entries, key=lambda entry: (entry.dataset, entry.rule or "", entry.name))
    save_lines((_text(entry.to_json()) for entry in ordered), path)


def _text(row: dict[str, Any]) -> str:
    """One key a line, lists in one line: a changed figure is one changed line."""
    return " {\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in row.items()) + "\n }"


def put_entry(entry: Entry, path: Path = TABLE) -> None:
    """Add an entry, or replace the one of its name."""
    save_table([*(other for other in load_table(path) if other.name != entry.name), entry], path)


def read_candidate(entry: Entry, table: Path = TABLE) -> Candidate:
    """UserError where its file is missing or holds none."""
    return candidate_in(table.parent / entry.candidate, "restore it from the repository")


def load_data(title: str, data_dir: Path | None, download: bool = False) -> Dataset:
    """The data set as every command of results/ uses it: one split for all."""
    from tfsparse_datasets import load

    return load(title, data_dir, seed=DATA_SEED, download=download)


# Comes with scikit-learn: no files to point to.
_BUILT_IN = "digits"


def data_words(title: str) -> list[str]:
    """What a published command says of where the data set's files lie: nothing where it has none."""
    return [] if title.partition(":")[0] == _BUILT_IN else ["--data-dir", "DATA"]
