"""Chars4k: 6,283 street-view characters of 20x20 grey in 62 classes, drawn from Chars74K.

The files are those of the competition "First Steps With Julia" (trainResized.zip, trainLabels.csv). The split has the
sizes of Bonsai's Chars4K (4,397 + 1,886; Kumar, Goyal, Varma 2017), but which image went where is not published.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from tfsparse.errors import UserError
from tfsparse_datasets.dataset import Parts, Split
from tfsparse_datasets.images import read_images
from tfsparse_datasets.splits import TEST_SEED, stratified
from tfsparse_datasets.tree import Tree, check_digest, find, open_tree

SIDE = 20
# Of images and labels, so that it holds however the files are packed (see `_content`); taken of a public copy, as their
# authors publish none.
MD5 = "b6c2e31f261ed882fbd6b0cc256547ac"
TRAIN, TEST = 4_397, 1_886
NOTE = "the split is our own, seeded and stratified, with the sizes of Bonsai's Chars4K"


def load_chars4k(data_dir: Path | None, size: tuple[int, int] | None = None) -> Parts:
    """Raises UserError where a file is absent or damaged, or images and labels do not belong together."""
    what = "trainResized.zip and trainLabels.csv"
    folders = ("chars4k", "chars74k")
    archive = find(data_dir, folders, ("trainResized.zip", "trainResized"), "chars4k", what)
    table = find(data_dir, folders, ("trainLabels.csv",), "chars4k", what)
    labels_by_id = _read_labels(table)
    # ASCII order: digits, capitals, small letters, as Chars74K numbers them.
    class_names = tuple(sorted(set(labels_by_id.values())))
    with open_tree(archive) as tree:
        names = {PurePosixPath(name).stem: name for name in tree.names if name.lower().endswith(".bmp")}
        if absent := labels_by_id.keys() - names.keys():
            raise UserError(f"{archive} lacks the image {min(absent)}.Bmp that {table} names: fetch both again")
        ids = sorted(labels_by_id, key=int)
        check_digest(_content(tree, ids, names, labels_by_id), MD5, f"{archive} with {table}")
        images = read_images(tree, [names[key] for key in ids], size=size or (SIDE, SIDE), grey=True)
    labels = np.array([class_names.index(labels_by_id[key]) for key in ids], dtype=np.int64)
    whole = Split(images, labels)
    kept, held_out = stratified(labels, TEST, TEST_SEED)
    return Parts(class_names, whole.take(kept), whole.take(held_out), note=NOTE)


def _content(tree: Tree, ids: list[str], names: dict[str, str], labels: dict[str, str]) -> Iterator[bytes]:
    """What the checksum is of: of each image in the order of the numbers its number, its character and its file."""
    for key in ids:
        yield f"{key},{labels[key]}\n".encode()
        yield tree.read(names[key])


def _read_labels(table: Path) -> dict[str, str]:
    """Image number -> character."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        labels = {row["ID"]: row["Class"] for row in rows if row["ID"].isdecimal()}
    except (KeyError, AttributeError) as error:
        raise UserError(f"{table} is not a table of the columns ID and Class: fetch it again") from error
    if len(labels) != TRAIN + TEST:
        raise UserError(f"{table} names {len(labels)} images instead of {TRAIN + TEST}: fetch it again")
    return labels
