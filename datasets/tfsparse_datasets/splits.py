"""Seeded splits that keep the classes' proportions."""

from __future__ import annotations

import numpy as np

from tfsparse_datasets.dataset import Split

# 10,000 of MNIST's 60,000: there the searched error has a standard deviation of 0.1 points near 1 %.
VALIDATION_SHARE = 1 / 6
TEST_SHARE = 1 / 5
# Not the user's seed: searches of different seeds must be judged on the same test images.
TEST_SEED = 20


def shuffled(split: Split, seed: int) -> Split:
    """The same images in another order."""
    return split.take(np.random.default_rng(seed).permutation(len(split)))


def stratified(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split N labelled items in two, the second part of `count` items, every class by its proportion.

    labels: int64 [N]. Returns two arrays of indices, N - count and count long, each in shuffled order, so that the head
    of either is a fair sample even where the source lies class by class. Quotas that do not come out whole go to
    the largest remainders; each class of two items or more has at least one in both parts. Raises ValueError where
    that cannot be.
    """
    classes, members = np.unique(labels, return_counts=True)
    lowest = np.minimum(1, members - 1)
    highest = np.maximum(members - 1, 1)
    if not lowest.sum() <= count <= highest.sum() or not 0 < count < len(labels):
        raise ValueError(f"cannot take {count} of {len(labels)} items and keep every class in both parts")
    ideal = members * (count / len(labels))
    quota = np.clip(np.floor(ideal).astype(int), lowest, highest)
    while (missing := count - quota.sum()) != 0:
        step = 1 if missing > 0 else -1
        movable = quota < highest if step > 0 else quota > lowest
        quota[np.argmax(np.where(movable, step * (ideal - quota), -np.inf))] += step

    rng = np.random.default_rng(seed)
    draw = rng.permutation(len(labels))
    chosen = np.zeros(len(labels), dtype=bool)
    for label, number in zip(classes, quota, strict=True):
        chosen[draw[labels[draw] == label][:number]] = True
    # A second permutation: in the order of the draw the chosen ones would all come first.
    order = rng.permutation(len(labels))
    return order[~chosen[order]], order[chosen[order]]
