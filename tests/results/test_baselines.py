"""The baselines on digits: what they answer, what they weigh, and that a cell is done once."""

import json
from dataclasses import replace

import numpy as np
import pytest

import support.repository  # noqa: F401
from results import methods
from results.baselines import load_baselines, main
from results.methods import METHODS, TITLES, knn
from results.table import load_data
from tfsparse.errors import UserError
from tfsparse_datasets import Split


@pytest.fixture(scope="module")
def digits():
    """A few of them: enough to be much better than chance."""
    whole = load_data("digits", None)
    few = {name: getattr(whole, name).take(np.arange(count)) for name, count in (("train", 300), ("validation", 100))}
    return replace(whole, **few)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_says_what_it_weighs(method, digits, monkeypatch):
    monkeypatch.setattr(methods, "ITERATIONS", 8)
    monkeypatch.setattr(methods, "SAMPLES", 12_000)
    monkeypatch.setattr(methods, "HIDDEN", (32,))
    told = []
    found = METHODS[method](digits, 250, told.append)
    assert found.test_accuracy > 0.75 and found.trained_on == 250 and method in TITLES and told
    assert found.val_accuracy >= max(one["val_accuracy"] for one in found.grid) - 0.1
    weighs = {
        "knn": 4 * 250 * 64,
        "dense": 4 * (64 * 32 + 32 + 32 * 10 + 10),
        "lenet5": 4 * (6 * 26 + 16 * 151 + 120 * 65 + 84 * 121 + 10 * 85),
    }
    assert found.model_bytes == weighs.get(method, found.model_bytes) and found.model_bytes > 1000
    assert "float32" in found.counted_as or "4 bytes" in found.counted_as


def test_neighbours_are_counted_by_hand():
    """Three points of class 0 far off, one of class 1 near: k = 1 is right, and ties go to the nearer class."""
    images = np.array([0, 0, 0, 200] * 4 + [0, 200], np.uint8)[:, None, None, None].repeat(4, 1)
    labels = (images[:, 0, 0, 0] > 100).astype(np.int64)
    split = Split(images, labels)
    dataset = replace(load_data("digits", None), class_names=("a", "b"), train=split, validation=split, test=split)
    found = knn(dataset, None, lambda text: None)
    assert found.test_accuracy == 1 and found.chosen == {"k": 1} and len(found.grid) == 5


def test_a_cell_is_done_once(tmp_path, capsys):
    out = tmp_path / "baselines.json"
    words = ["--cells", "digits/knn", "--out", str(out)]
    assert main(words) == 0
    assert "digits knn: test 9" in capsys.readouterr().err
    (record,) = load_baselines(out)
    assert record["command"] == "python -m results.baselines --cells digits/knn" and record["trained_on"] == 1198
    out.write_text(json.dumps([{**record, "test_accuracy": 0.5}]))
    assert main(words) == 0
    assert load_baselines(out)[0]["test_accuracy"] == 0.5
    assert main([*words, "--again"]) == 0
    assert load_baselines(out) == [{**record, "seconds": load_baselines(out)[0]["seconds"]}]


def test_errors_are_sentences(tmp_path):
    for words, said in (
        (["--cells", "digits"], "give DATA/METHOD"),
        (["--cells", "digits/magic"], "give DATA/METHOD"),
        (["--threads", "0"], "give at least 1"),
        (["--cells", "mnist/knn", "--data-dir", str(tmp_path)], "mnist is not in"),
    ):
        with pytest.raises(UserError, match=said):
            main([*words, "--out", str(tmp_path / "b.json")])
    (tmp_path / "b.json").write_text("no json")
    with pytest.raises(UserError, match="cannot read"):
        main(["--cells", "digits/knn", "--out", str(tmp_path / "b.json")])
