"""The teacher is trained once, knows its data, and its answers are kept."""

import numpy as np
import pytest

from tfsparse import teacher
from tfsparse.rung import Rung
from tfsparse.teacher import teacher_logits
from tfsparse_datasets import load

SHORT = Rung(8000)


@pytest.fixture
def fresh_memory(monkeypatch):
    monkeypatch.setattr(teacher, "_known", {})


def test_answers_are_good_and_kept(tmp_path, monkeypatch, fresh_memory):
    digits = load("digits")
    logits = teacher_logits(digits, tmp_path, rung=SHORT)
    assert logits.shape == (len(digits.train.labels), 10)
    assert np.mean(logits.argmax(-1) == digits.train.labels) > 0.9
    (path,) = tmp_path.iterdir()

    trainings = []
    monkeypatch.setattr(teacher, "_train", lambda *arguments: trainings.append(arguments) or logits)
    assert teacher_logits(digits, tmp_path, rung=SHORT) is logits
    teacher._known.clear()
    np.testing.assert_array_equal(teacher_logits(digits, tmp_path, rung=SHORT), logits)
    assert not trainings
    # A file that a kill cut short is made anew, and another data set has another teacher.
    path.write_bytes(path.read_bytes()[:200])
    teacher._known.clear()
    teacher_logits(digits, tmp_path, rung=SHORT)
    assert len(trainings) == 1
    teacher_logits(load("digits", seed=1), tmp_path, rung=SHORT)
    assert len(trainings) == 2 and len(list(tmp_path.iterdir())) == 2
