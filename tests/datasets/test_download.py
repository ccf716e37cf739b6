"""Official archives are fetched where that is asked for, and only then; from a server on this machine."""

import gzip
import hashlib
import io
import socket
import struct
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tfsparse.errors import UserError
from tfsparse.search import main as search
from tfsparse_datasets import Absent, download, load, mnist
from tfsparse_datasets.download import ARCHIVES, Remote


class Server(ThreadingHTTPServer):
    """Gives out `files`; of those in `broken` only half comes. `asked` holds the paths in their order."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write((content or b"")[: len(content or b"") // (2 if self.path in self.server.broken else 1)])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def curet() -> bytes:
    """curetgrey.zip in the official layout."""
    file, archive = io.BytesIO(), io.BytesIO()
    Image.new("L", (8, 8), 9).save(file, "png")
    with zipfile.ZipFile(archive, "w") as whole:
        for sample in range(1, 62):
            for number in range(92):
                whole.writestr(f"curetgrey/sample{sample:02}/{sample:02}-{number:03}.png", file.getvalue())
    return archive.getvalue()


@pytest.fixture
def curet_at(server, curet, monkeypatch):
    """The data set's addresses are the server's."""
    server.files["/curetgrey.zip"] = curet

    def at(*urls: str):
        remote = Remote("curetgrey.zip", f"sha1:{hashlib.sha1(curet).hexdigest()}", urls)
        monkeypatch.setitem(ARCHIVES, "curet", (remote,))

    at(f"{server.url}/curetgrey.zip")
    return at


def test_it_is_fetched_once_and_only_when_asked(server, curet_at, tmp_path, capsys):
    data = tmp_path / "data"
    with pytest.raises(UserError, match="does not exist"):
        load("curet", data)
    data.mkdir()
    with pytest.raises(Absent, match=r"put curetgrey.zip or its folder .* or have it fetched: --download"):
        load("curet", data)
    assert not server.asked
    data.rmdir()
    assert len(load("curet", data, download=True).test) == 1_408
    assert [path.name for path in (data / "curet").iterdir()] == ["curetgrey.zip"]
    assert "curetgrey.zip" in capsys.readouterr().err
    load("curet", data, download=True)
    load("curet", data)
    assert server.asked == ["/curetgrey.zip"]


def test_the_next_address_stands_in_and_a_false_file_never_gets_the_name(server, curet_at, tmp_path):
    server.files["/false.zip"] = b"something else"
    server.files["/half.zip"] = server.files["/curetgrey.zip"]
    server.broken.add("/half.zip")
    bad = [f"{server.url}/{name}" for name in ("absent.zip", "false.zip", "half.zip")]
    curet_at(*bad)
    with pytest.raises(UserError) as caught:
        load("curet", tmp_path, download=True)
    for words in ("the server answers 404", "not the official file (sha1:", "the connection broke off", "put it into"):
        assert words in str(caught.value)
    assert not list((tmp_path / "curet").iterdir())
    curet_at(*bad, f"{server.url}/curetgrey.zip")
    assert len(load("curet", tmp_path, download=True).class_names) == 61


def test_what_is_there_already_is_left_alone(server, tmp_path, monkeypatch):
    """Four files, one of them the user's own, unpacked: three are fetched."""
    rng, md5, remotes = np.random.default_rng(0), {}, []
    for name in mnist.MD5:
        count = 600 if name.startswith("train") else 100
        images = "images" in name
        head = struct.pack(">BBBB", 0, 0, 8, 3 if images else 1) + struct.pack(">I", count)
        body = rng.integers(0, 256, (count, 4, 4)) if images else np.arange(count) % 10
        data = head + (struct.pack(">II", 4, 4) if images else b"") + body.astype(np.uint8).tobytes()
        packed = gzip.compress(data)
        md5[name] = hashlib.md5(data).hexdigest()
        server.files[f"/{name}.gz"] = packed
        checksum = f"md5:{hashlib.md5(packed).hexdigest()}"
        remotes.append(Remote(f"{name}.gz", checksum, (f"{server.url}/{name}.gz",), (name,)))
        if name == "t10k-labels-idx1-ubyte":
            (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(mnist, "MD5", md5)
    monkeypatch.setitem(ARCHIVES, "mnist", tuple(remotes))
    assert len(load("mnist:parity", tmp_path, download=True).test) == 100
    assert len(server.asked) == 3 and "/t10k-labels-idx1-ubyte.gz" not in server.asked


def test_without_internet_it_is_one_sentence(curet_at, tmp_path, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        curet_at(f"http://127.0.0.1:{closed.getsockname()[1]}/curetgrey.zip")
        words = [
            "--dataset",
            "curet",
            "--data-dir",
            str(tmp_path / "data"),
            "--out",
            str(tmp_path / "run"),
            "--download",
        ]
        with pytest.raises(UserError, match="no connection; is there internet here"):
            search(words)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_said(curet_at, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        load("curet", tmp_path / "file" / "data", download=True)


def test_what_has_no_public_address_says_where_it_is(tmp_path):
    with pytest.raises(Absent, match="First Steps With Julia"):
        load("chars4k", tmp_path)
    with pytest.raises(Absent, match="First Steps With Julia"):
        load("chars4k", tmp_path, download=True)
    assert len(load("digits", tmp_path, download=True).test) == 360 - 1


def test_every_file_has_a_checksum_and_https():
    for remotes in ARCHIVES.values():
        for remote in remotes:
            algorithm, _, digits = remote.checksum.partition(":")
            assert len(digits) == hashlib.new(algorithm).digest_size * 2
            assert all(url.startswith("https://") and url.endswith("/" + remote.file) for url in remote.urls)
    assert not hasattr(download, "pooch")  # what is not asked for is not imported
