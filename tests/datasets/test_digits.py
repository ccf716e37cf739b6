import numpy as np
import pytest

from tfsparse.errors import UserError
from tfsparse_datasets import load


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def test_shapes_scale_and_sizes(digits):
    assert digits.shape == (8, 8, 1)
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (1198, 240, 359)
    values = np.unique(digits.train.images)
    assert values.min() == 0 and values.max() == 255 and len(values) == 17
    commonest = np.bincount(digits.train.labels).argmax()
    assert digits.chance == pytest.approx(1 - np.mean(digits.validation.labels == commonest))
    assert digits.title == "digits" and digits.rule is None and digits.class_names == tuple("0123456789")


def test_no_image_is_lost_or_in_two_parts(digits):
    from sklearn.datasets import load_digits

    ours = [part.images.reshape(-1, 64) for part in (digits.train, digits.validation, digits.test)]
    theirs = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, np.concatenate(ours))) == sorted(map(bytes, theirs))


def test_the_seed_moves_the_validation_part_but_never_the_test_part(digits):
    other = load("digits", seed=1)
    assert np.array_equal(other.test.images, digits.test.images)
    assert not np.array_equal(other.validation.images, digits.validation.images)
    assert np.array_equal(load("digits", seed=1).validation.images, other.validation.images)


def test_rules_change_labels_only(digits):
    halves = load("digits:lt-half")
    assert halves.title == "digits:lt-half" and halves.rule == "lt-half" and halves.name == "digits"
    assert halves.class_names == ("lower half", "upper half")
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(halves, part).images, getattr(digits, part).images)
        assert np.array_equal(getattr(halves, part).labels, getattr(digits, part).labels >= 5)
    parity = load("digits", rule="parity")
    assert np.array_equal(parity.test.labels, digits.test.labels % 2)


def test_images_can_be_asked_for_in_another_size():
    assert load("digits", size=(10, 6)).shape == (10, 6, 1)
    with pytest.raises(UserError, match="image size"):
        load("digits", size=(0, 5))


@pytest.mark.parametrize(
    ("source", "rule", "message"),
    [
        ("digits:thirds", None, "unknown rule 'thirds': choose one of lt-half, parity, animal"),
        ("digits:animal", None, "for cifar10 only"),
        ("digits:parity", "lt-half", "two rules"),
        ("fashion", None, "unknown data set 'fashion': choose one of digits, mnist, .* or name a folder"),
        ("fashion:parity", None, "unknown data set 'fashion'"),
    ],
)
def test_what_is_not_there_is_said(source, rule, message):
    with pytest.raises(UserError, match=message):
        load(source, rule=rule)
