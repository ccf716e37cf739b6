"""The table of results: read, written, kept in order."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import support.repository  # noqa: F401
from results.table import TABLE, Entry, load_table, put_entry, read_candidate, save_table
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def entry() -> Entry:
    return next(entry for entry in load_table() if entry.name == "digits-small")


def test_the_table_of_the_repository_is_as_the_commands_write_it(tmp_path):
    entries = load_table()
    save_table(reversed(entries), tmp_path / "table.json")
    assert (tmp_path / "table.json").read_text() == TABLE.read_text()


def test_every_entry_has_its_files_and_they_are_small():
    for entry in load_table():
        read_candidate(entry)
        assert entry.seeds and entry.tflite_seed in entry.seeds and entry.command
        assert (TABLE.parent / entry.tflite).stat().st_size < 1_000_000


def test_an_entry_replaces_the_one_of_its_name(entry, tmp_path):
    path = tmp_path / "table.json"
    assert load_table(path) == []
    other = replace(entry, name="another", rule="parity")
    put_entry(other, path)
    put_entry(entry, path)
    assert load_table(path) == [entry, other] and load_table(path)[1].title == "digits:parity"
    put_entry(replace(entry, payload=7), path)
    assert [one.payload for one in load_table(path)] == [7, other.payload]
    assert [Path(path).name for path in tmp_path.iterdir()] == ["table.json"]


def test_a_table_that_cannot_be_read_is_a_sentence(entry, tmp_path):
    path = tmp_path / "table.json"
    row = entry.to_json()
    lacking = {name: value for name, value in row.items() if name != "payload"}
    cases = {
        "no json": "restore",
        json.dumps({}): "no list",
        json.dumps([lacking]): "lacks payload",
        json.dumps([{**row, "colour": "red"}]): "has colour",
        json.dumps([row, row]): "several entries of the name digits-small",
        json.dumps([{**row, "fed": "spoon"}]): "'whole' or 'rows'",
        json.dumps([{**row, "name": "../up"}]): "no name for an entry",
    }
    for text, words in cases.items():
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            load_table(path)
