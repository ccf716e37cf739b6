"""Candidates are values: JSON round trips, equal ones share their identity, unequal ones do not."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given

from support.candidates import candidates
from tfsparse.candidate import Block, Candidate, Layer, Training

SMALL = Candidate((Block((Layer("plain", 8, 3),), factor=2),), dense=(16,))


@given(candidates())
def test_json_round_trip_keeps_identity(candidate):
    again = Candidate.from_json(candidate.to_json())
    assert again == candidate
    assert again.id == candidate.id


def test_identity_is_the_same_in_every_process():
    code = (
        "from tfsparse.candidate import *;print(Candidate((Block((Layer('plain', 8, 3),), factor=2),), dense=(16,)).id)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == SMALL.id


def test_training_changes_the_identity_but_not_the_architectures():
    other = replace(SMALL, training=Training(learning_rate=0.5))
    assert other.id != SMALL.id
    assert other.architecture_id == SMALL.architecture_id


@pytest.mark.parametrize(
    "change", [{"colour": 1}, {"blocks": [{"layers": [{"kernel": 3}]}]}, {"training": {"speed": 1}}]
)
def test_json_that_is_no_candidate_is_a_value_error(change):
    with pytest.raises(ValueError):
        Candidate.from_json({**SMALL.to_json(), **change})
