"""What the results' pages show: data set by data set, our entries beside baselines and published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.methods import TITLES
from results.plots import BASELINE, OURS, OURS_BY_ROWS, Mark
from results.published import UNCHECKED, Published
from results.table import RESULTS, ROWS, Entry

PICTURE = "fronts.png"
# In this order; others behind, by name.
ORDER = ("mnist", "cifar10", "chars4k", "curet", "digits")
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "chars4k": "Chars4k", "curet": "CUReT", "digits": "Digits"}

# What the benchmarks leave here, and what it is; what is not named is listed by its file's name.
OTHERS = {
    "pruning_curve": "Accuracy against zeros: LeNet-5 on MNIST (`python -m benchmarks.pruning_curve`)",
    "claims": "What the paper claims, shown or refuted (`python -m benchmarks.claims`)",
    "search": "Hypervolume against trials, ours and peers (`python -m benchmarks.search`)",
    "runtimes": "Models on several runtimes (`python -m benchmarks.runtimes`)",
}
_OWN = ("table.json", "baselines.json", "published.json", "runs.json", PICTURE)


@dataclass(frozen=True)
class Row:
    """One line of a section's comparison: ours, a baseline or a published figure, in words and numbers."""

    who: str
    kind: str  # ours, baseline, published
    accuracy: float
    deviation: float | None
    model: int | None
    model_words: str
    ram: int | None
    ram_words: str
    sure: str
    differs: str  # rule, input and data where they are not ours, what its size is of; how one of ours came about
    source: str


@dataclass(frozen=True)
class Section:
    """A data set with all its classes, or with two: our entries, and everybody beside them."""

    dataset: str
    binary: bool
    entries: tuple[Entry, ...]
    baselines: tuple[dict[str, Any], ...]
    published: tuple[Published, ...]

    @property
    def title(self) -> str:
        rules = {entry.rule for entry in self.entries} | {record["rule"] for record in self.baselines}
        said = f" ({', '.join(sorted(rule for rule in rules if rule))})" if rules else ""
        name = NAMES.get(self.dataset, self.dataset)
        return f"{name}, two classes{said}" if self.binary else name

    @property
    def key(self) -> str:
        return f"{self.dataset}-{'binary' if self.binary else 'all'}"

    @property
    def notes(self) -> list[str]:
        found = [entry.data_note for entry in self.entries] + [record["note"] for record in self.baselines]
        return [note for note in dict.fromkeys(found) if note]

    @property
    def rows(self) -> list[Row]:
        """Everybody, the most accurate first."""
        rows = [_our_row(entry) for entry in self.entries]
        rows += [_baseline_row(record) for record in self.baselines]
        rows += [_published_row(figure, self.binary) for figure in self.published]
        return sorted(rows, key=lambda row: -row.accuracy)

    def marks(self, ram: bool) -> list[Mark]:
        """The points of a chart by RAM, or by the model's bytes."""
        marks = [
            Mark(
                entry.ram_model if ram else entry.payload,
                entry.test_accuracy,
                entry.name,
                OURS_BY_ROWS if entry.fed == ROWS else OURS,
                entry.accuracy_sd or 0.0,
            )
            for entry in self.entries
        ]
        if not ram:
            marks += [
                Mark(record["model_bytes"], record["test_accuracy"], TITLES[record["method"]], BASELINE)
                for record in self.baselines
            ]
        for figure in self.published:
            size = figure.ram_bytes if ram else figure.model_bytes
            if size is not None and figure.sure != UNCHECKED:
                marks.append(Mark(size, figure.test_accuracy, figure.system, (figure.kind, figure.sure)))
        return marks


_ON_VALIDATION = "trained on the validation part as well, after all was chosen"


def _our_row(entry: Entry) -> Row:
    return Row(
        who=entry.name,
        kind="ours",
        accuracy=entry.test_accuracy,
        deviation=entry.accuracy_sd,
        model=entry.payload,
        model_words="payload, measured",
        ram=entry.ram_model,
        ram_words="measured, fed by rows" if entry.fed == ROWS else "measured",
        sure="measured here",
        differs="; ".join(filter(None, (entry.origin, _ON_VALIDATION * entry.trained_on_validation))),
        source=entry.command,
    )


def _baseline_row(record: dict[str, Any]) -> Row:
    return Row(
        who=TITLES[record["method"]],
        kind="baseline",
        accuracy=record["test_accuracy"],
        deviation=None,
        model=record["model_bytes"],
        model_words="counted",
        ram=None,
        ram_words="",
        sure="trained here",
        differs=f"trained on {record['trained_on']:,} images; size: {record['counted_as']}",
        source=record["command"],
    )


def _published_row(figure: Published, binary: bool) -> Row:
    differs = []
    if binary and figure.rule == "unstated":
        differs.append("rule not stated")
    elif figure.rule:
        differs.append(f"rule {figure.rule}")
    if figure.input:
        differs.append(f"input {figure.input}")
    if figure.note:
        differs.append(figure.note)
    return Row(
        who=figure.system,
        kind="published",
        accuracy=figure.test_accuracy,
        deviation=None,
        model=figure.model_bytes,
        model_words=figure.kind if figure.model_bytes else "",
        ram=figure.ram_bytes,
        ram_words=figure.kind if figure.ram_bytes else "",
        sure=figure.sure,
        differs="; ".join(differs),
        source=figure.source,
    )


def sections(
    entries: Sequence[Entry], baselines: Sequence[dict[str, Any]], published: Sequence[Published]
) -> list[Section]:
    """By data set, all classes before two; those that have figures of ours before those that have others' only."""
    keys = {(entry.dataset, entry.rule is not None) for entry in entries}
    keys |= {(record["dataset"], record["rule"] is not None) for record in baselines}
    keys |= {(figure.dataset, figure.rule is not None) for figure in published}

    def place(key: tuple[str, bool]) -> tuple[bool, int, str, bool]:
        ours = any((entry.dataset, entry.rule is not None) == key for entry in entries)
        return not ours and key[0] == "curet", ORDER.index(key[0]) if key[0] in ORDER else len(ORDER), *key

    return [
        Section(
            dataset,
            binary,
            tuple(entry for entry in entries if (entry.dataset, entry.rule is not None) == (dataset, binary)),
            tuple(one for one in baselines if (one["dataset"], one["rule"] is not None) == (dataset, binary)),
            tuple(one for one in published if (one.dataset, one.rule is not None) == (dataset, binary)),
        )
        for dataset, binary in sorted(keys, key=place)
    ]


@dataclass(frozen=True)
class Finding:
    """What another command left in results/: its file, and what it is."""

    path: str
    what: str

    @property
    def is_picture(self) -> bool:
        return self.path.endswith((".png", ".svg"))


def findings(folder: Path = RESULTS) -> list[Finding]:
    """Result files and pictures of the benchmarks."""
    found = []
    for path in sorted(p for pattern in ("*.json", "*.jsonl", "*.csv", "*.png", "*.svg") for p in folder.glob(pattern)):
        if path.name not in _OWN:
            stems = [stem for stem in OTHERS if path.stem.startswith(stem)]
            found.append(Finding(path.name, OTHERS[max(stems, key=len)] if stems else path.stem.replace("_", " ")))
    return found
