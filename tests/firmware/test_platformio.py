"""`pio run` and its targets for real, in a copy of the project, without the internet and without the user's own
PlatformIO folder."""

from __future__ import annotations

import configparser
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.build import Builder
from hil.device import Device
from hil.emulator import running_detached, stop_detached
from hil.footprint import read_footprint
from hil.recipe import board_names, load_board
from support.handmade import handmade_model

ROOT = Path(__file__).resolve().parents[2]
PIO = Path(sys.executable).parent / "pio"
ELF = Path(".pio/build/stm32f405_qemu/firmware.elf")

ENVIRONMENTS = re.findall(r"^\[env:(\w+)\]", (ROOT / "platformio.ini").read_text(), re.MULTILINE)
OFFLINE = [name for name in ENVIRONMENTS if not name.endswith("_online")]

pytestmark = pytest.mark.skipif(not PIO.exists(), reason=f"no pio beside {sys.executable}: pip install platformio")


class Project:
    """A copy of what `pio run` needs, with a HOME and a TCP port of its own."""

    def __init__(self, folder: Path):
        self.folder = folder / "project"
        self.home = folder / "home"
        self.home.mkdir()
        self.folder.mkdir()
        shutil.copy(ROOT / "platformio.ini", self.folder)
        for name in ("firmware", "hil", "tfsparse"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def environment(self, **more: str) -> dict[str, str]:
        nowhere = "http://127.0.0.1:1"  # whoever asks the internet fails
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PLATFORMIO_", "TFSPARSE_"))},
            "HOME": str(self.home),
            "TFSPARSE_PORT": str(self.port),
            "HTTP_PROXY": nowhere,
            "HTTPS_PROXY": nowhere,
            **more,
        }

    def pio(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PIO, *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    @property
    def url(self) -> str:
        return f"socket://127.0.0.1:{self.port}"

    @property
    def elf(self) -> Path:
        return self.folder / ELF


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("pio"))
    yield project
    stop_detached(project.port, project.folder / ".pio")


@pytest.fixture
def model(tmp_path):
    return handmade_model(tmp_path / "model")


def test_pio_run_needs_nothing_but_the_project(project):
    result = project.pio("run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert project.elf.is_file()
    assert not (project.home / ".platformio").exists()


def test_pio_and_hil_build_the_same_image(project, builder: Builder, tmp_path, model):
    """To the bit: the build ids are equal, and with them every figure."""
    assert project.pio("run").returncode == 0
    baseline = read_footprint(builder.build(tmp_path / "baseline.elf", "none"))
    assert read_footprint(project.elf) == baseline

    result = project.pio("run", TFSPARSE_MODEL=str(model.directory))
    assert result.returncode == 0, result.stdout + result.stderr
    image = read_footprint(builder.build(tmp_path / "model.elf", "sparse", model))
    assert read_footprint(project.elf).flash_total == image.flash_total > baseline.flash_total
    assert read_footprint(project.elf).build_id == image.build_id


def test_a_models_name_reaches_the_firmware(project):
    from support.tflite_models import small_digits_like_tflite

    (project.folder / "named.tflite").write_bytes(small_digits_like_tflite())
    result = project.pio("run", "-t", "upload", TFSPARSE_MODEL="named.tflite", TFSPARSE_NAME="digits-8x8")
    assert result.returncode == 0, result.stdout + result.stderr
    with Device(project.url) as device:
        device.synchronise()
        assert device.model() == "digits-8x8"
    measured = project.python("-m", "hil.measure", "--json")
    assert json.loads(measured.stdout)["bit_exact"], (
        measured.stderr
    )  # the image with this name was built again, to the bit
    refused = project.pio("run", TFSPARSE_MODEL="named.tflite", TFSPARSE_NAME="a m-ready%")
    assert "is no name for a model" in refused.stderr + refused.stdout


def test_pio_compiles_a_tflite_and_hil_measures_what_runs(project):
    from support.tflite_models import small_digits_like_tflite

    (project.folder / "model.tflite").write_bytes(small_digits_like_tflite())
    ini = project.folder / "platformio.ini"
    text = ini.read_text()
    wanted = {"custom_model =": "custom_model = model.tflite", "custom_by_rows = no": "custom_by_rows = yes"}
    for line, changed in wanted.items():
        assert line in text
        ini.write_text(ini.read_text().replace(line, changed))
    try:
        result = project.pio("run", "-t", "upload")
    finally:
        ini.write_text(text)
    assert result.returncode == 0, result.stdout + result.stderr
    # Both from the copy: what runs, its ELF and its .tflite are found by the build id.
    measured = project.python("-m", "hil.measure", "--json")
    assert measured.returncode == 0, measured.stderr
    record = json.loads(measured.stdout)
    assert record["bit_exact"] is True
    assert record["target"] == project.url
    assert record["fed"] == "rows"
    assert record["flash_total"] == read_footprint(project.elf).flash_total


def test_tflm_through_pio(project, tflm_sources):
    """The interpreter in the image, the model in its slot; the image is the one that hil.measure builds, to the bit."""
    from support.tflite_models import small_digits_like_tflite

    (project.folder / "model.tflite").write_bytes(small_digits_like_tflite())
    wanted = {"TFSPARSE_MODEL": "model.tflite", "TFSPARSE_RUNTIME": "tflm", "TFSPARSE_NAME": "digits"}
    result = project.pio("run", "-t", "upload", **wanted)
    assert result.returncode == 0, result.stdout + result.stderr
    with Device(project.url) as device:
        device.synchronise()
        assert device.model() == "digits"
        assert (device.memory().runtime, device.memory().failure) == ("tflm", 0)
    measured = project.python("-m", "hil.measure", "--json")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["runtime"] == "tflm"
    # Another model needs no other image.
    elf = project.elf.read_bytes()
    (project.folder / "model.tflite").write_bytes(small_digits_like_tflite(seed=1))
    assert project.pio("run", "-t", "upload", **wanted).returncode == 0
    assert project.elf.read_bytes() == elf
    # Without it, the slot of before is gone.
    assert project.pio("run", "-t", "upload").returncode == 0
    assert not (project.elf.parent / "slot.bin").exists()


@pytest.fixture
def tflm_sources(project):
    """TFLite Micro and its libraries from the cache of this checkout, where they are; a copy would be built anew."""
    cache = ROOT / ".cache" / "tflm"
    if not (cache / "tfmicro-0.1.0").is_dir():
        pytest.skip("no TFLite Micro: make tflm")
    link = project.folder / ".cache" / "tflm"
    if not link.exists():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(cache)


def test_every_offline_environment_compiles(project):
    result = project.pio("run", *(word for name in OFFLINE for word in ("-e", name)))
    assert result.returncode == 0, result.stdout + result.stderr
    for name in OFFLINE:
        assert (project.folder / ".pio" / "build" / name / "firmware.elf").is_file()


def test_pio_uploads_to_a_board(project, model, tmp_path):
    """Only the command line: the tool writes down how it was called. There is no board here."""
    tool = tmp_path / "openocd"
    tool.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/call\n')
    tool.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = project.pio("run", "-e", "nucleo_f446re", "-t", "upload", TFSPARSE_MODEL=str(model.directory), PATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    call = (tmp_path / "call").read_text()
    assert call.startswith("-f interface/stlink.cfg -f target/stm32f4x.cfg -c program {")
    assert "nucleo_f446re/firmware.elf} verify" in call
    assert project.pio("run", "-e", "nucleo_f446re", "-t", "upload", TFSPARSE_UPLOAD="dfu").returncode != 0


def test_environments():
    """Each board of firmware/boards has one that needs no internet; each real one also PlatformIO's own platform."""
    config = configparser.ConfigParser()
    config.read(ROOT / "platformio.ini")
    assert set(OFFLINE) == set(board_names())
    real = {name for name in board_names() if load_board(name).qemu_machine is None}
    assert set(ENVIRONMENTS) - set(OFFLINE) == {f"{name}_online" for name in real}
    assert config["platformio"]["default_envs"] == "stm32f405_qemu"


OTHER_BUILDER = """
# Tools and bare-metal flags as PlatformIO's own platforms set them; it knows nothing of this project.
from SCons.Script import Default, DefaultEnvironment
env = DefaultEnvironment()
env.Replace(CC="arm-none-eabi-gcc", CXX="arm-none-eabi-g++", AR="arm-none-eabi-ar", SIZETOOL="arm-none-eabi-size",
            PROGNAME="firmware", PROGSUFFIX=".elf", SIZEPRINTCMD="$SIZETOOL -B -d $SOURCES")
env.Append(
    CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", "-mthumb", "-mcpu=cortex-m4"],
    CXXFLAGS=["-fno-rtti", "-fno-exceptions"],
    CPPDEFINES=[("F_CPU", "$BOARD_F_CPU")],
    LINKFLAGS=["-Os", "-Wl,--gc-sections,--relax", "-mthumb", "-mcpu=cortex-m4"],
    LIBS=["c", "gcc", "m", "stdc++"],
)
Default(env.BuildProgram())
"""


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name.endswith("_online")])
def test_the_online_script_makes_our_image_under_another_platform(name, project, model):
    """PlatformIO's own platform cannot be had offline; one that is like it stands in."""
    other = project.folder / "other"
    if not other.exists():
        shutil.copytree(project.folder / "firmware" / "platform", other)
        (other / "builder" / "main.py").write_text(OTHER_BUILDER)
        platform = (other / "platform.py").read_text()
        here = 'Path(__file__).resolve().parents[1] / "boards"'
        assert here in platform
        boards = f'Path("{project.folder}/firmware/boards")'
        (other / "platform.py").write_text(platform.replace(here, boards).replace("TfsparsePlatform", "OtherPlatform"))
        manifest = (other / "platform.json").read_text()
        (other / "platform.json").write_text(manifest.replace('"name": "tfsparse"', '"name": "other"'))
    ini = project.folder / "platformio.ini"
    text = ini.read_text()
    ini.write_text(text.replace("platform = ststm32", "platform = symlink://other"))
    try:
        result = project.pio("run", "-e", name, TFSPARSE_MODEL=str(model.directory))
    finally:
        ini.write_text(text)
    assert result.returncode == 0, result.stdout + result.stderr
    online = read_footprint(project.folder / ".pio" / "build" / name / "firmware.elf")
    board = load_board(name.removesuffix("_online"))
    assert online.sections[".stack"] == board.stack_size
    assert online.size_of("arena") == 20
    assert 6_000 < online.flash_total < 12_000


def test_pio_understands_every_environment(project):
    result = project.pio("project", "config", "--json-output")
    assert result.returncode == 0, result.stderr
    found = {section: dict(options) for section, options in json.loads(result.stdout)}
    for name in ENVIRONMENTS:
        options = found[f"env:{name}"]
        online = name.endswith("_online")
        assert options["board"] == name.removesuffix("_online")
        assert options["platform"] == ("ststm32" if online else "symlink://firmware/platform")
        assert options.get("extra_scripts", []) == (["pre:firmware/platform/online.py"] if online else [])


def test_upload_replaces_and_stop_ends_the_emulator(project, model):
    state = project.folder / ".pio"
    result = project.pio("run", "-t", "upload", TFSPARSE_MODEL=str(model.directory))
    assert result.returncode == 0, result.stdout + result.stderr
    first = running_detached(project.port, state)
    with Device(project.url) as device:
        device.synchronise()
        assert device.model() == "handmade"
    assert project.pio("run", "-t", "upload").returncode == 0
    second = running_detached(project.port, state)
    assert not first.running
    with Device(project.url) as device:
        assert device.synchronise() == read_footprint(project.elf).build_id
        assert device.model() == "none"
    assert "Emulator ended" in project.pio("run", "-t", "stop").stdout
    assert not second.running
    assert "No emulator of ours" in project.pio("run", "-t", "stop").stdout


def test_monitor(project):
    """`pio device monitor` wants a terminal: it gets one, types a command, and shows the reply."""
    assert project.pio("run", "-t", "upload").returncode == 0
    primary, secondary = pty.openpty()
    monitor = subprocess.Popen(
        [PIO, "device", "monitor", "--port", project.url],
        cwd=project.folder,
        env=project.environment(),
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
    )
    os.close(secondary)
    try:
        shown = read_until(primary, "Quit: Ctrl+C")
        os.write(primary, b"name%")
        assert "m-name-dut-[stm32f405-qemu]" in read_until(primary, "m-ready"), shown
    finally:
        monitor.kill()
        monitor.wait()
        os.close(primary)


def read_until(terminal: int, text: str, timeout: float = 60.0) -> str:
    shown, deadline = "", time.monotonic() + timeout
    while text not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_monitor_port_is_the_emulators():
    """platformio.ini names the port twice, as it cannot compute."""
    text = (ROOT / "platformio.ini").read_text()
    assert "custom_port = 5333" in text
    assert "monitor_port = socket://127.0.0.1:5333" in text


def test_port_in_use(project):
    stop_detached(project.port, project.folder / ".pio")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", project.port))
        other.listen()
        result = project.pio("run", "-t", "upload")
    assert result.returncode != 0
    assert f"Error: port {project.port} is in use by another program" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"TFSPARSE_MODEL": "none.tflite"}, "Error: there is no model"),
        ({"TFSPARSE_MODEL": "platformio.ini"}, "Error: "),
        ({"TFSPARSE_MODEL": "firmware"}, "holds no model.h"),
    ],
)
def test_wrong_models(project, more, message):
    result = project.pio("run", **more)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_model_too_big_for_the_chip(project, tmp_path):
    big = handmade_model(tmp_path / "big", outputs=200_000)
    result = project.pio("run", TFSPARSE_MODEL=str(big.directory))
    assert result.returncode != 0
    assert "Error: the model is too big for STM32F405" in result.stderr
    assert "bytes of RAM where the chip has 131,072" in result.stderr


def test_missing_toolchain(project, tmp_path):
    for tool in ("sh", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    result = project.pio("run", PATH=str(tmp_path))
    assert result.returncode != 0
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi" in result.stderr


def test_a_copied_project_does_not_build_with_the_originals_platform(project, tmp_path):
    assert project.pio("run").returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(project.folder, copy)
    run = {"cwd": copy, "env": project.environment(), "capture_output": True, "text": True, "timeout": 300}
    first = subprocess.run([PIO, "run"], check=False, **run)
    assert first.returncode != 0
    assert "this project was copied" in first.stderr
    again = subprocess.run([PIO, "run"], check=False, **run)
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_board_is_a_folder(project):
    """A copy of a board's folder under another name is a board, for PlatformIO and for hil."""
    boards = project.folder / "firmware" / "boards"
    shutil.copytree(boards / load_board().name, boards / "my_board", dirs_exist_ok=True)
    ini = project.folder / "platformio.ini"
    ini.write_text(ini.read_text() + "\n[env:my_board]\nplatform = symlink://firmware/platform\nboard = my_board\n")
    result = project.pio("run", "-e", "my_board")
    assert result.returncode == 0, result.stdout + result.stderr
    assert read_footprint(project.folder / ".pio/build/my_board/firmware.elf").flash_total > 0
