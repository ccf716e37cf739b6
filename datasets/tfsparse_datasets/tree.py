"""Files in a folder, a zip or a tar archive, read in one way, so that nobody has to unpack an official archive."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsparse.errors import UserError


class Absent(UserError):
    """A data set's files are not there; the message says where to put them."""


class Tree(ABC):
    """Named files. `names` are the posix paths below the root, sorted; hidden files and macOS litter are left out."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = sorted(name for name in names if not any(_is_litter(part) for part in name.split("/")))

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; may raise OSError, zipfile.BadZipFile or zlib.error where it is damaged."""

    def where(self, name: str) -> str:
        """How to tell the user which file this is."""
        return f"{self.root / name}" if self.root.is_dir() else f"{name} in {self.root}"


def _is_litter(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


class _Folder(Tree):
    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class _Zip(Tree):
    def __init__(self, root: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(root, [info.filename for info in archive.infolist() if not info.is_dir()])
        self._archive = archive

    def read(self, name: str) -> bytes:
        return self._archive.read(name)


class _Tar(Tree):
    # A compressed tar cannot be read in any order, so all of it is held; the largest official one has 180 MB.
    def __init__(self, root: Path, archive: tarfile.TarFile) -> None:
        self._files = {
            info.name.removeprefix("./"): archive.extractfile(info).read() for info in archive if info.isfile()
        }
        super().__init__(root, list(self._files))

    def read(self, name: str) -> bytes:
        return self._files[name]


@contextmanager
def open_tree(root: Path) -> Iterator[Tree]:
    """Open a folder, .zip, .tar, .tar.gz or .tgz. Raises UserError where an archive is damaged or is none."""
    if root.is_dir():
        try:
            names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        except OSError as error:
            raise UserError(f"the folder {root} cannot be read ({error.strerror}): name one of images") from error
        yield _Folder(root, names)
        return
    try:
        if zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as archive:
                yield _Zip(root, archive)
        else:
            with tarfile.open(root) as archive:
                yield _Tar(root, archive)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{root} is not a whole zip or tar archive: fetch it again") from error


def check_md5(data: bytes, expected: str, what: str) -> None:
    """Raise UserError unless the MD5 of `data` is `expected`; `what` names the file for the user."""
    check_digest([data], expected, what)


def check_digest(pieces: Iterable[bytes], expected: str, what: str) -> None:
    """The same for content that comes in pieces."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    if digest.hexdigest() != expected:
        raise UserError(
            f"{what} is not the official file (md5 {digest.hexdigest()} instead of {expected}): fetch it again"
        )


def find(data_dir: Path | None, folders: tuple[str, ...], files: tuple[str, ...], name: str, what: str) -> Path:
    """The first of `files` (or folders of these names) in `data_dir` or in one of its sub-folders `folders`.

    data_dir: None stands for `data` in the current folder. `what` says in words what belongs there. Raises Absent,
    which says where to put it.
    """
    base = Path("data") if data_dir is None else Path(data_dir)
    if data_dir is not None and not base.is_dir():
        raise UserError(f"the data folder {base} does not exist: make it and put {what} there, or mend --data-dir")
    for folder in (base, *(base / sub for sub in folders)):
        for file in files:
            if (folder / file).exists():
                return folder / file
    raise Absent(
        f"{name} is not in {base} or {base / folders[0]}: put {what} there, or name their folder with --data-dir DIR"
    )
