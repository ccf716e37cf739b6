import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from tfsparse.errors import UserError
from tfsparse_datasets import load


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """curetgrey.zip in the official layout, with small images whose shade tells the class."""
    path = tmp_path_factory.mktemp("curet") / "curetgrey.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for sample in range(1, 62):
            file = io.BytesIO()
            Image.new("L", (12, 12), 4 * sample).save(file, "png")
            for number in range(92):
                archive.writestr(f"curetgrey/sample{sample:02}/{sample:02}-{number:03}.png", file.getvalue())
    return path


def test_the_official_layout(archive):
    data = load("curet", archive.parent)
    assert len(data.class_names) == 61 and data.class_names[0] == "sample01"
    assert (len(data.train) + len(data.validation), len(data.test)) == (4_204, 1_408)
    assert data.shape == (12, 12, 1)
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.images[:, 5, 5, 0], 4 * (part.labels + 1))
    # 1,408 of 61 classes: 23 each, and one more of five.
    assert set(np.bincount(data.test.labels)) == {23, 24}


def test_the_two_classes_and_a_smaller_size(archive):
    data = load("curet:lt-half", archive.parent, size=(8, 8))
    assert data.shape == (8, 8, 1)
    assert np.array_equal(data.test.labels, data.test.images[:, 0, 0, 0] > 4 * 31)


def test_what_is_missing_is_said(archive, tmp_path):
    with pytest.raises(UserError, match=r"curet is not in .*: put curetgrey.zip or its folder"):
        load("curet", tmp_path)
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(tmp_path / "curetgrey.zip", "w") as part:
        for name in whole.namelist()[1:]:
            part.writestr(name, whole.read(name))
    with pytest.raises(UserError, match=r"holds 5611 images .* in 61 classes instead of 61 classes of 92"):
        load("curet", tmp_path)
