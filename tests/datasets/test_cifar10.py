import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from support.shared_data import SHARED_DATA, needs
from tfsparse.errors import UserError
from tfsparse_datasets import cifar10, load

PER_BATCH = 20


@pytest.fixture
def batches(monkeypatch):
    """Six small batches: name -> (images uint8 [20, 32, 32, 3], labels [20])."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar10, "COUNTS", {"train": 5 * PER_BATCH, "test": PER_BATCH})
    labels = np.tile(np.arange(10), PER_BATCH // 10)
    return {
        name: (rng.integers(0, 256, (PER_BATCH, 32, 32, 3), np.uint8), rng.permutation(labels))
        for name in cifar10.PYTHON_MD5
    }


def planes(images: np.ndarray) -> np.ndarray:
    """Both official formats store red, green and blue planes one after the other."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_tar(path, folder: str, files: dict[str, bytes]):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def python_files(batches) -> dict[str, bytes]:
    return {
        name: pickle.dumps({b"data": planes(images), b"labels": labels.tolist()}, protocol=2)
        for name, (images, labels) in batches.items()
    }


def binary_files(batches) -> dict[str, bytes]:
    return {
        f"{name}.bin": np.hstack([labels[:, np.newaxis].astype(np.uint8), planes(images)]).tobytes()
        for name, (images, labels) in batches.items()
    }


def md5s(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.md5(data).hexdigest() for name, data in files.items()}


def assert_holds(data, batches):
    images, labels = batches["test_batch"]
    assert np.array_equal(data.test.images, images) and np.array_equal(data.test.labels, labels)
    known = {bytes(image): label for name in sorted(batches) for image, label in zip(*batches[name], strict=True)}
    found = np.concatenate([data.train.images, data.validation.images])
    assert len(found) == 5 * PER_BATCH
    assert [known[bytes(image)] for image in found] == [*data.train.labels, *data.validation.labels]


def test_the_python_archive_and_its_folder(tmp_path, batches, monkeypatch):
    files = python_files(batches)
    monkeypatch.setattr(cifar10, "PYTHON_MD5", md5s(files))
    write_tar(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", {**files, "readme.html": b"hello"})
    data = load("cifar10", tmp_path)
    assert_holds(data, batches)
    assert data.note == "" and data.class_names[0] == "airplane" and data.class_names[9] == "truck"

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    assert_holds(load("cifar10", tmp_path), batches)
    assert_holds(load("cifar10", folder), batches)


def test_the_binary_archive(tmp_path, batches, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    write_tar(path, "cifar-10-batches-bin", binary_files(batches))
    with pytest.raises(UserError, match=r"cifar-10-binary.tar.gz is not the official file"):
        load("cifar10", tmp_path)
    monkeypatch.setattr(cifar10, "BINARY_ARCHIVE_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    assert_holds(load("cifar10", tmp_path), batches)


def test_a_batch_that_is_not_official_is_never_unpickled(tmp_path, batches):
    files = python_files(batches)
    marker = tmp_path / "it ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    write_tar(tmp_path / "cifar-10-python.tar.gz", "x", {**files, "data_batch_1": pickle.dumps(Evil())})
    with pytest.raises(UserError, match=r"data_batch_1 in .* is not the official file"):
        load("cifar10", tmp_path)
    assert not marker.exists()


def test_damaged_archives(tmp_path, batches, monkeypatch):
    files = binary_files(batches)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "data_batch_3.bin").write_bytes(files["data_batch_3.bin"][:-1])
    with pytest.raises(UserError, match=r"data_batch_3.bin does not consist of whole records"):
        load("cifar10", tmp_path)
    (folder / "data_batch_3.bin").write_bytes(b"\x0b" + files["data_batch_3.bin"][1:])
    with pytest.raises(UserError, match="holds the label 11"):
        load("cifar10", tmp_path)
    (folder / "data_batch_3.bin").write_bytes(files["data_batch_3.bin"][:3073])
    with pytest.raises(UserError, match="holds 81 train images instead of CIFAR-10's 100"):
        load("cifar10", tmp_path)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_3.bin is missing"):
        load("cifar10", tmp_path)


def test_jpeg_files_by_class_are_marked_as_lossy(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "COUNTS", {"train": 60, "test": 20})
    with zipfile.ZipFile(tmp_path / "cifar10-jpeg.zip", "w") as archive:
        for part, count in (("train", 6), ("test", 2)):
            for label, name in enumerate(cifar10.CLASS_NAMES):
                for index in range(count):
                    file = io.BytesIO()
                    Image.new("RGB", (32, 32), (20 * label, 0, index)).save(file, "jpeg")
                    archive.writestr(f"{part}/{name}/{index:04}.jpg", file.getvalue())
    data = load("cifar10:animal", tmp_path)
    assert data.shape == (32, 32, 3) and "slightly lossy" in data.note
    assert data.class_names == ("vehicle", "animal")
    # Red tells the class: 2..7 are the animals.
    classes = np.rint(data.test.images[:, 0, 0, 0] / 20)
    assert np.array_equal(data.test.labels, (classes >= 2) & (classes <= 7))


def test_where_it_is_not(tmp_path):
    with pytest.raises(UserError, match=r"cifar10 is not in .* put cifar-10-python.tar.gz, .* --data-dir"):
        load("cifar10", tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b garbage")
    with pytest.raises(UserError, match="not a whole zip or tar archive"):
        load("cifar10", tmp_path)


@pytest.mark.slow
@needs("cifar10/cifar10-jpeg.zip")
def test_the_copy_beside_the_repository():
    data = load("cifar10:lt-half", SHARED_DATA)
    assert (len(data.train), len(data.validation), len(data.test)) == (41_667, 8_333, 10_000)
    assert np.bincount(data.test.labels).tolist() == [5000, 5000]
    assert "slightly lossy" in data.note
