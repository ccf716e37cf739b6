"""Early stopping: what is hopeless ends, slow starters do not, and a search says and keeps what it stopped."""

import os
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from support.stand_in import evaluate, settings
from tfsparse.run_folder import COMPLETED, STOPPED, RunFolder
from tfsparse.search import search
from tfsparse.stopping import LEAST, POINTS, Stopping
from tfsparse.train import TrainingStopped
from tfsparse.workers import Inline

FRACTIONS = np.linspace(0.125, 1.0, 8)


def _curve(final: float, late: float = 0.3) -> list[tuple[float, float]]:
    """Accuracies that rise to `final`, the slower the greater `late`."""
    return [(float(f), float(final * (1 - np.exp(-f / late)) / (1 - np.exp(-1 / late)))) for f in FRACTIONS]


def test_too_few_trainings_tell_nothing():
    assert Stopping.learn(0.1, [(_curve(0.9), 0.9)] * (LEAST - 1)) is None


def test_what_is_hopeless_is_ended_and_what_is_not_goes_on():
    known = [(_curve(final, late), final) for final in (0.8, 0.9, 0.95) for late in (0.2, 0.25, 0.3, 0.4)]
    stopping = Stopping.learn(0.1, known)
    assert stopping(0.5, 0.11)
    assert not stopping(POINTS[0] - 0.01, 0.11)
    assert not stopping(1.0, 0.11)
    # A slow starter that was seen before: its like goes on to its end.
    for fraction, accuracy in _curve(0.95, 0.4):
        assert not stopping(fraction, accuracy)


@given(
    st.lists(st.tuples(st.floats(0.3, 0.99), st.floats(0.1, 3.0)), min_size=LEAST, max_size=20),
    st.floats(0.02, 0.5),
)
def test_none_of_those_it_learnt_from_that_were_worthwhile_is_ended(trainings, worthwhile):
    known = [(_curve(final, late), final) for final, late in trainings]
    stopping = Stopping.learn(worthwhile, known)
    for curve, final in known:
        if 1 - final <= worthwhile:
            for point in POINTS:
                accuracy = float(np.interp(point, *zip(*curve, strict=True)))
                assert not stopping(point, accuracy)


def test_a_search_stops_records_and_goes_on(tmp_path):
    calls = []

    def judge(candidate, *, watch, **keywords):
        result = evaluate(candidate, watch=watch, **keywords)
        calls.append(candidate)
        good = len(calls) % 3
        final = result.val_accuracy if good else 0.15
        curve = _curve(final)
        for fraction, accuracy in curve:
            if watch(fraction, accuracy):
                raise TrainingStopped(fraction)
        return replace(result, val_accuracy=final, curve=tuple(curve))

    folder = RunFolder.create(tmp_path / "run", settings(24))
    search(folder, Inline(judge), Console(file=open(os.devnull, "w"), width=80))  # noqa: SIM115
    stopped = [record for record in folder.records if record.status == STOPPED]
    assert stopped and all("of its training" in record.reason for record in stopped)
    # They count as tried and are tried once, and nothing that was good is among them.
    assert len(folder.records) == 24 and len({record.candidate.id for record in folder.records}) == 24
    assert {record.status for record in folder.records} == {COMPLETED, STOPPED}
    again = RunFolder.open(folder.path)
    assert [one.to_json() for one in again.records] == [one.to_json() for one in folder.records]
