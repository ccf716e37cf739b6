"""`load`: from a name or a folder to a data set with its rule and its validation part."""

from __future__ import annotations

from pathlib import Path

from tfsparse.errors import UserError
from tfsparse_datasets.by_class import LAYOUT, load_by_class
from tfsparse_datasets.chars4k import load_chars4k
from tfsparse_datasets.cifar10 import load_cifar10
from tfsparse_datasets.curet import load_curet
from tfsparse_datasets.dataset import Dataset, Parts, Split
from tfsparse_datasets.digits import load_digits
from tfsparse_datasets.download import ARCHIVES, ELSEWHERE
from tfsparse_datasets.download import download as fetch
from tfsparse_datasets.mnist import load_mnist
from tfsparse_datasets.rules import RULES, binary_labels
from tfsparse_datasets.splits import VALIDATION_SHARE, stratified
from tfsparse_datasets.tree import Absent

_LOADERS = {
    "digits": load_digits,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "chars4k": load_chars4k,
    "curet": load_curet,
}
NAMES = tuple(_LOADERS)


def load(
    name_or_folder: str | Path,
    data_dir: str | Path | None = None,
    *,
    rule: str | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    download: bool = False,
) -> Dataset:
    """Load a data set by name, or any folder (or zip, tar) of images by class.

    name_or_folder: one of NAMES or a path, with `:RULE` behind it for two classes (`mnist:lt-half`); `rule` says the
    same. data_dir: the folder with the data set's files, or its parent (with `mnist/` and so on inside); None stands
    for `data` in the current folder. size: (height, width) to which all images are stretched; None keeps them.
    seed: chooses the validation part, which is taken out of the training part, stratified. The test part does not
    depend on it. download: fetch the official archive where its files are absent. Raises UserError for everything
    that the user can mend.

    >>> load("digits").train.images.shape
    (1198, 8, 8, 1)
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise UserError(f"the image size {size} is not two numbers of at least 1: give height and width, such as 32x32")
    if not str(name_or_folder).strip():
        raise UserError(f"no data set is named: choose one of {', '.join(NAMES)}, or name a folder that holds {LAYOUT}")
    source, rule = _split_rule(str(name_or_folder), rule)
    if source in _LOADERS:
        name, parts = source, _named(source, None if data_dir is None else Path(data_dir), size, download)
    else:
        path = Path(source)
        if not path.exists():
            raise UserError(
                f"unknown data set '{source}': choose one of {', '.join(NAMES)}, or name a folder that holds {LAYOUT}"
            )
        name, parts = path.resolve().name, load_by_class(path, size)
    train, validation = _with_validation(parts, seed)
    class_names, test = parts.class_names, parts.test
    if rule is not None:
        mapping = binary_labels(rule, name, class_names)
        class_names = RULES[rule].names
        train, validation, test = (Split(part.images, mapping[part.labels]) for part in (train, validation, test))
    return Dataset(name, rule, class_names, train, validation, test, parts.note)


def _named(name: str, data_dir: Path | None, size: tuple[int, int] | None, may_download: bool) -> Parts:
    """A data set known by name; where its files are absent they are fetched, or it is said how to get them."""
    if may_download and data_dir is not None and name in ARCHIVES:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {data_dir} ({error.strerror}): name another --data-dir") from error
    try:
        return _LOADERS[name](data_dir, size)
    except Absent as error:
        if may_download:
            fetch(name, data_dir)
            return _LOADERS[name](data_dir, size)
        hint = "; or have it fetched: --download" if name in ARCHIVES else f"; {ELSEWHERE[name]}"
        raise Absent(f"{error}{hint}") from error


def _split_rule(source: str, rule: str | None) -> tuple[str, str | None]:
    """Take `:RULE` off a name; a folder may have a colon in its own name."""
    if ":" not in source or Path(source).exists():
        return source, rule
    source, _, given = source.rpartition(":")
    if rule is not None and rule != given:
        raise UserError(f"two rules are given, '{given}' in the name and '{rule}': give one")
    return source, given


def _with_validation(parts: Parts, seed: int) -> tuple[Split, Split]:
    """Split by the original classes, so that a rule changes labels but never which image is in which part."""
    if parts.validation is not None:
        return parts.train, parts.validation
    count = max(len(parts.class_names), round(len(parts.train) * VALIDATION_SHARE))
    kept, held_out = stratified(parts.train.labels, count, seed)
    return parts.train.take(kept), parts.train.take(held_out)
