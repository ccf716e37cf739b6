"""Augmentation against a slow and plain version of it."""

import numpy as np
import pytest
import tensorflow as tf

from tfsparse.augment import Augmentation, augmentation_of
from tfsparse_datasets import NAMES


def moved(image, down, right, flipped):
    if flipped:
        image = image[:, ::-1]
    reach = max(abs(down), abs(right))
    padded = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode="symmetric")
    height, width = image.shape[:2]
    return padded[reach - down : reach - down + height, reach - right : reach - right + width]


@pytest.mark.parametrize(("shift", "flip"), [(0, False), (1, False), (2, True), (0, True), (0.4, False)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_moves(shift, flip, dtype):
    rng = np.random.default_rng(0)
    augmentation = Augmentation(shift=shift, flip=flip)
    images = rng.integers(0, 256, (32, 5, 7, 2)).astype(dtype)
    moves, gains = augmentation.draw(rng, 3, 32)
    assert moves.shape == (3, 32, 3) and (gains == 1).all()
    result = augmentation.move(tf.constant(images), tf.constant(moves[1])).numpy()
    assert result.dtype == dtype
    for image, move, got in zip(images, moves[1], result, strict=True):
        np.testing.assert_array_equal(got, moved(image, *move))


def test_draws_have_the_promised_distribution():
    rng = np.random.default_rng(1)
    moves, gains = Augmentation(shift=1, flip=True, brightness=0.3).draw(rng, 100, 300)
    for axis in range(2):
        shares = [np.mean(moves[..., axis] == value) for value in (-1, 0, 1)]
        np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    assert abs(moves[..., 2].mean() - 0.5) < 0.02
    assert gains.min() >= 0.7 and gains.max() <= 1.3 and gains.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.02)
    half, _ = Augmentation(shift=0.5).draw(rng, 100, 300)
    np.testing.assert_allclose(
        [np.mean(half[..., 0] == value) for value in (-1, 0, 1)], [1 / 4, 1 / 2, 1 / 4], atol=0.02
    )


def test_brightness_stays_in_range():
    images = tf.constant(np.linspace(0, 1, 12).reshape(3, 2, 2, 1), tf.float32)
    result = Augmentation(brightness=0.5).brighten(images, tf.constant([0.5, 1.0, 1.5])).numpy()
    np.testing.assert_allclose(result, np.minimum(images.numpy() * np.array([0.5, 1, 1.5])[:, None, None, None], 1))


def test_negative_strengths_are_refused():
    with pytest.raises(ValueError, match="negative"):
        Augmentation(shift=-1)


def test_augmentation_by_data_set():
    """Nothing at strength 0; digits and letters keep their left and right at any."""
    for name in (*NAMES, "somebody's folder"):
        assert augmentation_of(name, 0.0) == Augmentation()
        assert augmentation_of(name, 1.0).shift == 2.0
    assert not any(augmentation_of(name, 1.0).flip for name in ("mnist", "digits", "chars4k", "somebody's folder"))
    assert augmentation_of("cifar10", 0.5) == Augmentation(shift=1.0, flip=True, brightness=0.2)
    assert augmentation_of("mnist", 0.5).brightness == 0
