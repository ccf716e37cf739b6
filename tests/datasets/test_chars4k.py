import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from support.shared_data import SHARED_DATA, needs
from tfsparse.errors import UserError
from tfsparse_datasets import chars4k, load

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def small_chars4k(tmp_path, monkeypatch):
    """6 images of each of the 62 characters in the official layout; the shade tells the class."""
    monkeypatch.setattr(chars4k, "TRAIN", 62 * 4)
    monkeypatch.setattr(chars4k, "TEST", 62 * 2)
    folder = tmp_path / "chars74k"
    folder.mkdir()
    rows, digest = ["ID,Class"], hashlib.md5()
    with zipfile.ZipFile(folder / "trainResized.zip", "w") as archive:
        for index in range(62 * 6):
            # Mixed on purpose: the characters do not come in order.
            label = index * 37 % 62
            file = io.BytesIO()
            Image.new("RGB", (20, 20), (4 * label,) * 3).save(file, "bmp")
            archive.writestr(f"trainResized/{index + 1}.Bmp", file.getvalue())
            rows.append(f"{index + 1},{CHARACTERS[label]}")
            digest.update(f"{rows[-1]}\n".encode() + file.getvalue())
    monkeypatch.setattr(chars4k, "MD5", digest.hexdigest())
    (folder / "trainLabels.csv").write_text("\n".join(rows))
    return folder


def test_images_meet_their_characters(small_chars4k):
    data = load("chars4k", small_chars4k.parent)
    assert data.class_names == tuple(CHARACTERS) and data.shape == (20, 20, 1)
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.images[:, 3, 3, 0], 4 * part.labels)
    halves = load("chars4k:lt-half", small_chars4k)
    assert np.array_equal(halves.test.labels, data.test.labels >= 31)


def test_an_unpacked_folder_does_as_well(small_chars4k):
    with zipfile.ZipFile(small_chars4k / "trainResized.zip") as archive:
        archive.extractall(small_chars4k)
    (small_chars4k / "trainResized.zip").unlink()
    assert len(load("chars4k", small_chars4k).test) == 62 * 2


def test_images_and_labels_that_do_not_belong_together(small_chars4k):
    table = small_chars4k / "trainLabels.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows[:-1], "9999,a"]))
    with pytest.raises(UserError, match=r"lacks the image 9999.Bmp"):
        load("chars4k", small_chars4k)
    table.write_text("\n".join(rows[:-1]))
    with pytest.raises(UserError, match="names 371 images instead of 372"):
        load("chars4k", small_chars4k)
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table of the columns ID and Class"):
        load("chars4k", small_chars4k)
    table.unlink()
    with pytest.raises(UserError, match=r"chars4k is not in .*: put trainResized.zip and trainLabels.csv"):
        load("chars4k", small_chars4k)


def test_another_label_is_found(small_chars4k):
    table = small_chars4k / "trainLabels.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows[:-2], rows[-2][:-1] + rows[-1][-1], rows[-1][:-1] + rows[-2][-1]]))
    with pytest.raises(UserError, match=r"trainLabels.csv is not the official file \(md5"):
        load("chars4k", small_chars4k)


@needs("chars74k/trainResized.zip")
def test_the_copy_beside_the_repository():
    data = load("chars4k:lt-half", SHARED_DATA)
    assert (len(data.train) + len(data.validation), len(data.test)) == (4_397, 1_886)
    assert data.shape == (20, 20, 1) and "our own" in data.note
    assert np.array_equal(load("chars4k", SHARED_DATA, seed=5).test.images, data.test.images)
