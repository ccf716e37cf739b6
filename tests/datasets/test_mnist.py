import gzip
import hashlib
import shutil
import time

import numpy as np
import pytest

from support.shared_data import SHARED_DATA, needs
from tfsparse.errors import UserError
from tfsparse_datasets import load, mnist


def idx(array: np.ndarray) -> bytes:
    """The array as an IDX file of bytes."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Four files in MNIST's layout with 60 + 20 images, and their checksums in the place of the official ones."""
    rng = np.random.default_rng(0)
    files = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (60, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": np.repeat(np.arange(10, dtype=np.uint8), 6),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": np.tile(np.arange(10, dtype=np.uint8), 2),
    }
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    monkeypatch.setattr(mnist, "MD5", {name: hashlib.md5(idx(array)).hexdigest() for name, array in files.items()})
    return folder, files


def test_images_and_labels_come_through_unchanged(small_mnist):
    folder, files = small_mnist
    for data_dir in (folder, folder.parent):
        data = load("mnist", data_dir)
        assert np.array_equal(data.test.images[..., 0], files["t10k-images-idx3-ubyte"])
        assert np.array_equal(data.test.labels, files["t10k-labels-idx1-ubyte"])
        assert (len(data.train), len(data.validation)) == (50, 10)
        pairs = zip(files["train-images-idx3-ubyte"], files["train-labels-idx1-ubyte"], strict=True)
        order = {bytes(image): label for image, label in pairs}
        for part in (data.train, data.validation):
            assert [order[bytes(image)] for image in part.images[..., 0]] == part.labels.tolist()


def test_unpacked_files_do_as_well(small_mnist):
    folder, _ = small_mnist
    for packed in list(folder.glob("*.gz")):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert load("mnist", folder).shape == (28, 28, 1)


def test_a_file_that_is_not_the_official_one(small_mnist):
    folder, files = small_mnist
    labels = files["t10k-labels-idx1-ubyte"].copy()
    labels[0] ^= 1
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz is not the official file \(md5"):
        load("mnist", folder)


def test_a_file_cut_short(small_mnist):
    folder, _ = small_mnist
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz is not a whole gzip file"):
        load("mnist", folder)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "not an IDX file of bytes"),
        (b"\0\0\x08\x03\0\0", "not an IDX file"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "should hold 3 values but holds 2"),
    ],
)
def test_what_is_no_idx_file(data, message):
    with pytest.raises(UserError, match=message):
        mnist.read_idx(data, "it")


def test_where_the_files_are_not(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"mnist is not in .* put the four official files .* --data-dir"):
        load("mnist", tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load("mnist", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="mnist is not in data or data/mnist"):
        load("mnist")
    assert not list(tmp_path.iterdir())


@needs("mnist/train-images-idx3-ubyte.gz")
def test_the_official_files():
    start = time.perf_counter()
    data = load("mnist:lt-half", SHARED_DATA)
    seconds = time.perf_counter() - start
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.shape == (28, 28, 1) and data.note == ""
    # The first official test labels are 7 2 1 0 4 1 4 9 5 9; its digits 0..4 are 5,139 of the 10,000.
    assert data.test.labels[:10].tolist() == [1, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert (data.test.labels == 0).sum() == 5139
    # 0.3 s on a machine at rest.
    assert seconds < 3, seconds


@needs("mnist/t10k-labels-idx1-ubyte.gz")
def test_one_official_file_missing(tmp_path):
    for path in (SHARED_DATA / "mnist").glob("t*images*"):
        shutil.copy(path, tmp_path)
    with pytest.raises(UserError, match="mnist is not in"):
        load("mnist", tmp_path)
