"""Candidates that a search tries first: where they come from, what is turned away, that they are tried."""

import json
from dataclasses import replace

import numpy as np
import pytest

from support.stand_in import SPACE, evaluate, settings
from tfsparse.budgets import Budgets
from tfsparse.candidate import Block, Candidate, Layer
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


def test_what_cannot_be_tried_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot read the candidate"):
        start_candidates([tmp_path / "none.json"], SPACE)
    wide = replace(SMALL, blocks=(Block((Layer("plain", 1000, 3),)),))
    with pytest.raises(UserError, match=r"outside the design space .block1/layer1/filters is 1000"):
        start_candidates([_file(tmp_path, wide)], SPACE)
    with pytest.raises(UserError, match="more room"):
        start_candidates([_file(tmp_path, SMALL)], DesignSpace(SPACE.input_shape, SPACE.classes, Budgets(ram=10)))


def test_they_are_tried_first_and_kept_in_the_run(tmp_path):
    run = _searched(tmp_path / "run", 8, (SMALL, OTHER))
    candidates = [record.candidate for record in run.records]
    assert candidates[:2] == [SMALL, OTHER] and len(set(candidates)) == 8
    assert RunFolder.open(run.path).settings == run.settings
    # Others are tried beside them: not all are their morphs.
    assert len({record.candidate.architecture_id for record in run.records}) > 4
    assert np.isfinite([record.val_accuracy for record in run.records]).all()
