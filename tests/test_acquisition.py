"""What is expected of candidates: the better in the mean first; failures count against those like them."""

import numpy as np

from support.stand_in import SPACE, error_of, figures_of
from tfsparse.acquisition import Acquisition
from tfsparse.budgets import Budgets
from tfsparse.objectives import Objectives


def _objectives(candidate) -> Objectives:
    figures = figures_of(SPACE, candidate)
    return Objectives(error_of(SPACE, candidate), figures["flash_model"], figures["ram_model"])


def _candidates(count: int, seed: int) -> list:
    rng = np.random.default_rng(seed)
    drawn = iter(lambda: SPACE.sample(rng), None)
    return list(dict.fromkeys(next(one for one in drawn if SPACE.refusal(one) is None) for _ in range(count)))


def _tried(count: int, seed: int = 0):
    return [(one, 1.0, _objectives(one)) for one in _candidates(count, seed)]


def test_what_gains_is_found_among_what_does_not():
    """Against the gains that the true objectives would bring: its favourites are far above the average."""
    acquisition = Acquisition(SPACE, Budgets(), _tried(60), np.random.default_rng(0))
    options = _candidates(200, seed=1)
    values = acquisition([(one, 1.0) for one in options])
    true = acquisition.scalarise.gain(np.array([_objectives(one).log for one in options]))
    assert true[np.argsort(values)[:20]].mean() > 3 * true.mean()


def test_the_same_numbers_judge_the_same():
    values = [
        Acquisition(SPACE, Budgets(), _tried(20), np.random.default_rng(3))([(one, 1.0) for one in _candidates(5, 2)])
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*values)


def test_before_a_budget_is_met_the_nearest_are_best():
    tried = _tried(40)
    ram = min(objectives.ram for _, _, objectives in tried)
    acquisition = Acquisition(SPACE, Budgets(ram=int(ram / 4)), tried, np.random.default_rng(0))
    options = _candidates(100, seed=1)
    values = acquisition([(one, 1.0) for one in options])
    sizes = np.array([_objectives(one).ram for one in options])
    assert np.median(sizes[np.argsort(values)[:10]]) < np.quantile(sizes, 0.2)


def test_like_a_failure_is_worse_than_like_a_success():
    """Only the error suffers: of sizes a failure says nothing."""
    tried, options = _tried(30), _candidates(40, seed=5)
    before = Acquisition(SPACE, Budgets(), tried, np.random.default_rng(0))
    best = options[int(np.argmin(before([(one, 1.0) for one in options])))]
    after = Acquisition(SPACE, Budgets(), [*tried, (best, 1.0, None)], np.random.default_rng(0))
    assert after([(best, 1.0)])[0] > before([(best, 1.0)])[0]
