"""Mutated files of every operator: a clear error or a correct program. `python -m support.mutate` runs many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.mutate import Outcome, batches, compare, seeds, try_compiler
from support.operator_cases import CASES

COUNT = 1_500
MOST_RUN = 24


@pytest.fixture(scope="module")
def mutants() -> list[bytes]:
    return [mutant for batch in batches(COUNT, seed=0) for mutant in batch]


def told(outcome: Outcome) -> list[str]:
    return [what for what, _ in outcome.found]


def test_mutants_are_refused_or_compile(mutants: list[bytes]) -> None:
    outcome, accepted = try_compiler(mutants)
    assert told(outcome) == []
    # If nearly all or none were refused, the mutations would not be worth much.
    assert outcome.counts["refused"] > COUNT / 2 and len(accepted) > COUNT / 50


def test_accepted_mutants_compute_what_tflite_computes(mutants: list[bytes], tmp_path: Path) -> None:
    _, accepted = try_compiler(mutants)
    outcome = compare([mutant for mutant in accepted if mutant not in set(seeds())][:MOST_RUN], tmp_path)
    assert told(outcome) == []
    assert outcome.counts["same bytes"] >= MOST_RUN / 4


def test_every_truncation_is_refused_or_compiles() -> None:
    for whole in seeds():
        outcome, _ = try_compiler([whole[:length] for length in range(0, len(whole), max(1, len(whole) // 12))])
        assert told(outcome) == []


def test_a_program_that_differs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself can fail: with outputs of the reference one off."""
    monkeypatch.setattr("support.mutate.reference_bytes", lambda *arguments: arguments[2][:, :1] * 0 - 99)
    assert told(compare(seeds()[:1], tmp_path)) == ["other bytes than TFLite"]
    assert len(seeds()) == len(CASES)
