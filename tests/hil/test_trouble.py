"""What goes wrong between host and chip: never a wrong figure, never a hang, no process left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hil import device as device_module
from hil import session
from hil.build import Builder, ModelSource
from hil.device import Device, DeviceError, FaultError, SilenceError
from hil.emulator import Emulator, start_detached, stop_detached
from hil.measure import Measurer
from hil.recipe import load_board
from support.bad_line import KINDS, BadLine
from support.handmade import handmade_model
from tfsparse.compiler import compile_model
from tfsparse.errors import UserError, run_cli

LOOP = '{{ uint32_t n = {count}; __asm volatile("1: subs %0, #1\\n bne 1b" : "+r"(n)); }}'


@pytest.fixture(scope="module")
def uploaded(digits_tflite, tmp_path_factory):
    """(URL, builder): a detached emulator that runs the digits firmware."""
    folder: Path = tmp_path_factory.mktemp("uploaded")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    compiled = compile_model(digits_tflite, folder / "model")
    builder = Builder(load_board(), folder / "objects")
    elf = builder.build(folder / "firmware.elf", "sparse", ModelSource(compiled.directory, compiled.sources))
    yield start_detached(elf, builder.board, number, folder), builder
    stop_detached(number, folder)


@contextmanager
def patience(seconds: float):
    """Waits of seconds instead of minutes: on a bad line each lost closing word costs one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_module.Device.__init__, "__kwdefaults__", {"name": None, "patience": seconds})
        patch.setattr(session, "INFERENCE_PATIENCE", seconds)
        yield


@pytest.fixture
def impatient():
    with patience(1.0):
        yield


def figures(measurement):
    return replace(measurement, target="", seconds={})


@pytest.fixture(scope="module")
def truth(uploaded, measurer, digits_tflite):
    return figures(measurer.measure(digits_tflite))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_damage_now_and_then_is_mended(kind, seed, uploaded, digits_tflite, truth, tmp_path):
    """Fewer damaged bytes than attempts, wherever in a measurement they fall: it comes out right."""
    with (
        patience(3.0),  # a busy machine answers within that, too
        BadLine(uploaded[0], KINDS[kind], every=500, limit=device_module.ATTEMPTS - 1, seed=seed) as line,
        Measurer(line.url, workdir=tmp_path) as measurer,
    ):
        assert figures(measurer.measure(digits_tflite)) == truth
    assert line.damaged == device_module.ATTEMPTS - 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_line_never_gives_a_wrong_figure(kind, uploaded, digits_tflite, truth, tmp_path):
    """Some byte of nearly every reply is damaged: the measurement comes out right, or not at all."""
    with (
        patience(0.3),
        BadLine(uploaded[0], KINDS[kind], every=120) as line,
        Measurer(line.url, workdir=tmp_path) as measurer,
        suppress(UserError),
    ):
        assert figures(measurer.measure(digits_tflite)) == truth
    assert line.damaged


def test_a_ruined_line_is_a_sentence(uploaded, digits_tflite, tmp_path, impatient):
    with (
        BadLine(uploaded[0], KINDS["flipped"]) as line,
        Measurer(line.url, workdir=tmp_path) as measurer,
        pytest.raises(DeviceError),
    ):
        measurer.measure(digits_tflite)


def test_a_board_that_resets_when_its_port_opens(uploaded, digits_tflite, truth, tmp_path):
    """It hears nothing for a second, and its banner comes in the middle of our first attempts."""
    with BadLine(uploaded[0], deaf=1.2) as line, Measurer(line.url, workdir=tmp_path) as measurer:
        assert figures(measurer.measure(digits_tflite)) == truth


def test_a_device_that_stops_answering(uploaded, digits_tflite, tmp_path, impatient):
    with BadLine(uploaded[0]) as line, Measurer(line.url, workdir=tmp_path) as measurer:

        def mute(done: int) -> None:
            line.mute = done >= 2

        start = time.monotonic()
        with pytest.raises(SilenceError, match="does not answer"):
            measurer.measure(digits_tflite, progress=mute)
        assert time.monotonic() - start < 60


@contextmanager
def running(folder: Path, **model: object):
    builder = Builder(load_board(), folder / "objects")
    elf = builder.build(folder / "firmware.elf", "sparse", handmade_model(folder / "model", **model))
    with Emulator(elf, builder.board) as emulator, Device(emulator.url, name="the emulator") as device:
        device.wait_ready()
        yield emulator, device


RESET = "*(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u; for (;;) {}"


def test_a_reset_in_the_middle_of_an_inference(tmp_path):
    with running(tmp_path, body=RESET) as (_, device):
        with pytest.raises(FaultError, match="the firmware restarted during"):
            session.run_input(device, bytes(16))
        assert device.model() == "handmade"


def test_a_hard_fault_is_reported_with_its_registers_and_not_tried_again(tmp_path):
    with running(tmp_path, body='__asm volatile(".short 0xde00");') as (_, device):
        with pytest.raises(FaultError, match=r"Hard fault: sp=0x\w{8} pc=0x\w{8} lr=0x\w{8} r0=0x.* cfsr=0x\w{8}"):
            session.run_input(device, bytes(16))
        assert device.memory().ticks == 0  # since its restart it has run nothing


def test_an_emulator_that_dies_in_the_middle(tmp_path):
    with running(tmp_path) as (emulator, device):
        os.kill(emulator.pid, signal.SIGKILL)
        with pytest.raises(DeviceError):
            device.memory()
        assert "-9" in emulator.complaint()


def test_a_stale_emulator_on_the_port(uploaded, tmp_path):
    """An older firmware answers: its build id gives it away before any figure is taken."""
    from support.tflite_models import small_digits_like_tflite

    other = tmp_path / "other.tflite"
    other.write_bytes(small_digits_like_tflite(seed=1))
    with (
        Measurer(uploaded[0], workdir=tmp_path) as measurer,
        pytest.raises(UserError, match=r"runs another firmware .* upload it first"),
    ):
        measurer.measure(other)


def cli(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hil.measure", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_two_measurements_at_once(digits_tflite):
    """In the same cache, with an emulator each: equal figures."""
    both = [cli(digits_tflite, "--json") for _ in range(2)]
    records = [each.communicate(timeout=180) for each in both]
    assert [each.returncode for each in both] == [0, 0], records
    one, two = (re.sub(r'"seconds": {.*?}', "", out) for out, _ in records)
    assert one == two


def children(pid: int) -> list[int]:
    """Descendants of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def test_ctrl_c_leaves_nothing(tmp_path):
    """While the chip computes: exit code 130, one line, no process, no folder."""
    workdir = tmp_path / "work"
    code = (
        "import sys\nfrom pathlib import Path\nfrom hil.build import Builder\nfrom hil.device import Device\n"
        "from hil.emulator import Emulator\nfrom hil.recipe import load_board\nfrom tfsparse.errors import run_cli\n"
        "sys.path.insert(0, 'tests')\nfrom support.handmade import handmade_model\n"
        "def main():\n"
        "    folder = Path(sys.argv[1])\n"
        "    model = handmade_model(folder / 'model', body='for (;;) {}')\n"
        "    elf = Builder(load_board(), folder / 'o').build(folder / 'f.elf', 'sparse', model)\n"
        "    with Emulator(elf, load_board()) as emulator, Device(emulator.url) as device:\n"
        "        device.wait_ready(); device.load(bytes(16)); print('runs', flush=True)\n"
        "        device.infer(timeout=600)\n"
        "run_cli(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(workdir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "runs\n"
    emulators = children(process.pid)
    assert emulators
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "stopped by Ctrl-C\n"
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in emulators) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in emulators)


def test_a_full_disk_is_a_sentence_wherever_it_is_met(capsys):
    """/dev/full refuses every byte with the error of a full disk."""

    def main() -> None:
        with open("/dev/full", "w") as disk:
            disk.write("figures")

    with pytest.raises(SystemExit) as ended:
        run_cli(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: no space is left for what is written; make room on its disk\n"


def test_files_that_cannot_grow_are_a_sentence(digits_tflite, tmp_path):
    """Files end at 4 kB, as on a full disk: images cannot be written, and nothing is measured."""
    limited = ["bash", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "limited"]
    code = (
        "import sys\nfrom hil.measure import Measurer\nfrom tfsparse.errors import run_cli\n"
        "from pathlib import Path\n"
        "def main():\n"
        "    with Measurer(workdir=Path(sys.argv[2])) as measurer: measurer.measure(Path(sys.argv[1]))\n"
        "run_cli(main)\n"
    )
    command = [*limited, sys.executable, "-c", code, str(digits_tflite), str(tmp_path / "work")]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert not list((tmp_path / "work").rglob("*.part"))
