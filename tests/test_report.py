import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from support.candidates import candidates
from support.runs import CLASSES, SHAPE, make_run
from tfsparse import report
from tfsparse.budgets import Budgets
from tfsparse.compiler import compile_model
from tfsparse.errors import UserError
from tfsparse.network import Infeasible, network_of
from tfsparse.picture import lay_out

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Every element of a page with its attributes and its text; fails on elements closed in the wrong order."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.stack:
            self.texts.setdefault(self.stack[-1], []).append(data.strip())

    def all_text(self) -> str:
        return " ".join(text for tag, texts in self.texts.items() if tag not in ("style", "title") for text in texts)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "demo", 60)


@pytest.fixture(scope="module")
def html(run):
    path = report.write_report(run.path)
    assert path == run.path / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def plain(text: str) -> str:
    return text.replace("\u202f", " ")


def test_it_loads_nothing_and_refers_only_to_files_of_the_run(html, page, run):
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in page.elements}
    assert not re.search(r"@import|url\((?!#)", html)
    targets = [
        value for _, attributes in page.elements for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "data", "srcset")
    ]  # fmt: skip
    identities = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in identities
        else:
            assert (run.path / target).is_file(), target
    assert {f"survivors/{record.name}.tflite" for record in run.survivors} <= set(targets)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(identities)
    assert len(html.encode()) < 1_000_000


def test_every_completed_trial_is_in_both_fronts_with_its_figures_as_tooltip(page, run):
    tooltips = [plain(text) for text in page.texts["title"]]
    completed = [record for record in run.records if record.status == "completed"]
    assert len(completed) > 10
    for record in completed:
        mine = [text for text in tooltips if text.startswith(f"trial {record.trial} ")]
        # Twice in the fronts, once over trials.
        assert len(mine) == 3
        flash = f"{record.figures['flash_model']:,}".replace(",", " ")
        assert f"flash_model {flash} B" in mine[0] and f"{100 * record.val_accuracy:.2f} %" in mine[0]
    for record in run.records:
        if record.status != "completed":
            assert not [text for text in tooltips if text.startswith(f"trial {record.trial} ")]


def test_each_tooltip_sits_on_its_own_point(run, html):
    """In the flash chart, the further right a point is drawn, the more flash its tooltip must tell."""
    chart = re.search(r"<h3>Error against flash</h3>(<svg.*?</svg>)", html, re.DOTALL)[1]
    svg = "{http://www.w3.org/2000/svg}"
    drawn = [
        (float(use.get("x")), int(re.search(r"flash_model ([\d\u202f]+)", use[0].text)[1].replace("\u202f", "")))
        for use in ElementTree.fromstring(chart).iter(f"{svg}use")
        if len(use)
    ]
    assert len(drawn) > 8
    assert [flash for _, flash in sorted(drawn)] == sorted(flash for _, flash in drawn)


def test_the_head_names_data_budgets_counts_and_the_best_survivor(page, run):
    text = plain(page.all_text())
    statuses = [record.status for record in run.records]
    best = run.survivors[0]
    assert page.texts["h1"] == ["mnist"]
    assert "flash_model ≤ 6 144 B, ram_model ≤ 16 384 B" in text
    assert re.search(
        rf"{statuses.count('completed')} completed, 0 stopped early, {statuses.count('failed')} failed, "
        rf"{statuses.count('infeasible')} infeasible",
        text,
    )
    assert f"{100 * best.val_accuracy:.2f} %" in text
    assert "Best survivor inside the budgets:" in text


def test_the_survivors_table_has_every_word_of_the_record(page, run):
    words = page.texts["code"]
    for column in report.COLUMNS:
        assert column.word in words
        assert column.word in run.survivors[0].to_json()
    cells = [plain(cell) for cell in page.texts["td"]]
    for record in run.survivors:
        for column in report.COLUMNS:
            value = f"{record.figures[column.word]:,}".replace(",", " ")
            assert f"{value} {column.unit}".strip() in cells


def test_settings_versions_and_reasons_are_told_and_escaped(page, html, run):
    text = page.all_text()
    for word in (run.settings.command, run.settings.machine, run.settings.started, "tensorflow", "2.21.0"):
        assert word in text
    assert "after <3> epochs & more" in text and "<3>" not in html
    assert [record.reason for record in run.records if record.reason and record.reason in text]


def test_each_survivor_is_drawn(page, run):
    drawn = [attributes for tag, attributes in page.elements if attributes.get("class") == "picture"]
    assert len(drawn) == len(run.survivors)
    boxes = [plain(text) for text in page.texts["title"]]
    for record in run.survivors:
        network = network_of(record.candidate, SHAPE, CLASSES)
        height, width, channels = network.shapes[network.ops[1].name]
        assert any(text.endswith(f"output {height}\u00d7{width}\u00d7{channels}") for text in boxes)


@settings(max_examples=60, deadline=None)
@given(candidates())
def test_every_op_of_any_candidate_is_in_its_picture_once(candidate):
    try:
        network = network_of(candidate, SHAPE, CLASSES)
    except Infeasible:
        return
    picture = lay_out(network)
    sides = [kind for arc in picture.arcs for kind in arc.label.split("; ") if kind]
    shown = [op for op in network.ops if op.kind != "flatten"]
    flattenings = sum(box.kind == "flatten" for box in picture.boxes)
    assert len(picture.boxes) - flattenings + len(sides) == len(shown)
    assert len(picture.arcs) == sum(len(op.inputs) - 1 for op in network.ops if op.inputs)
    tops = [box.y for box in picture.boxes]
    assert tops == sorted(tops) and tops[-1] + picture.boxes[-1].height <= picture.height
    for upper, lower in zip(picture.boxes, picture.boxes[1:], strict=False):
        assert upper.y + upper.height < lower.y
    assert max(box.bytes_share for box in picture.boxes) == 1
    for arc in picture.arcs:
        assert 0 <= arc.x <= picture.total_width and arc.y_from < arc.y_to


def test_a_rule_and_no_budgets(tmp_path):
    run = make_run(tmp_path / "run", 12, rule="lt-half", budgets=Budgets())
    text = Page(report.write_report(run.path).read_text()).all_text()
    assert "mnist:lt-half" in text and "rule lt-half" in text and "budgets: none" in text
    assert "Best survivor: " in text and "inside the budgets" not in text


def test_budgets_that_nothing_meets(tmp_path):
    run = make_run(tmp_path / "run", 12, budgets=Budgets(flash=2600))
    text = Page(report.write_report(run.path).read_text()).all_text()
    assert "no trial meets the budgets yet" in text


def test_a_run_without_results(tmp_path):
    run = make_run(tmp_path / "none", 0)
    assert "No trial has ended yet" in report.write_report(run.path).read_text()
    run = make_run(tmp_path / "bad", 6, budgets=Budgets(ram=1))
    page = Page(report.write_report(run.path).read_text())
    text = page.all_text()
    assert "No trial was completed" in text and "6 infeasible: turned away before any training" in text
    reasons = [record.reason for record in run.records]
    assert "over the 1 bytes of RAM" in " ".join(reasons)
    assert all(reason in page.texts["td"] for reason in reasons)


def test_one_trial_and_a_perfect_one(tmp_path):
    run = make_run(tmp_path / "run", 1, seed=2, budgets=Budgets())
    assert run.records[0].status == "completed"
    Page(report.write_report(run.path).read_text())
    run.amend([replace(run.records[0], val_accuracy=1.0, test_accuracy=0.9876, note="int8 costs 1 point")])
    text = plain(Page(report.write_report(run.path).read_text()).all_text())
    assert "100.00 %" in text and "98.76 %" in text and "int8 costs 1 point" in text


def test_a_survivors_layers_as_compiled(tmp_path):
    from support.tflite_models import small_digits_like_tflite

    run = make_run(tmp_path / "run", 3, budgets=Budgets())
    best = run.survivors[0]
    model = run.path / best.tflite
    model.write_bytes(small_digits_like_tflite())
    page = Page(report.write_report(run.path).read_text())
    assert page.texts["summary"].count("as compiled, after pruning") == 1
    cells = [plain(cell) for cell in page.texts["td"]]
    for layer in compile_model(model, tmp_path / "c").layers:
        assert layer.kind.replace("_", " ") in cells
        if layer.format:
            assert layer.format in cells and f"{layer.payload:,} B".replace(",", " ") in cells


def test_a_long_run_stays_below_a_megabyte(tmp_path):
    run = make_run(tmp_path / "run", 3, budgets=Budgets())
    many = [*run.records] * 400
    html = report.render(run.settings, many, run.survivors, {})
    assert len(html.encode()) < 1_000_000


def test_the_command_remakes_it_without_tensorflow(run):
    (run.path / "report.html").unlink()
    code = (
        "import sys; from tfsparse import report; sys.argv = ['report', sys.argv[1]]; report.main();"
        "print(*{m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'tf_keras', 'sklearn'})"
    )
    done = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True)
    assert done.stdout == f"{run.path / 'report.html'}\n\n", done.stderr
    assert (run.path / "report.html").is_file()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report.write_report(tmp_path)
    done = subprocess.run([sys.executable, "-m", "tfsparse.report", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
