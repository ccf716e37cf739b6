"""python -m results.page: the results as README.md (tables), index.html (one page, offline) and fronts.png (a picture).

    python -m results.page [--headline]

Everything comes from the files beside it: table.json (results.final), baselines.json (results.baselines),
published.json (others' figures), runs.json (results.runs), claims.json (benchmarks.claims), and whatever other
benchmarks left.
`--headline` only prints the Markdown table for the project's README.
"""

from __future__ import annotations

import argparse
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results.baselines import load_baselines
from results.claims import HEAD, Verdicts, load_verdicts
from results.markdown import (
    AGAIN,
    HOW,
    NO_CURET,
    OUR_COLUMNS,
    RUN_HEAD,
    accuracy_words,
    best_first,
    headline,
    number,
    our_cells,
    readme,
    run_cells,
)
from results.plots import MOST_BYTES, accuracy_chart, picture, shown, words
from results.published import COUNTED, KINDS, SURE, load_published
from results.runs import load_runs
from results.sections import PICTURE, Finding, Section, findings, sections
from results.table import RESULTS, load_table
from tfsparse.errors import UserError, run_cli


def page(
    parts: Sequence[Section],
    runs: Sequence[dict[str, Any]],
    others: Sequence[Finding],
    folder: Path = RESULTS,
    verdicts: Verdicts | None = None,
) -> str:
    """results/index.html: one file, no network."""
    import base64

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    import tfsparse

    styles = Path(tfsparse.__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", styles]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "markdown": _code}
    charts = {
        section.key: [
            (title, accuracy_chart(section.marks(ram), name=f"{section.key}-{ram}", x_label=label))
            for title, ram, label in (
                ("Accuracy against the model's bytes", False, "payload (ours), model as published"),
                ("Accuracy against RAM", True, "ram_model (ours), RAM as published"),
            )
            if shown(section.marks(ram))
        ]
        for section in parts
    }
    pictures = [
        (finding.what, base64.b64encode((folder / finding.path).read_bytes()).decode())
        for finding in others
        if finding.path.endswith(".png") and (folder / finding.path).stat().st_size < 150_000
    ]
    kinds = {
        section.key: sorted({mark.what for ram in (False, True) for mark in shown(section.marks(ram))}, key=str)
        for section in parts
    }
    return environment.get_template("page.html").render(
        sections=parts,
        charts=charts,
        kinds={key: [(kind, words(kind)) for kind in some] for key, some in kinds.items()},
        counted=COUNTED,
        most_bytes=MOST_BYTES,
        columns=OUR_COLUMNS,
        our_cells=our_cells,
        best_first=best_first,
        accuracy=accuracy_words,
        how=HOW,
        no_curet=NO_CURET,
        again=AGAIN.replace("```sh", "").replace("```", "").strip(),
        sure=SURE,
        kinds_of_size=KINDS,
        sources=list(dict.fromkeys(figure.source for section in parts for figure in section.published)),
        runs=runs,
        run_head=RUN_HEAD,
        run_cells=run_cells,
        claim_head=HEAD,
        verdicts=verdicts,
        others=others,
        pictures=pictures,
    )


def _code(text: str) -> str:
    """`words` in Markdown's marks as HTML."""
    from markupsafe import Markup

    pieces = html.escape(text, quote=False).split("`")
    return Markup(
        "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces)).replace("*", "")
    )


def write(folder: Path = RESULTS) -> list[Path]:
    """Write the pages and the picture; returns their paths."""
    entries, published = load_table(folder / "table.json"), load_published(folder / "published.json")
    parts = sections(entries, load_baselines(folder / "baselines.json"), published)
    runs, others = load_runs(folder / "runs.json"), findings(folder)
    verdicts = load_verdicts(folder / "claims.json")
    texts = {
        "README.md": readme(parts, runs, others, entries, verdicts),
        "index.html": page(parts, runs, others, folder, verdicts),
    }
    paths = []
    for name, text in texts.items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    panels = [(section.title, section.marks(False), section.marks(True)) for section in parts if section.entries]
    if panels:
        paths.append(folder / PICTURE)
        paths[-1].write_bytes(picture([panel for panel in panels if not panel[0].startswith("Digits")] or panels))
    return paths


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m results.page", description="Write the results' pages.")
    parser.add_argument("--headline", action="store_true", help="only print the table for the project's README")
    options = parser.parse_args(arguments)
    if options.headline:
        print(headline(load_table(), load_published()))
        return 0
    try:
        paths = write()
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"cannot write the pages ({error}); free some space or mend the rights") from error
    for path in paths:
        print(f"{path.relative_to(RESULTS.parent)}: {path.stat().st_size:,} B")
    return 0


if __name__ == "__main__":
    run_cli(main)
