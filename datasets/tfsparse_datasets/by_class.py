"""Any folder (or archive) of images by class: `CLASS/*.png`, or `train/CLASS/*.png` with `test/CLASS/*.png`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import SUFFIXES, read_images
from tfsparse_datasets.splits import TEST_SEED, TEST_SHARE, shuffled, stratified
from tfsparse_datasets.tree import Tree, open_tree

MIN_IMAGES = 5
LAYOUT = "CLASS/*.png, or train/CLASS/*.png and test/CLASS/*.png (png, jpg or bmp)"
_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}

# part -> [(name in the tree, class)]
_Members = dict[str, list[tuple[str, str]]]


def load_by_class(root: Path, size: tuple[int, int] | None = None, grey: bool | None = None) -> Parts:
    """Read images by class from a folder, zip or tar.

    Classes are numbered in the order of their names (in numeric order if all are numbers). Without a `test` folder a
    fixed stratified fifth becomes the test part; a `val` or `validation` folder is used if there is one. `size` and
    `grey` as in `read_images`. Raises UserError where there are no images, fewer than two classes, a class of fewer
    than five images, or an image that cannot be read.
    """
    with open_tree(root) as tree:
        members = _members(tree)
        class_names = _class_names(root, members)
        names = [name for files in members.values() for name, _ in files]
        images = read_images(tree, names, size=size, grey=grey)

    splits: dict[str, Split] = {}
    start = 0
    for part, files in members.items():
        labels = np.array([class_names.index(label) for _, label in files], dtype=np.int64)
        splits[part] = Split(images[start : start + len(files)], labels)
        start += len(files)
    train, validation, test = splits["train"], splits["validation"], splits["test"]
    note = ""
    if len(test):
        # Files come class by class; shuffled, the first images of a part are a fair sample.
        test = shuffled(test, TEST_SEED)
    else:
        kept, held_out = stratified(train.labels, max(len(class_names), round(len(train) * TEST_SHARE)), TEST_SEED)
        train, test = train.take(kept), train.take(held_out)
        note = "the test part is a fixed stratified fifth of the images"
    return Parts(class_names, train, test, validation if len(validation) else None, note)


def _members(tree: Tree) -> _Members:
    """The image files of each part. Images deeper than their class's folder belong to that class."""
    paths = {name: PurePosixPath(name).parts for name in tree.names if name.lower().endswith(SUFFIXES)}
    if tree.root.is_file():
        paths = _inside_single_folder(paths)
    paths = {name: parts for name, parts in paths.items() if len(parts) >= 2}
    members: _Members = {"train": [], "validation": [], "test": []}
    # A class may well be called "train"; it is the training part only where it holds folders itself.
    if any(parts[0] == "train" and len(parts) > 2 for parts in paths.values()):
        for name, parts in paths.items():
            if parts[0] not in _PARTS or len(parts) < 3:
                raise UserError(
                    f"{tree.root} mixes train/CLASS folders with other images ({tree.where(name)}): "
                    f"it should hold {LAYOUT}"
                )
            members[_PARTS[parts[0]]].append((name, parts[1]))
    else:
        members["train"] = [(name, parts[0]) for name, parts in paths.items()]
    return members


def _inside_single_folder(paths: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Archives often hold one folder, which holds the rest: leave it out."""
    firsts = {parts[0] for parts in paths.values()}
    if len(firsts) == 1 and firsts.isdisjoint(_PARTS) and all(len(parts) > 2 for parts in paths.values()):
        return {name: parts[1:] for name, parts in paths.items()}
    return paths


def _class_names(root: Path, members: _Members) -> tuple[str, ...]:
    """The classes of the training part in order; raises UserError unless every part can be learnt from and judged."""
    counts = Counter(label for _, label in members["train"])
    if not counts:
        raise UserError(f"{root} holds no images by class: it should hold {LAYOUT}")
    if len(counts) < 2:
        raise UserError(f"{root} holds one class only ({next(iter(counts))}): it should hold {LAYOUT}")
    for label, count in counts.items():
        if count < MIN_IMAGES:
            raise UserError(
                f"the class {label} in {root} has {count} training image{'s' * (count != 1)}, "
                f"at least {MIN_IMAGES} are needed: add some or remove the class"
            )
    for part in ("validation", "test"):
        for name, label in members[part]:
            if label not in counts:
                raise UserError(f"{name} in {root} is of a class that has no training images: add some or remove it")
    key = int if all(label.isdecimal() for label in counts) else str
    return tuple(sorted(counts, key=key))
