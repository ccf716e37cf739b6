"""The protocol client against peers that are silent, foreign, or absent. With the firmware: tests/firmware."""

from __future__ import annotations

import binascii
import socket
import threading
import time

import pytest

from hil.device import Device, DeviceError, SilenceError


@pytest.fixture
def peer():
    """A TCP port whose other end does what a test tells it: peer(reply) answers whatever comes with `reply`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"socket://127.0.0.1:{listener.getsockname()[1]}"

        def serve(reply: bytes | None) -> str:
            def run():
                connection, _ = listener.accept()
                with connection:
                    while connection.recv(4096):
                        if reply is None:
                            return  # hangs up
                        connection.sendall(reply)

            threading.Thread(target=run, daemon=True).start()
            return url

        yield serve


def test_silence_ends_in_time(peer):
    with Device(peer(b"")) as device:
        start = time.monotonic()
        with pytest.raises(SilenceError, match="does not answer 'name'"):
            device.command("name", timeout=0.3)
        with pytest.raises(SilenceError):
            device.synchronise(timeout=0.5)
        assert time.monotonic() - start < 20.0


def test_half_a_reply_is_not_taken(peer):
    with Device(peer(b"m-name-dut-[x]\r\nm-rea")) as device, pytest.raises(SilenceError):
        device.command("name", timeout=0.3)


def test_another_protocol_is_told(peer):
    with (
        Device(peer(b"Welcome to Linux\r\nm-ready\r\n")) as device,
        pytest.raises(DeviceError, match="not our protocol"),
    ):
        device.build_id()


def test_a_mem_line_of_another_version_is_told(peer):
    line = b"m-mem-[runtime=sparse,input=3]\r\n"
    url = peer(line + b"m-crc-%d\r\nm-ready\r\n" % binascii.crc_hqx(line, 0xFFFF))
    with Device(url) as device, pytest.raises(DeviceError, match="not this version's"):
        device.memory()


def test_a_hang_up_is_told(peer):
    with Device(peer(None)) as device, pytest.raises(DeviceError, match="went away"):
        device.command("name")


def test_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DeviceError, match=r"nothing answers on .* pio run -t upload"):
        Device(f"socket://127.0.0.1:{port}")


def test_no_such_serial_port():
    with pytest.raises(DeviceError, match=r"/dev/ttyNOPE0 cannot be opened .* ports found:"):
        Device("/dev/ttyNOPE0")
