"""A serial line that damages what it carries: a TCP proxy between a real emulator and the host's client."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]


def dropped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + 1 :]


def flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def doubled(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[: at + 1] + data[at:]


def garbage_between_lines(data: bytes, rng: random.Random) -> bytes:
    at = data.find(b"\n") + 1
    return data[:at] + rng.randbytes(12) + b"\r\nm-[x]\r\n" + data[at:]


def cut_in_half(data: bytes, rng: random.Random) -> bytes:
    return data[: len(data) // 2]


KINDS: dict[str, Damage] = {
    each.__name__: each for each in (dropped, flipped, doubled, garbage_between_lines, cut_in_half)
}


class BadLine:
    """A context manager; `url` leads to `target` (socket://host:port).

    Args:
        damage: what happens to a piece of data; None: nothing.
        share: of all pieces, in either direction.
        deaf: seconds after a connection in which the device hears nothing, as a board that resets when its port opens.
    """

    def __init__(self, target: str, damage: Damage | None = None, share: float = 0.0, seed: int = 0, deaf: float = 0.0):
        host, port = target.removeprefix("socket://").rsplit(":", 1)
        self._target = (host, int(port))
        self._damage, self._share, self._deaf = damage, share, deaf
        self._random = random.Random(seed)
        self.damaged = 0
        self.mute = False  # set: the device's replies are lost
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> BadLine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=5)
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client, socket.create_connection(self._target) as device:
                self._carry(client, device)

    def _carry(self, client: socket.socket, device: socket.socket) -> None:
        opened = time.monotonic()
        for each in (client, device):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._ended.is_set():
            ready, _, _ = select.select([client, device], [], [], 0.05)
            for source in ready:
                try:
                    data = source.recv(4096)
                except OSError:
                    return
                if not data:
                    return
                if source is client and time.monotonic() - opened < self._deaf:
                    continue
                if source is device and self.mute:
                    continue
                if self._damage and self._random.random() < self._share:
                    data = self._damage(data, self._random)
                    self.damaged += 1
                try:
                    (device if source is client else client).sendall(data)
                except OSError:
                    return
