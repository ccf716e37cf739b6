"""A hundred thousand lines of nonsense, and the firmware still answers."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading
import time

import pytest

from hil.device import Device
from hil.emulator import Emulator
from support.handmade import handmade_model

LINES = 100_000
PATIENCE = 300.0  # seconds
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
        line = bytearray(rng.randbytes(rng.randrange(6) if kind < 0.999 else 300))
    return bytes(line).replace(b"%", b"") + b"%"


@pytest.mark.slow
def test_a_storm_of_random_lines(builder, tmp_path):
    rng = random.Random(6)
    storm = [nonsense(rng) for _ in range(LINES)]
    elf = builder.build(tmp_path / "firmware.elf", "sparse", handmade_model(tmp_path / "model"))
    with Emulator(elf, builder.board) as emulator:
        reply = storm_over(emulator.url, storm)
        assert b"m-init-done" not in reply.partition(b"m-ready")[2]  # after its start it has not restarted
        assert b"Hard fault" not in reply
        # Every line was answered, but for those that binary blocks have swallowed: how many depends on when the waiting
        # for a block's bytes ends, and with that on how fast the machine is.
        assert len(re.findall(rb"^m-ready\r$", reply, re.MULTILINE)) > 0.4 * LINES
        with Device(emulator.url) as device:
            device.settle()
            assert device.command("name") == ["m-name-dut-[stm32f405-qemu]"]
            memory = device.memory()
            assert memory.stack_peak < memory.stack_size / 2
            device.load(bytes(range(16)))
            device.infer()
            assert device.output() == bytes(range(4))


def storm_over(url: str, storm: list[bytes]) -> bytes:
    """Send all lines as fast as they are taken; returns all replies."""
    reply = bytearray()
    deadline = time.monotonic() + PATIENCE
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as line:
        line.settimeout(1.0)

        def listen() -> None:
            while b"e-[Unknown command: storm-over]" not in reply[-4096:] and time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):
                    reply.extend(line.recv(65536))

        listener = threading.Thread(target=listen)
        listener.start()
        sender = socket.fromfd(line.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with sender:
            sender.settimeout(PATIENCE)
            # The line ends fill up a block that may be open.
            sender.sendall(b"".join(storm) + b"\n" * 1024 + b"%storm-over%")
        listener.join()
    return bytes(reply)
