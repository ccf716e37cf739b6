import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsparse_datasets.splits import stratified


@given(st.data())
def test_every_class_keeps_its_proportion_and_every_item_its_place(data):
    members = data.draw(st.lists(st.integers(2, 40), min_size=1, max_size=12))
    labels = np.repeat(np.arange(len(members), dtype=np.int64), members)
    count = data.draw(st.integers(len(members), len(labels) - len(members)))
    seed = data.draw(st.integers(0, 5))

    kept, chosen = stratified(labels, count, seed)

    assert len(chosen) == count
    assert sorted([*kept, *chosen]) == list(range(len(labels)))
    for label, size in enumerate(members):
        taken = (labels[chosen] == label).sum()
        assert 1 <= taken < size
        # Raising small classes to one image can cost each other class at most as many as there are classes.
        assert abs(taken - size * count / len(labels)) < 1 + len(members)


def test_quotas_follow_the_largest_remainders():
    labels = np.repeat(np.arange(3), [70, 20, 10])
    _, chosen = stratified(labels, 11, seed=0)
    # Ideal: 7.7, 2.2, 1.1.
    assert np.bincount(labels[chosen]).tolist() == [8, 2, 1]


def test_the_head_of_both_parts_is_a_fair_sample():
    labels = np.repeat(np.arange(4), 500)
    for part in stratified(labels, 400, seed=3):
        share = np.bincount(labels[part[:200]], minlength=4) / 200
        assert share.min() > 0.15, share


def test_the_seed_decides():
    labels = np.repeat(np.arange(4), 50)
    same, again, other = (stratified(labels, 40, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(same, again)
    assert set(same) != set(other)


@pytest.mark.parametrize("count", [0, 3, 17, 20])
def test_a_part_without_some_class_is_refused(count):
    with pytest.raises(ValueError, match="keep every class"):
        stratified(np.repeat(np.arange(4), 5), count, seed=0)
