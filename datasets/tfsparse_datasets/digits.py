"""scikit-learn's digits: 1,797 images of 8x8 grey, shipped with the library; the embedded default."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import resize
from tfsparse_datasets.splits import TEST_SEED, TEST_SHARE, stratified


def load_digits(data_dir: Path | None, size: tuple[int, int] | None = None) -> Parts:
    """Needs no files: `data_dir` is not looked at. A fixed stratified fifth is the test part."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    # 0..16 in the source; 255 / 16 makes it exactly 0..255.
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    whole = Split(resize(images, size or (8, 8)), digits.target.astype(np.int64))
    kept, held_out = stratified(whole.labels, round(len(whole) * TEST_SHARE), TEST_SEED)
    note = "scikit-learn's copy of 1,797; the test part is a fixed stratified fifth"
    return Parts(tuple(str(digit) for digit in range(10)), whole.take(kept), whole.take(held_out), note=note)
