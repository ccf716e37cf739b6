"""The results in Markdown: results/README.md, and the headline table of the project's README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from results.claims import HEAD, Verdicts
from results.published import KINDS, SURE, UNCHECKED, Published
from results.sections import PICTURE, Finding, Section, sections
from results.table import ROWS, Entry

DASH = "\u2013"


def number(value: int | None, unit: str = "") -> str:
    return DASH if value is None else f"{value:,}{' ' * bool(unit)}{unit}"


def accuracy_words(value: float, deviation: float | None) -> str:
    return f"{100 * value:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown; columns whose head ends in a space are numbers."""
    lines = ["| " + " | ".join(name.strip() for name in head) + " |"]
    lines.append("|" + "|".join(" ---: " if name.endswith(" ") else " --- " for name in head) + "|")
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


OUR_COLUMNS: tuple[tuple[str, str], ...] = (
    ("payload", "tables, B"),
    ("ram_model", "measured, B"),
    ("flash_model", "measured, B"),
    ("instructions", "measured"),
    ("macs", "counted"),
    ("model_size_counted", "counted, B"),
    ("working_memory_1", "counted, B"),
    ("working_memory_2", "counted, B"),
)


def our_cells(entry: Entry) -> list[str]:
    """An entry's line in the tables of our own networks."""
    figures = [number(getattr(entry, name)) for name, _ in OUR_COLUMNS]
    return [
        accuracy_words(entry.test_accuracy, entry.accuracy_sd),
        DASH if entry.trained_on_validation else f"{100 * entry.val_accuracy:.2f}",
        *figures,
        entry.fed,
    ]


NO_CURET = "No copy of CUReT could be had: there is no figure of ours. Its loader is there, and its download."

HOW = """
The words are the project README's. Accuracies are the int8 models' on the test part, in per cent: the mean over the
trainings with the seeds named, ± their sample standard deviation. Everything was chosen on the validation part; the
test part was looked at once for each network, after that of the networks before it. The stored file is the training
that was best on validation; sizes are its, measured on the emulated STM32F405 with the sparse runtime. Networks without
a validation accuracy were trained on that part as well, once all was chosen: of their trainings the one that knows
it best is stored. A network that is *fed by rows* is given its input row by row, so that `ram_model` holds the rows it
needs and not the whole image.
"""

AGAIN = """
```sh
make verify-results ARGS="--data-dir DATA"            # measures every network here again, and fails on any difference
make verify-results ARGS="--download"                 # with archives fetched: accuracies of digits and MNIST only
python -m results.baselines --data-dir DATA           # the baselines (cells that are there are not done again)
python -m results.page                                # these pages
```
"""


def readme(
    parts: Sequence[Section],
    runs: Sequence[dict[str, Any]],
    others: Sequence[Finding],
    entries: Sequence[Entry],
    verdicts: Verdicts | None = None,
) -> str:
    """results/README.md."""
    lines = [
        "# Results",
        "",
        "Written by `python -m results.page`; [index.html](index.html) is the same with charts.",
        "",
    ]
    lines += [*HOW.strip().splitlines(), ""]
    if any(section.entries for section in parts):
        lines += [f"![Accuracy against the model's bytes and against RAM]({PICTURE})", ""]
    for section in parts:
        lines += [f"## {section.title}", ""]
        if section.notes:
            lines += [f"Data: {'; '.join(section.notes)}.", ""]
        if section.dataset == "curet" and not section.entries:
            lines += [NO_CURET, ""]
        if section.entries:
            head = ["network", "test % ", "val % ", *(f"`{name}` " for name, _ in OUR_COLUMNS), "fed"]
            rows = [[f"[{entry.name}]({entry.tflite})", *our_cells(entry)] for entry in best_first(section.entries)]
            lines += [*_table(head, rows), ""]
        head = [
            "who",
            "test % ",
            "model, B ",
            "kind",
            "RAM, B ",
            "kind",
            "how sure",
            "where it differs or comes from, what is counted",
        ]
        rows = [
            [
                f"**{row.who}**"
                if row.kind == "ours"
                else f"{row.who} ({'ours, ' * (row.kind == 'baseline')}{row.kind})",
                accuracy_words(row.accuracy, row.deviation),
                number(row.model),
                row.model_words,
                number(row.ram),
                row.ram_words,
                row.sure,
                row.differs,
            ]
            for row in section.rows
        ]
        lines += [*_table(head, rows), ""]
    lines += ["## How sure, and of what kind", ""]
    lines += [f"- *{name}*: {what}." for name, what in SURE.items()]
    lines += [f"- *{name}* (published sizes): {what}." for name, what in KINDS.items()]
    lines += [
        "- Baselines: hyperparameters chosen on validation over a small grid, one seed; sizes as the Bonsai paper has "
        "them: what must be stored to predict, four bytes a number.",
        "",
        "Sources:",
        "",
    ]
    sources = dict.fromkeys(figure.source for section in parts for figure in section.published)
    lines += [*(f"- {source}" for source in sources), ""]
    lines += ["## Made again", "", *AGAIN.strip().splitlines(), ""]
    if entries:
        lines += ["Each network's own command:", ""]
        rows = [[entry.name, ", ".join(map(str, entry.seeds)), f"`{entry.command}`"] for entry in entries]
        lines += [*_table(["network", "seeds", "command"], rows), ""]
    if runs:
        lines += ["## What was searched, for how long, on what", ""]
        lines += [*_table(RUN_HEAD, (run_cells(run, code="`{}`") for run in runs)), ""]
    if verdicts:
        lines += ["## What the paper claims, shown or refuted", "", verdicts.how, ""]
        lines += [*_table(HEAD, ((claim, f"**{verdict}**", words) for claim, verdict, words in verdicts.rows)), ""]
    if others:
        lines += ["## What the benchmarks found", ""]
        for finding in others:
            lines += [f"- {finding.what}: [{finding.path}]({finding.path})"]
        lines += [""]
        for finding in others:
            if finding.is_picture:
                lines += [f"![{finding.what}]({finding.path})", ""]
    return "\n".join(lines).rstrip() + "\n"


def best_first(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (-entry.test_accuracy, entry.payload))


RUN_HEAD = ("data", "budgets", "seed ", "trials", "hours ", "on", "command")


def run_cells(run: dict[str, Any], code: str = "{}") -> list[str]:
    """A search's line."""
    budgets = run["budgets"]
    said = [f"{name} ≤ {budgets[name]:,} B" for name in ("flash", "ram") if budgets.get(name)]
    if budgets.get("error"):
        said.append(f"accuracy ≥ {100 * (1 - budgets['error']):.2f} %")
    return [
        f"{run['dataset']}:{run['rule']}" if run["rule"] else run["dataset"],
        ", ".join(said) or "none",
        str(run["seed"]),
        ", ".join(f"{count} {status}" for status, count in run["trials"].items()),
        f"{run['hours']:g}",
        run["machine"],
        code.format(run["command"]),
    ]


def headline(entries: Sequence[Entry], published: Sequence[Published]) -> str:
    """The Markdown table for the project's README: our entries, and below each data set the figures to beat."""
    lines = [
        "| data set | network | test accuracy | model | RAM | how sure |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for section in sections(entries, [], published):
        if not section.entries or section.dataset == "digits":
            continue
        for entry in sorted(section.entries, key=lambda entry: (-entry.test_accuracy, entry.payload)):
            spread = f" ± {100 * entry.accuracy_sd:.2f}" if entry.accuracy_sd is not None else ""
            fed = ", fed by rows" if entry.fed == ROWS else ""
            lines.append(
                f"| {section.title} | **{entry.name}** | {100 * entry.test_accuracy:.2f}{spread} % | "
                f"{entry.payload:,} B | {entry.ram_model:,} B{fed} | measured |"
            )
        for figure in sorted(section.published, key=lambda figure: -figure.test_accuracy):
            # What a microcontroller of a few kB could hold.
            small = (figure.model_bytes or 0) <= 16_000 and (figure.model_bytes or figure.ram_bytes)
            if small and figure.sure != UNCHECKED:
                model = f"{figure.model_bytes:,} B" if figure.model_bytes else DASH
                ram = f"{figure.ram_bytes:,} B" if figure.ram_bytes else DASH
                rule = ", rule not stated" if figure.rule == "unstated" else ""
                lines.append(
                    f"| | {figure.system}{rule} | {100 * figure.test_accuracy:.2f} % | {model} | {ram} | "
                    f"{figure.kind}, {figure.sure} |"
                )
    return "\n".join(lines)
