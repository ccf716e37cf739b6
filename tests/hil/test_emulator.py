"""QEMU processes: started, replaced, ended, and never left behind. Only processes of these tests are touched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.build import Builder
from hil.device import Device, DeviceError
from hil.emulator import Emulator, EmulatorError, running_detached, start_detached, stop_detached
from hil.footprint import read_footprint
from hil.recipe import load_board


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("baseline")
    return Builder(load_board(), folder / "objects").build(folder / "firmware.elf", "none")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def alive(pid: int) -> bool:
    """Running, not a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 30.0) -> bool:
    deadline = time.monotonic() + within
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_it_ends_with_the_block(image):
    with Emulator(image, load_board()) as emulator:
        with Device(emulator.url) as device:
            assert device.synchronise() == read_footprint(image).build_id
        assert alive(emulator.pid)
    assert gone(emulator.pid)


OWNER = """
import sys, time
from pathlib import Path
from hil.device import Device
from hil.emulator import Emulator
from hil.recipe import load_board
from tfsparse.errors import run_cli

def main():
    with Emulator(Path(sys.argv[1]), load_board()) as emulator, Device(emulator.url) as device:
        device.wait_ready()
        print(emulator.pid, flush=True)
        time.sleep(600)

run_cli(main)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_no_way_to_die_leaves_qemu_behind(image, number, code):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(image)], stdout=subprocess.PIPE, text=True)
    pid = int(owner.stdout.readline())
    assert alive(pid)
    owner.send_signal(number)
    assert owner.wait(timeout=60) == code
    assert gone(pid)
    owner.stdout.close()


def test_emulators_side_by_side_do_not_meet(image):
    with Emulator(image, load_board()) as one, Emulator(image, load_board()) as two:
        assert one.url != two.url
        for emulator in (one, two):
            with Device(emulator.url) as device:
                assert device.wait_ready()


def test_a_detached_one_outlives_its_client_and_is_replaced(image, free_port, tmp_path):
    url = start_detached(image, load_board(), free_port, tmp_path)
    first = running_detached(free_port, tmp_path)
    # Nobody's child: whoever ends all of its children, as Ray's workers do, leaves it alone.
    assert int(Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()
    try:
        for _ in range(2):
            with Device(url) as device:
                assert device.synchronise() == read_footprint(image).build_id
        start_detached(image, load_board(), free_port, tmp_path)
        second = running_detached(free_port, tmp_path)
        assert gone(first.pid)
        assert second.pid != first.pid
        with Device(url) as device:
            device.synchronise()
    finally:
        assert stop_detached(free_port, tmp_path)
    assert gone(second.pid)
    assert not stop_detached(free_port, tmp_path)


def test_a_foreign_process_with_the_noted_pid_is_left_alone(free_port, tmp_path):
    """After a reboot the noted pid may be anyone's."""
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        note = f'{{"pid": {bystander.pid}, "started": 1, "elf": "x"}}'
        (tmp_path / f"emulator-{free_port}.json").write_text(note)
        assert not stop_detached(free_port, tmp_path)
        assert alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_in_use_is_a_sentence(image, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmulatorError, match=f"port {port} is in use by another program"):
            start_detached(image, load_board(), port, tmp_path)


def test_missing_qemu_is_a_sentence(image, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match="apt-get install qemu-system-arm"):
        Emulator(image, load_board())


def test_an_image_that_qemu_refuses_is_a_sentence(tmp_path):
    broken = tmp_path / "broken.elf"
    broken.write_bytes(b"")
    with Emulator(tmp_path / "missing.elf", load_board()) as emulator:
        with pytest.raises(DeviceError), Device(emulator.url) as device:
            device.wait_ready(2.0)
        assert "missing.elf" in emulator.complaint()


def test_idle_it_takes_no_processor_time(image):
    """The firmware sleeps while it waits: a detached emulator must not heat the machine."""
    with Emulator(image, load_board()) as emulator, Device(emulator.url) as device:
        device.wait_ready()
        before = _cpu_seconds(emulator.pid)
        time.sleep(1.0)
        assert _cpu_seconds(emulator.pid) - before < 0.3


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
