"""Candidates that a search tries first: where they come from, what is turned away, that they are tried."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.stand_in import SPACE, evaluate, settings
from tfsparse.budgets import Budgets
from tfsparse.candidate import Block, Candidate, Layer, Training
from tfsparse.errors import UserError
from tfsparse.run_folder import RunFolder
from tfsparse.search import search
from tfsparse.space import DesignSpace
from tfsparse.start import start_candidates
from tfsparse.workers import Inline

SMALL = Candidate((Block((Layer("separable", 5, 3),), factor=2),))
OTHER = Candidate((Block((Layer("plain", 4, 3),), factor=2),), head="average")


def _file(folder, candidate, name="candidate.json"):
    path = folder / name
    path.write_text(json.dumps(candidate.to_json()))
    return path


def _searched(folder, trials, first):
    from rich.console import Console

    run = RunFolder.create(folder, settings(trials, start=first))
    search(run, Inline(evaluate), Console(quiet=True))
    return run


def test_files_and_run_folders_each_candidate_once(tmp_path):
    files = [_file(tmp_path, SMALL, "a.json"), _file(tmp_path, OTHER, "b.json"), _file(tmp_path, SMALL, "c.json")]
    assert start_candidates(files, SPACE) == (SMALL, OTHER)
    run = _searched(tmp_path / "run", 5, ())
    survivors = [record.candidate for record in run.survivors]
    assert start_candidates([tmp_path / "run", files[0]], SPACE) == (*survivors, SMALL)
    tight = DesignSpace(SPACE.input_shape, SPACE.classes, Budgets(ram=SPACE.least.ram + 20))
    assert start_candidates([tmp_path / "run"], tight) == tuple(one for one in survivors if not tight.refusal(one))
    said = []
    assert start_candidates([tmp_path / "run"], DesignSpace((12, 12, 1), 10, Budgets(ram=1)), said.append) == ()
    assert len(said) == 1 and f"none of its {len(survivors)} survivors" in said[0]


def test_what_cannot_be_tried_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot read the candidate"):
        start_candidates([tmp_path / "none.json"], SPACE)
    dilated = replace(SMALL, blocks=(Block((Layer("dilated", 5, 3),)),))
    with pytest.raises(UserError, match=r"outside the design space .block1/layer1/convolution is dilated"):
        start_candidates([_file(tmp_path, dilated)], SPACE)
    deep = replace(SMALL, blocks=SMALL.blocks * 8)
    with pytest.raises(UserError, match="it has 8 blocks, and 1 to 7 are allowed"):
        start_candidates([_file(tmp_path, deep)], SPACE)
    for odd in ("3", None, True):
        data = SMALL.to_json()
        data["blocks"][0]["factor"] = odd
        path = tmp_path / "odd.json"
        path.write_text(json.dumps(data))
        with pytest.raises(UserError, match=f"cannot read the candidate .*factor is {odd!r}"):
            start_candidates([path], SPACE)
    with pytest.raises(UserError, match="more room"):
        start_candidates([_file(tmp_path, SMALL)], DesignSpace(SPACE.input_shape, SPACE.classes, Budgets(ram=10)))


def test_numbers_that_the_space_has_not_are_moved_to_its_nearest(tmp_path):
    training = Training(distillation=0.7, batch_size=92, learning_rate=0.5, dropout=0, weight_bits=5)
    given = replace(SMALL, blocks=(Block((Layer("plain", 1000, 3),), factor=4),), training=training)
    said = []
    (taken,) = start_candidates([_file(tmp_path, given)], SPACE, said.append)
    assert SPACE.contains(taken)
    # On a logarithmic scale 92 is nearer to 128 than to 64.
    expected = Training(distillation=0.6, batch_size=128, learning_rate=0.1, weight_bits=4)
    assert taken == replace(given, blocks=(Block((Layer("plain", 100, 3),), factor=3),), training=expected)
    assert len(said) == 1 and "candidate.json" in said[0]
    moved = {
        "block1/layer1/filters 1000 to 100",
        "block1/factor 4 to 3",
        "training/distillation 0.7 to 0.6",
        "training/batch_size 92 to 128",
        "training/learning_rate 0.5 to 0.1",
        "training/weight_bits 5 to 4",
    }
    assert set(said[0].partition("taken: ")[2].split(", ")) == moved
    # What is there already is taken as it is, and nothing is said.
    assert start_candidates([_file(tmp_path, taken)], SPACE, said.append) == (taken,)
    assert len(said) == 1


MODELS = Path(__file__).resolve().parents[1] / "results" / "models"


@pytest.mark.parametrize(
    ("name", "shape", "classes", "moved"),
    [
        ("chars4k-2-wide", (20, 20, 1), 2, "training/distillation 0.7 to 0.6"),
        ("chars4k-2-small", (20, 20, 1), 2, "training/distillation 0.7 to 0.6"),
        ("cifar10-2-small", (32, 32, 3), 2, None),
        ("mnist-small", (28, 28, 1), 10, None),
        ("mnist-2-found", (28, 28, 1), 2, None),
    ],
)
def test_the_networks_of_results_can_be_begun_with(name, shape, classes, moved):
    said = []
    space = DesignSpace(shape, classes, Budgets(flash=1024**2, ram=2048), by_rows=True)
    (taken,) = start_candidates([MODELS / f"{name}.json"], space, said.append)
    assert [line.rpartition("taken: ")[2] for line in said] == [moved] * (moved is not None)
    given = Candidate.from_json(json.loads((MODELS / f"{name}.json").read_text()))
    assert taken.architecture_id == given.architecture_id


def test_they_are_tried_first_and_kept_in_the_run(tmp_path):
    run = _searched(tmp_path / "run", 8, (SMALL, OTHER))
    candidates = [record.candidate for record in run.records]
    assert candidates[:2] == [SMALL, OTHER] and len(set(candidates)) == 8
    assert RunFolder.open(run.path).settings == run.settings
    # Others are tried beside them: not all are their morphs.
    assert len({record.candidate.architecture_id for record in run.records}) > 4
    assert np.isfinite([record.val_accuracy for record in run.records]).all()
