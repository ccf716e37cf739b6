"""The optimiser: stages, repeatability, nothing twice, no work twice, and that it beats chance."""

import numpy as np
import pytest

import tfsparse.space as space_module
from support.stand_in import SPACE, error_of, figures_of
from tfsparse.budgets import Budgets
from tfsparse.network import network_of
from tfsparse.objectives import Objectives
from tfsparse.pareto import hypervolume
from tfsparse.proposals import STAGES, Observation, Proposal, Proposer, SpaceExhausted, stage_at, start_trials
from tfsparse.space import DesignSpace


def _objectives(space, candidate, noise: float = 0.0) -> Objectives:
    figures = figures_of(space, candidate)
    return Objectives(
        min(error_of(space, candidate) * np.exp(noise), 0.9), figures["flash_model"], figures["ram_model"]
    )


def _search(trials: int, seed: int, budgets: Budgets | None = None, *, random: bool = False, failing=()):
    """A whole search on the stand-in problem; proposals and observations."""
    budgets = budgets or Budgets()
    space = DesignSpace(SPACE.input_shape, SPACE.classes, budgets)
    proposer, rng = Proposer(space, budgets, seed), np.random.default_rng([seed, 99])
    proposals: list[Proposal] = []
    observed: list[Observation] = []
    for trial in range(trials):
        known = {one.candidate for one in proposals}
        if random:
            drawn = iter(lambda: space.sample(rng), None)
            candidate = next(one for one in drawn if space.refusal(one) is None and one not in known)
            proposal = Proposal(candidate, "explore", 1.0)
        else:
            proposal = proposer.propose(trial, trial / trials, start_trials(trials), observed, known)
        proposals.append(proposal)
        objectives = None if trial in failing else _objectives(space, proposal.candidate, rng.normal(0, 0.05))
        observed.append(Observation(trial, proposal.candidate, proposal.rung, objectives))
    return proposals, observed


def _volume(observed, budgets: Budgets | None = None) -> float:
    kept = [one.objectives for one in observed if one.objectives and one.objectives.within(budgets or Budgets())]
    return hypervolume(np.array([one.log for one in kept]).reshape(-1, 3), np.log([1.0, 1e5, 3e4]))


def test_stages_follow_one_another_and_rungs_grow():
    names = [stage_at(i / 20).name for i in range(20)]
    assert names == ["explore"] * 8 + ["exploit"] * 8 + ["refine"] * 4
    assert [stage.rung for stage in STAGES] == [1.0, 1.0, 2.0]
    assert stage_at(1.0).name == "refine"
    assert sum(stage.share for stage in STAGES) == pytest.approx(1.0)


def test_the_same_seed_proposes_the_same():
    first, _ = _search(12, seed=3)
    again, _ = _search(12, seed=3)
    other, _ = _search(12, seed=4)
    assert first == again
    assert first[0] != other[0]


def test_nothing_is_proposed_twice_and_all_is_feasible():
    budgets = Budgets(flash=6000, ram=1500)
    proposals, _ = _search(25, seed=0, budgets=budgets)
    assert len({one.candidate for one in proposals}) == len(proposals)
    space = DesignSpace(SPACE.input_shape, SPACE.classes, budgets)
    assert all(space.refusal(one.candidate) is None and space.contains(one.candidate) for one in proposals)


def test_later_stages_propose_morphs_of_earlier_trials():
    proposals, observed = _search(20, seed=1)
    for trial, one in enumerate(proposals):
        assert (one.parent is None) == (one.morph is None)
        if one.parent is not None:
            assert one.parent < trial and observed[one.parent].objectives is not None
    assert all(one.parent is not None for one in proposals[16:])
    assert sum(one.parent is not None for one in proposals[8:16]) >= 4


def test_failures_are_avoided_but_stop_nothing():
    proposals, _ = _search(12, seed=2, failing={0, 1, 5, 6, 7})
    assert len(proposals) == 12


def test_all_failures_leave_the_quasi_random_start():
    proposals, _ = _search(8, seed=2, failing=set(range(8)))
    assert len({one.candidate for one in proposals}) == 8


def test_tight_budgets_still_find_a_start():
    image = int(np.prod(SPACE.input_shape))
    budgets = Budgets(ram=image + 20)
    proposals, _ = _search(6, seed=0, budgets=budgets)
    assert len({one.candidate for one in proposals}) == 6


def test_a_search_begins_with_candidates_that_may_well_meet_the_budgets():
    budgets = Budgets(flash=4096, ram=2048)
    space = DesignSpace((28, 28, 1), 10, budgets)
    proposer, known = Proposer(space, budgets, 0), []
    for trial in range(6):
        known.append(proposer.propose(trial, 0.0, 6, [], set(known)).candidate)
    assert (np.exp(space.guesses(known)[:, 1]) <= 4096).all()
    assert (space.likely_ram(known) <= 2048).all()
    # Among them are some whose layers one after the other would hold more: rows are streamed.
    assert any(space.network(one).memory_bound > 2048 for one in known)


def test_a_search_begins_with_the_half_that_may_be_expected_to_err_less():
    for budgets in (Budgets(), Budgets(flash=4096, ram=2048)):
        space = DesignSpace((28, 28, 1), 10, budgets)
        proposer = Proposer(space, budgets, 0)
        likely = proposer._likely
        assert sorted(map(str, likely)) == sorted(map(str, proposer._spread))
        flash, ram = np.exp(space.guesses(likely)[:, 1]), space.likely_ram(likely)
        fits = (flash <= (budgets.flash or np.inf)) & (ram <= (budgets.ram or np.inf))
        # All that fit, then the others; in both first those that err less than the median of those that fit.
        assert not np.diff(fits.astype(int)).max(initial=0) > 0
        errors = space.guesses(likely)[:, 0]
        limit = np.median(errors[fits])
        for some in (errors[fits] > limit, errors[~fits] > limit):
            assert (np.diff(some.astype(int)) >= 0).all()
    known = [Proposer(SPACE, Budgets(), 0)._quasi_random(set(), np.random.default_rng(0))]
    assert SPACE.guesses(known)[0, 0] < np.median(SPACE.guesses(Proposer(SPACE, Budgets(), 0)._spread)[:, 0])


def test_an_exhausted_space_says_so():
    nothing = DesignSpace((12, 12, 1), 10, Budgets(ram=10))
    with pytest.raises(SpaceExhausted):
        Proposer(nothing, Budgets(ram=10), 0).propose(0, 0.0, 4, [], set())


def test_what_the_space_knows_of_its_candidates_is_worked_out_once(monkeypatch):
    """Networks are most of what a proposal costs: the second one builds those of its new candidates alone."""
    built = []
    monkeypatch.setattr(space_module, "network_of", lambda *told: built.append(told) or network_of(*told))
    space = DesignSpace(SPACE.input_shape, SPACE.classes)
    _, observed = _search(300, seed=0, random=True)
    known = {one.candidate for one in observed}
    proposer = Proposer(space, Budgets(), 0)
    counts = []
    for number, fraction in ((299, 0.3), (300, 0.3), (301, 0.6), (302, 0.9)):
        built.clear()
        proposer.propose(number, fraction, 16, observed, known)
        counts.append(len(built))
    assert counts[0] > 1000 and max(counts[1:]) < counts[0] / 3


@pytest.mark.slow
def test_beats_chance():
    """On the stand-in problem: the hypervolume of (error, flash, RAM) on a logarithmic scale, median of three seeds."""
    ours, chance = ([_volume(_search(40, seed, random=random)[1]) for seed in range(3)] for random in (False, True))
    assert np.median(ours) > np.median(chance) * 1.03
