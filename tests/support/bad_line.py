"""A serial line that damages what it carries: a TCP proxy between a real emulator and the host's client."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """What happens to a byte on its way."""

    instead: Callable[[int, random.Random], bytes]  # what arrives in its place
    lost: int = 0  # so many bytes after it are lost
    at_line_ends: bool = False  # it waits for the end of a line or of a command


def _garbage(end: int, rng: random.Random) -> bytes:
    return bytes([end]) + rng.randbytes(12) + b"\r\nm-[x]\r\n"


KINDS: dict[str, Damage] = {
    "dropped": Damage(lambda byte, rng: b""),
    "flipped": Damage(lambda byte, rng: bytes([byte ^ 1 << rng.randrange(8)])),
    "doubled": Damage(lambda byte, rng: bytes([byte, byte])),
    "garbage_between_lines": Damage(_garbage, at_line_ends=True),
    "cut_in_half": Damage(lambda byte, rng: b"", lost=40),
}


class BadLine:
    """A context manager; `url` leads to `target` (socket://host:port).

    Damage is done by the byte, not by the piece: into how many pieces TCP cuts a reply depends on how busy the machine
    is, and differs tenfold from run to run.

    Args:
        damage: what happens to a damaged byte; None: nothing.
        every: bytes from one damaged byte to the next, in either direction, on average; at most twice as many.
        limit: so many bytes are damaged, and no more; None: it never ends.
        deaf: seconds after a connection in which the device hears nothing, as a board that resets when its port opens.
    """

    def __init__(
        self,
        target: str,
        damage: Damage | None = None,
        every: int = 1,
        limit: int | None = None,
        seed: int = 0,
        deaf: float = 0.0,
    ):
        host, port = target.removeprefix("socket://").rsplit(":", 1)
        self._target = (host, int(port))
        self._damage, self._every, self._limit, self._deaf = damage, every, limit, deaf
        self._random = random.Random(seed)
        self._next = self._gap()
        self._lost = 0
        self.damaged = 0
        self.mute = False  # set: the device's replies are lost
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _gap(self) -> int:
        """Bytes up to and with the next one that is damaged."""
        return self._random.randint(1, 2 * self._every - 1)

    def _carried(self, data: bytes) -> bytes:
        """What arrives of `data`."""
        if self._damage is None:
            return data
        arrives = bytearray()
        for byte in data:
            if self._lost:
                self._lost -= 1
                continue
            self._next -= 1
            waits = self._damage.at_line_ends and byte not in b"\n%"
            if self._next > 0 or waits or self.damaged == self._limit:
                arrives.append(byte)
                continue
            arrives += self._damage.instead(byte, self._random)
            self._lost = self._damage.lost
            self._next = self._gap()
            self.damaged += 1
        return bytes(arrives)

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
                try:
                    (device if source is client else client).sendall(self._carried(data))
                except OSError:
                    return
