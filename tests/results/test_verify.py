"""The results are measured again, and whatever the table tells wrongly is found."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import support.repository  # noqa: F401
from hil.measurer import Measurer
from results.adding import FinalTraining, add_entry
from results.measuring import figures_of, measure
from results.table import ROWS, TABLE, TRAINED_ON_VALIDATION, WHOLE, load_data, load_table, read_candidate, save_table
from results.verify import DataSets, check, main
from tfsparse.compiler.reader import read_model
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def entry():
    return next(entry for entry in load_table() if entry.name == "digits-small")


@pytest.fixture(scope="module")
def measurer(tmp_path_factory):
    with Measurer(workdir=tmp_path_factory.mktemp("measurer")) as measurer:
        yield measurer


def test_the_digits_are_as_the_table_says(capsys):
    assert main(["digits-small", "--json"]) == 0
    (verdict,) = json.loads(capsys.readouterr().out)
    assert not verdict["differences"] and not verdict["unchecked"] and verdict["test_accuracy"] > 0.9


FALSE = {
    "payload": "payload is",
    "instructions": "instructions is",
    "ram_model": "ram_model is",
    "nnz": "nnz is",
    "tflite_test_accuracy": "the stored file's test accuracy is",
    "tflite_val_accuracy": "the stored file's validation accuracy is",
    "test_accuracy": "the mean test accuracy is",
    "accuracy_sd": "the deviation of the test accuracy is",
}


def test_every_falsified_figure_is_found(entry, measurer):
    better = {
        name: round(getattr(entry, name) * (1.001 if "accuracy" in name else 1), 6) - ("accuracy" not in name)
        for name in FALSE
    }
    verdict = check(replace(entry, **better), measurer, DataSets(None), TABLE)
    for words in FALSE.values():
        assert sum(difference.startswith(words) for difference in verdict.differences) == 1, words
    # A better accuracy of the stored file contradicts the single trainings', too.
    assert len(verdict.differences) == len(FALSE) + 2


def spoilt(model: bytes) -> bytes:
    """The same .tflite with the signs of its largest table of weights turned round."""
    weights = max((t.data for t in read_model(model).tensors if t.data is not None and t.dtype == "int8"), key=np.size)
    assert model.count(weights.tobytes()) == 1
    return model.replace(weights.tobytes(), (-weights).astype(np.int8).tobytes())


def test_another_model_in_the_entrys_place_is_found(entry, tmp_path, capsys):
    shutil.copytree(TABLE.parent / "models", tmp_path / "models")
    save_table([replace(entry, test_accuracies=(), val_accuracies=())], tmp_path / "table.json")
    model = tmp_path / entry.tflite
    model.write_bytes(spoilt(model.read_bytes()))
    assert main(["--table", str(tmp_path / "table.json"), "--json"]) == 1
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["differences"] and "mean and deviation" in verdict["unchecked"][0]
    model.unlink()
    assert main(["--table", str(tmp_path / "table.json")]) == 1
    assert "cannot read the model" in capsys.readouterr().out


def test_sizes_are_updated_where_that_is_asked_and_accuracies_never(entry, tmp_path, capsys):
    shutil.copytree(TABLE.parent / "models", tmp_path / "models")
    path = tmp_path / "table.json"
    larger = replace(entry, flash_total=entry.flash_total + 8, payload=1)
    better = replace(larger, name="better", tflite_val_accuracy=1.0)
    save_table([larger, better], path)
    assert main(["--table", str(path)]) == 1 and load_table(path) == [better, larger]
    assert main(["--table", str(path), "--update"]) == 1
    assert load_table(path) == [better, entry]
    assert "sizes written into the table" in capsys.readouterr().out
    assert main(["--table", str(path), "digits-small"]) == 0


def test_without_the_data_sizes_are_checked_and_the_accuracy_is_said_to_be_unchecked(entry, measurer, tmp_path):
    verdict = check(replace(entry, dataset="mnist", payload=1), measurer, DataSets(tmp_path), TABLE)
    assert [difference.split(" is ")[0] for difference in verdict.differences] == ["payload"]
    assert verdict.test_accuracy is None
    assert len(verdict.unchecked) == 1 and "accuracy: mnist is not in" in verdict.unchecked[0]


def test_another_copy_of_the_data_is_said(entry, measurer):
    verdict = check(replace(entry, note="another"), measurer, DataSets(None), TABLE)
    assert not verdict.differences and "another copy" in verdict.unchecked[0]
    # What is said of the training is no matter of the copy.
    trained = replace(entry, note=f"{entry.note}; {TRAINED_ON_VALIDATION}")
    assert trained.trained_on_validation and trained.data_note == entry.note
    assert not isinstance(DataSets(None)(trained), str)
    assert replace(entry, note=TRAINED_ON_VALIDATION).data_note == ""


def test_the_best_on_validation_is_stored(entry, measurer, tmp_path):
    """Of three trainings, two spoilt, as `add_entry` stores and judges them; the checking command agrees."""
    table, dataset, candidate = tmp_path / "table.json", load_data("digits", None), read_candidate(entry)
    good = (TABLE.parent / entry.tflite).read_bytes()
    bad = spoilt(good)
    trainings = [FinalTraining(5, bad), FinalTraining(6, good), FinalTraining(7, bad)]
    told = {"measurer": measurer, "command": "c", "table": table}
    added = add_entry("mine", dataset, candidate, trainings, origin="by hand", **told)
    assert added.tflite_seed == 6 and (tmp_path / added.tflite).read_bytes() == good
    assert added.tflite_test_accuracy == entry.tflite_test_accuracy > added.test_accuracies[0]
    assert added.test_accuracy == pytest.approx(np.mean(added.test_accuracies), abs=1e-6)
    assert load_table(table) == [added]
    assert not check(added, measurer, DataSets(None), table).differences
    assert add_entry("mine", dataset, candidate, trainings[1:], **told).origin == "by hand"


def test_errors_of_the_users_are_sentences(tmp_path):
    with pytest.raises(UserError, match="has no entry nothing; it has: "):
        main(["nothing"])
    with pytest.raises(UserError, match="no entries yet"):
        main(["--table", str(tmp_path / "table.json")])
    with pytest.raises(UserError, match="does not exist"):
        DataSets(tmp_path / "absent")(replace(load_table()[0], dataset="mnist"))


def test_an_entry_that_is_fed_by_rows_is_checked_so(entry, tmp_path, capsys):
    """The same network fed by rows needs other RAM; the command checks both in one run, each in its way."""
    shutil.copytree(TABLE.parent / "models", tmp_path / "models")
    with Measurer(by_rows=True) as by_rows:
        found = figures_of(measure(by_rows, TABLE.parent / entry.tflite, ROWS))
        with pytest.raises(ValueError, match="whole"):
            measure(by_rows, TABLE.parent / entry.tflite, WHOLE)
    assert found["ram_model"] != entry.ram_model and found["nnz"] == entry.nnz
    rows = replace(entry, name="rows", fed=ROWS, **found)
    save_table([entry, rows], tmp_path / "table.json")
    assert main(["--table", str(tmp_path / "table.json")]) == 0
    save_table([entry, replace(rows, fed=WHOLE)], tmp_path / "table.json")
    assert main(["--table", str(tmp_path / "table.json")]) == 1
    out = capsys.readouterr().out
    assert "ram_model is" in out and "entries: 2, with differences: 1" in out
