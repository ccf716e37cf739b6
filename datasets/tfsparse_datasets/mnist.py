"""MNIST in the official four IDX files, gzip or unpacked: 60,000 + 10,000 images of 28x28 grey."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import resize
from tfsparse_datasets.tree import check_md5, find

# MD5 of the unpacked files.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_IDX_UBYTE = 0x08


def load_mnist(data_dir: Path | None, size: tuple[int, int] | None = None) -> Parts:
    """Raises UserError where a file is absent, damaged or not the official one."""
    arrays = []
    for file, md5 in MD5.items():
        what = "the four official files (train-images-idx3-ubyte.gz and so on)"
        path = find(data_dir, ("mnist", "MNIST/raw"), (f"{file}.gz", file), "mnist", what)
        data = _unpack(path)
        check_md5(data, md5, str(path))
        arrays.append(read_idx(data, str(path)))
    train_images, train_labels, test_images, test_labels = arrays
    return Parts(
        tuple(str(digit) for digit in range(10)),
        _split(train_images, train_labels, size),
        _split(test_images, test_labels, size),
    )


def _split(images: np.ndarray, labels: np.ndarray, size: tuple[int, int] | None) -> Split:
    images = images[..., np.newaxis]
    return Split(resize(images, size) if size else images, labels.astype(np.int64))


def _unpack(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}): fetch it again") from error


def read_idx(data: bytes, what: str) -> np.ndarray:
    """An IDX file of unsigned bytes as uint8 of the shape in its head; raises UserError naming `what` if it is none.

    Format: two zero bytes, the type, the number of dimensions, each dimension as big-endian uint32, then the bytes.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _IDX_UBYTE or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{what} is not an IDX file of bytes: fetch it again")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    start = 4 + 4 * data[3]
    if len(data) - start != math.prod(shape):
        raise UserError(f"{what} should hold {math.prod(shape)} values but holds {len(data) - start}: fetch it again")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
