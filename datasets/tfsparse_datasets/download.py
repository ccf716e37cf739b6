"""Fetching the official archives, only where a user asks for it: `load(..., download=True)`, `--download`.

Each file is checked by its published checksum before it gets its name, so what a broken line or a kill leaves behind is
never taken for the file. Whatever the user has in place already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsparse.errors import UserError
from tfsparse_datasets.tree import Absent

CONNECT_SECONDS, SILENT_SECONDS = 15, 60  # until a server answers, and until its next bytes
CHUNK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """One file: its name, its checksum as `algorithm:digits`, and the addresses where it lies, tried in this order.
    `others` are names under which the user may have it already."""

    file: str
    checksum: str
    urls: tuple[str, ...]
    others: tuple[str, ...] = ()


_MNIST = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

ARCHIVES: dict[str, tuple[Remote, ...]] = {
    # The checksums of the files as they lay at yann.lecun.com, which no longer gives them out; both are copies.
    "mnist": tuple(
        Remote(f"{name}.gz", f"md5:{md5}", tuple(f"{base}{name}.gz" for base in _MNIST), (name,))
        for name, md5 in (
            ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c"),
        )
    ),
    "cifar10": (
        Remote(
            "cifar-10-python.tar.gz",
            "md5:c58f30108f718f92721af3b95e74349a",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        ),
    ),
    # The address is the authors'; the checksum is one that others have published of it.
    "curet": (
        Remote(
            "curetgrey.zip",
            "sha1:36efb9be053917b88186e2ce1f07c0e8bf0e36eb",
            ("https://www.robots.ox.ac.uk/~vgg/research/texclass/data/curetgrey.zip",),
        ),
    ),
}
"""The data sets whose archives can be had without an account."""

ELSEWHERE = {
    "chars4k": "its files are given out with an account only, by the competition 'First Steps With Julia' "
    "(https://www.kaggle.com/c/street-view-getting-started-with-julia/data)"
}
"""Where to get the others, in words."""


def download(name: str, data_dir: Path | None) -> None:
    """Fetch the files of the data set `name` that are not there into `data_dir`/`name` (None: `data`).

    Progress is shown on stderr. Raises Absent where the data set has no public address, UserError where there is no
    connection, where a file is not the official one, or the folder cannot be written.
    """
    base = Path("data") if data_dir is None else Path(data_dir)
    if name not in ARCHIVES:
        raise Absent(f"{name} cannot be downloaded: {ELSEWHERE.get(name, 'it has no archive')}")
    folder = base / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _progress() as bars:
            for remote in ARCHIVES[name]:
                there = (place / file for place in (base, folder) for file in (remote.file, *remote.others))
                if not any(path.exists() for path in there):
                    _fetch(remote, folder, bars)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): name another folder with --data-dir") from error


def _fetch(remote: Remote, folder: Path, bars: Any) -> None:
    """From the first address that gives the official file."""
    import pooch
    from requests.exceptions import RequestException

    troubles = []
    for url in remote.urls:
        downloader = pooch.HTTPDownloader(
            progressbar=_Bar(bars, remote.file), chunk_size=CHUNK, timeout=(CONNECT_SECONDS, SILENT_SECONDS)
        )
        try:
            pooch.retrieve(url, remote.checksum, remote.file, folder, downloader=downloader)
            return
        except RequestException as error:
            troubles.append(f"{url}: {_reason(error)}")
        except ValueError:
            troubles.append(f"{url}: what lies there is not the official file ({remote.checksum})")
    raise UserError(f"cannot download {remote.file} ({'; '.join(troubles)}): get it elsewhere and put it into {folder}")


def _reason(error: Exception) -> str:
    """In a few words; the libraries' own run over many lines."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, exceptions.ProxyError):
        return "the proxy refuses"
    if isinstance(error, exceptions.SSLError):
        return "its certificate cannot be checked"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.Timeout):
        return "no answer in time"
    return "no connection; is there internet here?"


class _Bar:
    """A file's line of the display, with the methods that pooch calls."""

    def __init__(self, bars: Any, file: str):
        self._bars, self._task, self._total = bars, bars.add_task(file, total=None), 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self._bars.update(self._task, total=value or None)

    def update(self, count: int) -> None:
        self._bars.update(self._task, advance=count)

    def reset(self) -> None:
        self._bars.update(self._task, completed=0)

    def close(self) -> None:
        self._bars.stop_task(self._task)


@contextmanager
def _progress() -> Iterator[Any]:
    """Bars on stderr, and pooch without lines of its own."""
    import pooch
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    pooch.get_logger().setLevel("WARNING")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield bars
