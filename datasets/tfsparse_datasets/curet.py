"""CUReT textures, 61 classes of 92 images, grey, in the archive `curetgrey` as cropped by Varma and Zisserman.

Layout: sampleNN/NN-MMM.png. Train and test have the sizes of Bonsai's CUReT-61 (4,204 + 1,408; Kumar, Goyal, Varma
2017), but which image went where is not published.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import read_images
from tfsparse_datasets.splits import TEST_SEED, stratified
from tfsparse_datasets.tree import find, open_tree

CLASSES, IMAGES_PER_CLASS = 61, 92
TEST = 1_408
NOTE = "the split is our own, seeded and stratified, with the sizes of Bonsai's CUReT-61"
_FILE = re.compile(r"(?:^|/)sample(\d\d)/\d\d-\d\d\d\.png$", re.IGNORECASE)


def load_curet(data_dir: Path | None, size: tuple[int, int] | None = None) -> Parts:
    """Raises UserError where the archive is absent, damaged or does not hold 61 x 92 images."""
    base = Path(data_dir).parent if data_dir is not None and Path(data_dir).name == "curetgrey" else data_dir
    path = find(base, ("curet",), ("curetgrey.zip", "curetgrey"), "curet", "curetgrey.zip or its folder curetgrey")
    with open_tree(path) as tree:
        samples = {name: match[1] for name in tree.names if (match := _FILE.search(name))}
        counts = Counter(samples.values())
        if len(counts) != CLASSES or set(counts.values()) != {IMAGES_PER_CLASS}:
            raise UserError(
                f"{path} holds {len(samples)} images sampleNN/NN-MMM.png in {len(counts)} classes instead of "
                f"{CLASSES} classes of {IMAGES_PER_CLASS}: fetch it again"
            )
        images = read_images(tree, list(samples), size=size, grey=True)
    class_names = tuple(sorted(counts))
    labels = np.array([class_names.index(sample) for sample in samples.values()], dtype=np.int64)
    whole = Split(images, labels)
    kept, held_out = stratified(labels, TEST, TEST_SEED)
    return Parts(tuple(f"sample{name}" for name in class_names), whole.take(kept), whole.take(held_out), note=NOTE)
