"""Finalists with several seeds: trained again as they were, ranked by the mean, and nothing done twice."""

import json
import os
from dataclasses import replace

import pytest
from rich.console import Console

from support.stand_in import evaluate, settings
from tfsparse.finalists import FINALISTS, repeat_finalists
from tfsparse.run_folder import RunFolder
from tfsparse.search import search
from tfsparse.workers import Inline


def _judge(asked):
    def judge(candidate, *, seed, **keywords):
        asked.append((candidate.id, seed, keywords["rung"], keywords["parent"]))
        result = evaluate(candidate, seed=seed, **keywords)
        return replace(result, val_accuracy=result.val_accuracy - (seed % 100) / 10_000, weights=candidate.id.encode())

    return judge


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    made = RunFolder.create(tmp_path / "run", settings(12))
    search(made, Inline(_judge([])), Console(file=open(os.devnull, "w"), width=80))  # noqa: SIM115
    return made


def test_finalists_are_trained_with_three_seeds_and_ranked_by_the_mean(folder):
    asked = []
    finalists = folder.survivors[:FINALISTS]
    told = []
    repeat_finalists(
        folder, Inline(_judge(asked)), 3, write=folder.append_repeat, progress=lambda *done: told.append(done)
    )
    assert len(asked) == 2 * len(finalists) == len(folder.repeats) == told[-1][0] == told[-1][1]
    for record in finalists:
        own = [one for one in asked if one[0] == record.candidate.id]
        assert len({seed for _, seed, _, _ in own} | {record.seed}) == 3
        # As it was: the same length, and the same parent's weights where it had them.
        assert {rung for _, _, rung, _ in own} == {record.rung}
        assert all((parent is not None) == record.inherited for _, _, _, parent in own)
        spread = folder.spread(record)
        accuracies = [record.val_accuracy] + [one.val_accuracy for one in folder.repeats if one.trial == record.trial]
        assert spread.seeds == 3 and spread.mean == pytest.approx(sum(accuracies) / 3)
    means = [folder.spread(one).mean if folder.spread(one) else one.val_accuracy for one in folder.survivors]
    assert means == sorted(means, reverse=True)
    listed = {one["trial"]: one for one in json.loads((folder.path / "pareto.json").read_text())}
    for record in finalists:
        assert listed[record.trial]["seeds"] == 3
        assert listed[record.trial]["val_accuracy_mean"] == pytest.approx(folder.spread(record).mean)
        assert listed[record.trial]["val_accuracy_sd"] == pytest.approx(folder.spread(record).sd)
    assert len((folder.path / "trials.jsonl").read_bytes().splitlines()) == 12


def test_what_was_stopped_goes_on_behind_what_is_there(folder):
    class Killed(BaseException):
        pass

    def write(record):
        folder.append_repeat(record)
        if len(folder.repeats) == 2:
            raise Killed

    first, again = [], []
    with pytest.raises(Killed):
        repeat_finalists(folder, Inline(_judge(first)), 3, write=write)
    with open(folder.path / "repeats.jsonl", "ab") as file:
        file.write(b'{"trial": 3, "sta')
    # A reader beside a run leaves the torn line; going on with the run drops it.
    torn = (folder.path / "repeats.jsonl").read_bytes()
    assert len(RunFolder.open(folder.path, mend=False).repeats) == 2
    assert (folder.path / "repeats.jsonl").read_bytes() == torn
    later = RunFolder.open(folder.path)
    assert len(later.repeats) == 2 and any("cut short" in notice for notice in later.notices)
    repeat_finalists(later, Inline(_judge(again)), 3, write=later.append_repeat)
    assert not {(one, seed) for one, seed, *_ in first} & {(one, seed) for one, seed, *_ in again}
    repeat_finalists(later, Inline(_judge(again)), 3, write=later.append_repeat)
    assert len(again) + 2 == len(later.repeats)
