"""CIFAR-10, 50,000 + 10,000 images of 32x32 RGB: the official archives (Python or binary) or JPEG files by class."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.by_class import load_by_class
from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import resize
from tfsparse_datasets.tree import Tree, check_md5, find, open_tree

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
COUNTS = {"train": 50_000, "test": 10_000}
# Of the files inside the Python archive, so that they hold for its unpacked folder too.
PYTHON_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
BINARY_ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
JPEG_NOTE = "from a copy whose images were re-encoded as JPEG: slightly lossy"

_PYTHON = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
_BINARY = ("cifar-10-batches-bin", "cifar-10-binary.tar.gz")
_JPEG = ("cifar10-jpeg.zip",)


def load_cifar10(data_dir: Path | None, size: tuple[int, int] | None = None) -> Parts:
    """The official files are preferred to a JPEG copy where both are there. Raises UserError if none is, or damaged."""
    what = "cifar-10-python.tar.gz, cifar-10-binary.tar.gz or cifar10-jpeg.zip"
    base = data_dir
    if data_dir is not None and Path(data_dir).name in ("cifar-10-batches-py", "cifar-10-batches-bin"):
        base = Path(data_dir).parent
    path = find(base, ("cifar10", "cifar-10"), (*_PYTHON, *_BINARY, *_JPEG), "cifar10", what)
    if path.name in _JPEG:
        return _load_jpeg(path, size)
    with open_tree(path) as tree:
        if path.name in _PYTHON:
            batches = {batch: _python_batch(tree, batch) for batch in PYTHON_MD5}
        else:
            if path.is_file():
                check_md5(path.read_bytes(), BINARY_ARCHIVE_MD5, str(path))
            batches = {batch: _binary_batch(tree, f"{batch}.bin") for batch in PYTHON_MD5}
    test = batches.pop("test_batch")
    train = [batches[batch] for batch in sorted(batches)]
    train_images, train_labels = (np.concatenate(arrays) for arrays in zip(*train, strict=True))
    return _checked(path, Parts(CLASS_NAMES, _split(train_images, train_labels, size), _split(*test, size)))


def _checked(path: Path, parts: Parts) -> Parts:
    for part, count in COUNTS.items():
        found = len(getattr(parts, part))
        if found != count:
            raise UserError(f"{path} holds {found} {part} images instead of CIFAR-10's {count}: fetch it again")
    return parts


def _split(images: np.ndarray, labels: np.ndarray, size: tuple[int, int] | None) -> Split:
    """images: uint8 [N, 3072], the three colour planes one after the other, as both official formats have them."""
    planes = images.reshape(-1, 3, SIDE, SIDE)
    return Split(resize(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), size or (SIDE, SIDE)), labels)


def _batch_file(tree: Tree, batch: str) -> tuple[str, bytes]:
    for name in tree.names:
        if name.rsplit("/", 1)[-1] == batch:
            return name, tree.read(name)
    raise UserError(f"{batch} is missing in {tree.root}: fetch it again")


def _python_batch(tree: Tree, batch: str) -> tuple[np.ndarray, np.ndarray]:
    name, data = _batch_file(tree, batch)
    # Checked before it is unpickled: a pickle from elsewhere may run any code.
    check_md5(data, PYTHON_MD5[batch], tree.where(name))
    content = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    return np.asarray(content[b"data"], dtype=np.uint8), np.asarray(content[b"labels"], dtype=np.int64)


class _Unpickler(pickle.Unpickler):
    """Lets only numpy arrays through."""

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] == "numpy" and name in ("ndarray", "dtype", "_reconstruct"):
            # numpy.core was renamed; its old name in the official pickles would warn.
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")


def _binary_batch(tree: Tree, batch: str) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and 3,072 image bytes."""
    name, data = _batch_file(tree, batch)
    record = 1 + 3 * SIDE * SIDE
    if not data or len(data) % record:
        raise UserError(f"{tree.where(name)} does not consist of whole records of {record} bytes: fetch it again")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, record)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASS_NAMES):
        raise UserError(f"{tree.where(name)} holds the label {labels.max()}, beyond CIFAR-10's ten: fetch it again")
    return records[:, 1:], labels


def _load_jpeg(path: Path, size: tuple[int, int] | None) -> Parts:
    parts = load_by_class(path, size=size or (SIDE, SIDE), grey=False)
    if parts.class_names != CLASS_NAMES:
        raise UserError(f"{path} does not hold CIFAR-10's ten classes as train/CLASS and test/CLASS: fetch it again")
    return _checked(path, Parts(CLASS_NAMES, parts.train, parts.test, note=JPEG_NOTE))
