"""The pages: everybody in the right place, by kind and by how sure, and nothing that needs a network."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

import support.repository  # noqa: F401
from results.baselines import load_baselines
from results.claims import load_verdicts
from results.markdown import headline, our_cells
from results.page import main, write
from results.plots import MOST_BYTES, OURS_BY_ROWS, Mark, accuracy_chart, picture, shown
from results.published import UNCHECKED, load_published
from results.sections import sections
from results.table import RESULTS, TRAINED_ON_VALIDATION, load_table, put_entry
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def entry():
    return next(entry for entry in load_table() if entry.name == "digits-small")


@pytest.fixture(scope="module")
def folder(entry, tmp_path_factory):
    """A copy of results/ with two more entries, a run and what benchmarks leave."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("table.json", "baselines.json", "published.json", "pruning_curve.jsonl"):
        shutil.copy(RESULTS / name, folder / name)
    cifar = replace(entry, dataset="cifar10", rule="lt-half", note="lossy <copy>", test_accuracy=0.7891, payload=641)
    put_entry(
        replace(cifar, name="cifar10-x", fed="rows", command="python -m results.final --name cifar10-x"),
        folder / "table.json",
    )
    note = f"lossy <copy>; {TRAINED_ON_VALIDATION}"
    trained = replace(cifar, name="cifar10-y", note=note, origin="made <here>", val_accuracy=0.9876)
    put_entry(replace(trained, test_accuracy=0.8012, payload=1800), folder / "table.json")
    claim = {"claim": "Less is more", "verdict": "not decided", "words": "0.5 <or less>", "figures": {}}
    claims = {
        "command": "python -m x",
        "dataset": "digits",
        "seeds": [0, 1, 2],
        "trials_of_a_search": 20,
        "error_of_use": 0.1,
        "claims": [claim],
    }
    (folder / "claims.json").write_text(json.dumps(claims))
    (folder / "claims.png").write_bytes(picture([("one", [Mark(9, 0.5, "a", "ours")], [])]))
    run = {
        "dataset": "cifar10", "rule": "lt-half", "command": "python -m tfsparse.search --dataset cifar10:lt-half",
        "budgets": {"flash": None, "ram": 1280, "error": 0.26}, "seed": 3, "started": "2026-11-01T00:00:00+00:00",
        "machine": "Linux x86_64, 2 cores", "target": "emulator", "trials": {"completed": 90, "stopped": 8},
        "survivors": 7, "hours": 4.5, "hours_by_phase": {}, "versions": {},
    }  # fmt: skip
    (folder / "runs.json").write_text(json.dumps([run]))
    write(folder)
    return folder


def test_the_readme_tells_of_everybody(folder):
    text = (folder / "README.md").read_text()
    for words in (
        "## CIFAR-10, two classes (lt-half)", "| [cifar10-x](models/digits-small.tflite) | 78.91 ± ", "lossy <copy>",
        "| **cifar10-y** | 80.12", "| LeNet-5 (ours, baseline) |", "| uNAS (published) | 77.49 | 685 | counted | 909 |",
        "second-hand", "rule not stated", "python -m results.final --name cifar10-x", "accuracy ≥ 74.00 %",
        "90 completed, 8 stopped", "[claims.json](claims.json)", "![What the paper claims",
        "| Less is more | **not decided** | 0.5 <or less> |", "Searches on digits with the seeds 0, 1, 2, of 20",
    ):  # fmt: skip
        assert words in text, words
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")
    assert "made <here>; trained on the validation part as well" in text and "98.76" not in text


def test_the_page_is_one_small_file_that_needs_no_network(folder):
    text = (folder / "index.html").read_text()
    assert len(text) < 1_000_000
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text) and "<script" not in text and "@import" not in text
    assert '<strong>not decided</strong></td><td class="text">0.5 &lt;or less&gt;</td>' in text
    assert "lossy &lt;copy&gt;" in text and "data:image/png;base64," in text
    charts = re.findall(r"<svg [^>]*aria-label=\"accuracy.*?</svg>", text, re.DOTALL)
    assert len(charts) >= 6
    for chart in charts:
        ElementTree.fromstring(chart)
    drawn = "".join(charts)
    assert "cifar10-x" in drawn and "uNAS" in drawn
    # Colours are the style sheet's, so that the page can be dark as well.
    assert "var(--accent)" in drawn and not re.search(r"#0[1-7]0", drawn)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_claims_that_cannot_be_read_are_a_sentence(tmp_path):
    assert load_verdicts(tmp_path / "claims.json") is None
    for text in ("{}", "no json", '{"claims": [{}]}'):
        (tmp_path / "claims.json").write_text(text)
        with pytest.raises(UserError, match=r"make it anew: python -m benchmarks\.claims"):
            load_verdicts(tmp_path / "claims.json")


def test_what_is_only_remembered_is_in_no_chart_and_no_headline(folder):
    published = load_published(folder / "published.json")
    unchecked = {(figure.dataset, figure.test_accuracy) for figure in published if figure.sure == UNCHECKED}
    assert unchecked
    table = load_table(folder / "table.json")
    for section in sections(table, [], published):
        for ram in (False, True):
            assert not {(section.dataset, mark.accuracy) for mark in section.marks(ram)} & unchecked
    text = headline(table, published)
    assert "**cifar10-x** | 78.91" in text and "fed by rows" in text
    assert "| | uNAS | 77.49 % | 685 B | 909 B | counted, second-hand |" in text
    assert "99.19" not in text and UNCHECKED not in text and "digits" not in text


def test_charts_leave_out_what_no_microcontroller_holds(entry):
    marks = [Mark(500, 0.9, "a", OURS_BY_ROWS, 0.01), Mark(MOST_BYTES + 1, 0.99, "elephant", "baseline")]
    assert [mark.label for mark in shown(marks)] == ["a"]
    assert "elephant" not in accuracy_chart(marks, name="n", x_label="bytes")
    # One point, none, and equal ones: no axis breaks.
    for some in ([], marks[:1], marks[:1] * 3, [replace(marks[0], accuracy=1.0)]):
        ElementTree.fromstring(accuracy_chart(some, name="n", x_label="bytes"))


def test_the_pages_in_the_repository_tell_what_its_tables_hold():
    text, html = (RESULTS / "README.md").read_text(), (RESULTS / "index.html").read_text()
    for entry in load_table():
        assert f"| [{entry.name}]({entry.tflite}) | " + " | ".join(our_cells(entry)) + " |" in text
        assert f">{entry.name}</a>" in html
    for record in load_baselines():
        assert f"| {100 * record['test_accuracy']:.2f} | {record['model_bytes']:,} |" in text


def test_the_headline_is_printed(capsys):
    assert main(["--headline"]) == 0
    assert capsys.readouterr().out.startswith("| data set | network | test accuracy |")
