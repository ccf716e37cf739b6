"""A hundred thousand lines of nonsense, and the firmware still answers."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pytest

from hil.device import Device
from hil.emulator import Emulator
from support.handmade import handmade_model

LINES, FLOOD = 100_000, 10_000
CAPACITY = 16  # bytes of the model's input
LONG = 100  # bytes of a line that is too long for a command
# Bytes. Two pieces and a block's last bytes, which bring no reply, may wait in the firmware's receive ring at a time,
# or one long line alone: fewer than the 128 that it holds, however busy the machine is. None is lost.
PIECE, WINDOW = 50, 110
PATIENCE = 60.0  # seconds
READY = b"m-ready\r\n"
WORDS = (
    "name",
    "id",
    "mem",
    "db",
    "db load 16",
    "db 00ff",
    "db block 3 7",
    "infer 1 0",
    "results",
    "output",
    "m-ready",
)


def nonsense(rng: random.Random) -> bytes:
    """One line: a command, often with a character changed, or random bytes. Long ones are rare, they only take time."""
    kind = rng.random()
    if kind < 0.25:
        line = bytearray(rng.choice(WORDS).encode())
        if rng.random() < 0.7:
            line[rng.randrange(len(line))] = rng.randrange(256)
    else:
        line = bytearray(rng.randbytes(rng.randrange(6) if kind < 0.999 else LONG))
    return bytes(line).replace(b"%", b"") + b"%"


@dataclass
class Expectation:
    """What the protocol owes for the bytes it gets: one m-ready a command, and one for each binary block."""

    announced: int = 0  # by db load
    loaded: int = 0
    block: int = 0  # bytes still to come
    line: bytes = b""

    def replies(self, data: bytes) -> int:
        """The number of closing words that `data` brings about."""
        count = 0
        for byte in data:
            if self.block:
                self.block -= 1
                count += not self.block  # its checksum is taken to be wrong
            elif byte == ord("%"):
                count += 1
                if len(self.line) <= 80:
                    self.run(self.line.decode().split(" "))
                self.line = b""
            elif ord(" ") <= byte <= ord("~"):
                self.line += bytes([byte])
        return count

    def run(self, words: list[str]) -> None:
        words = [word for word in words if word]
        if words[:1] != ["db"]:
            return
        numbers = [int(word) if word.isdigit() and len(word) < 10 else None for word in words[2:4]]
        match words[1:2], numbers:
            case ["load"], [int(size), *_] if 0 < size <= CAPACITY:
                self.announced, self.loaded = size, 0
            case ["block"], [int(size), int(crc)] if crc < 65536 and 0 < size <= self.announced - self.loaded:
                self.block = size
            case [hexadecimal], _ if set(hexadecimal.lower()) <= set("0123456789abcdef"):
                size, odd = divmod(len(hexadecimal), 2)
                self.loaded += size if not odd and self.loaded + size <= self.announced else 0


def pieces(storm: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """The storm in pieces that the receive ring can hold, each with the number of replies that it must bring."""
    expectation, piece = Expectation(), b""
    for line in storm:
        if len(piece) + len(line) > PIECE:
            yield piece, expectation.replies(piece)
            piece = b""
        piece += line
    yield piece, expectation.replies(piece)


def replies_of(owed: int, replies: BinaryIO) -> set[bytes]:
    """Lines up to the last of the closing words that are owed. TimeoutError: fewer come."""
    lines = set()
    while owed:
        line = replies.readline()
        assert line, "the emulator has gone"
        lines.add(line)
        owed -= line == READY
    return lines


@pytest.fixture(scope="module")
def echo(builder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("echo")
    return builder.build(folder / "firmware.elf", "sparse", handmade_model(folder / "model", inputs=CAPACITY))


def check_alive(device: Device) -> None:
    device.settle(PATIENCE)
    assert device.command("name") == ["m-name-dut-[stm32f405-qemu]"]
    memory = device.memory()
    assert memory.stack_peak < memory.stack_size / 2
    device.load(bytes(range(CAPACITY)))
    device.infer()
    assert device.output() == bytes(range(4))


@pytest.mark.slow
def test_a_storm_of_random_lines(builder, echo):
    """Every single line is answered, and what is answered is exactly what the protocol owes.

    A UART has no flow control: no more is sent than the receive ring can hold before the replies have come.
    """
    rng = random.Random(6)
    storm = [nonsense(rng) for _ in range(LINES)]
    said: set[bytes] = set()
    with Emulator(echo, builder.board) as emulator:
        with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), PATIENCE) as line:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with line.makefile("rb") as replies:
                replies_of(1, replies)  # the banner
                before, owed, answered = b"", 0, 0
                for piece, owed_next in pieces(storm):
                    if len(before + piece) > WINDOW:
                        said |= replies_of(owed, replies)
                        owed = 0
                    line.sendall(piece)
                    said |= replies_of(owed, replies)
                    before, owed, answered = piece, owed_next, answered + owed_next
                said |= replies_of(owed, replies)
        assert answered > 0.95 * LINES  # all but what lies inside blocks
        assert b"m-init-done\r\n" not in said  # it has not restarted
        assert [each for each in said if b"m-ready" in each] == [READY]  # the closing word stands nowhere else
        assert not [each for each in said if b"fault" in each or b"Bytes were lost" in each]
        with Device(emulator.url) as device:
            check_alive(device)


def test_a_flood_that_nobody_waits_for(builder, echo):
    """Sent as fast as the line takes it: the receive ring overflows and lines are lost, but nothing else is."""
    rng = random.Random(7)
    with Emulator(echo, builder.board) as emulator, Device(emulator.url) as device:
        device.wait_ready()
        for _ in range(FLOOD // 100):
            device._write(b"".join(nonsense(rng) for _ in range(100)), "a flood")
        check_alive(device)
