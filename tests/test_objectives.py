"""Pareto fronts, hypervolume, and the scalarisation under budgets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfsparse.budgets import Budgets
from tfsparse.objectives import Objectives, front, worthwhile_error
from tfsparse.pareto import hypervolume, non_dominated
from tfsparse.scalarisation import Scalarisation

points = arrays(float, st.tuples(st.integers(1, 20), st.just(3)), elements=st.integers(0, 5).map(float))


@given(points)
def test_a_front_is_what_its_definition_says(values):
    kept = non_dominated(values)
    for i, one in enumerate(values):
        worse = [(other <= one).all() and (other < one).any() for other in values]
        twin = any((values[j] == one).all() for j in range(i))
        assert kept[i] == (not any(worse) and not twin)


@given(points)
def test_hypervolume_counts_the_cells_that_are_dominated(values):
    reference = np.full(3, 6.0)
    cells = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    dominated = (values[None] <= cells[:, None]).all(-1).any(1).sum()
    assert hypervolume(values, reference) == pytest.approx(dominated)


def test_nothing_has_no_front():
    assert hypervolume(np.zeros((0, 3)), np.ones(3)) == 0.0
    assert not len(non_dominated(np.zeros((0, 3))))
    assert front([], Budgets()) == []


def test_survivors_are_inside_the_budgets_once_one_is():
    big, small, smaller = Objectives(0.01, 9000, 5000), Objectives(0.1, 4000, 1800), Objectives(0.2, 3000, 1500)
    budgets = Budgets(flash=4096, ram=2048)
    assert front([big, small, smaller], Budgets()) == [0, 1, 2]
    assert front([big, small, smaller], budgets) == [1, 2]
    assert front([big], budgets) == [0]


def _logs(*rows) -> np.ndarray:
    return np.array([Objectives(*row).log for row in rows])


def test_the_gain_is_the_hypervolume_gained():
    """Ranked like the exact hypervolume, on the scale of what was observed."""
    rng = np.random.default_rng(0)
    observed, options = rng.uniform(1, 3, (12, 3)), rng.uniform(0.5, 2.5, (40, 3))
    scalarise = Scalarisation.draw(observed, Budgets(), rng)
    reference = scalarise.reference
    before = hypervolume(observed, reference)
    exact = np.array([hypervolume(np.vstack([observed, one]), reference) - before for one in options])
    gains = -scalarise(options)
    # So many directions may all miss what gains next to nothing.
    seen = exact > 0.05 * exact.max()
    assert (gains[seen] > 0).all()
    assert (gains[exact == 0] <= 0).all()
    assert np.corrcoef(gains[seen], exact[seen])[0, 1] > 0.98
    # Two proposals look along different directions.
    assert not np.array_equal(scalarise.directions, Scalarisation.draw(observed, Budgets(), rng).directions)


def test_without_budgets_both_ends_of_the_front_count_as_far_as_they_are_of_use():
    observed = _logs((0.02, 30000, 8000), (0.025, 8000, 4000), (0.035, 2500, 900), (0.8, 1500, 300))
    scalarise = Scalarisation.draw(observed, Budgets(), np.random.default_rng(0))
    better_ends = _logs((0.01, 30000, 8000), (0.035, 2000, 700))
    assert (scalarise(better_ends) < 0).all()
    assert (scalarise(observed) > 0).all()
    # An error of more than twice the least is no gain, however small the network.
    assert (scalarise(_logs((0.3, 1000, 200), (0.042, 1000, 200))) > 0).all()


def test_what_learnt_next_to_nothing_is_of_no_use_however_small():
    """On a hard set of two classes twice the least error is more than chance gives."""
    observed = _logs((0.25, 3000, 1500), (0.29, 2000, 900))
    ends = _logs((0.305, 800, 300), (0.27, 2500, 1200), (0.24, 3000, 1500))
    free, clear = (
        Scalarisation.draw(observed, Budgets(), np.random.default_rng(0), chance) for chance in (None, 0.307)
    )
    assert (free(ends) < 0).all()
    assert (clear(ends) < 0).tolist() == [False, True, True]
    # Where chance is far off it changes nothing, and the user's own limit goes before it.
    easy = _logs((0.02, 30000, 8000), (0.035, 2500, 900))
    for budgets, seen in ((Budgets(), easy), (Budgets(error=0.35), observed)):
        drawn = [Scalarisation.draw(seen, budgets, np.random.default_rng(0), chance) for chance in (None, 0.307)]
        np.testing.assert_allclose(drawn[0].reference, drawn[1].reference, rtol=1e-12)
    # While nothing is better than chance, whatever is gains.
    begun = Scalarisation.draw(_logs((0.31, 3000, 1500), (0.32, 900, 400)), Budgets(), np.random.default_rng(0), 0.307)
    assert begun(_logs((0.3, 3000, 1500))) < 0


def test_the_limit_of_worth_stays_clear_of_chance():
    seen = [Objectives(0.25, 3000, 1500), Objectives(0.3, 900, 400)]
    assert worthwhile_error(seen, Budgets()) == 1.0
    assert worthwhile_error(seen, Budgets(), 0.307) == pytest.approx((0.25 + 0.307) / 2)
    assert worthwhile_error(seen, Budgets(error=0.3), 0.307) == 0.3
    assert worthwhile_error([Objectives(0.02, 1, 1)], Budgets(), 0.9) == pytest.approx(0.08)
    # The best seen is always worth going on from.
    assert worthwhile_error([Objectives(0.4, 1, 1)], Budgets(), 0.307) == 0.4


def test_inside_the_budgets_the_error_decides():
    budgets = Budgets(flash=10000, ram=4000)
    observed = _logs((0.02, 30000, 8000), (0.1, 8000, 3900), (0.4, 2500, 900))
    options = _logs((0.01, 11000, 3000), (0.05, 8000, 3600), (0.3, 2000, 800), (0.08, 7000, 4500))
    for seed in range(20):
        values = Scalarisation.draw(observed, budgets, np.random.default_rng(seed))(options)
        # What exceeds a budget gains nothing; among the rest the error decides.
        assert values[0] > 0 and values[3] > 0
        assert values.argmin() == 1


def test_a_least_accuracy_leaves_the_sizes_to_decide():
    """What errs more gains nothing; beyond it, less of anything does, and before it is reached less error is best."""
    budgets = Budgets(error=0.05)
    observed = _logs((0.02, 30000, 8000), (0.04, 8000, 4000), (0.2, 1500, 300))
    scalarise = Scalarisation.draw(observed, budgets, np.random.default_rng(0))
    assert (scalarise(_logs((0.049, 7000, 3000), (0.03, 8000, 4000), (0.02, 20000, 8000))) < 0).all()
    assert (scalarise(_logs((0.06, 1000, 200), (0.2, 1000, 200))) > 0).all()
    reached = Scalarisation.draw(observed[2:], budgets, np.random.default_rng(0))
    assert reached(_logs((0.1, 9000, 4000), (0.06, 9000, 4000), (0.3, 1000, 200))).argmin() == 1
    assert [Objectives(error, 1, 1).within(budgets) for error in (0.04, 0.06)] == [True, False]


def test_outside_all_budgets_the_nearest_is_best():
    budgets = Budgets(ram=1000)
    observed = _logs((0.02, 30000, 8000), (0.1, 8000, 4000))
    options = _logs((0.01, 3000, 1500), (0.9, 9000, 1200))
    for seed in range(20):
        assert Scalarisation.draw(observed, budgets, np.random.default_rng(seed))(options).argmin() == 1


@given(points, st.integers(0, 1000))
def test_better_in_everything_is_never_worse(values, seed):
    logs = values + 1.0
    scalarise = Scalarisation.draw(logs, Budgets(flash=8), np.random.default_rng(seed))
    assert (scalarise(logs - 0.1) <= scalarise(logs)).all()
