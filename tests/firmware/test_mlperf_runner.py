"""The firmware as MLCommons' runner for MLPerf Tiny drives it: over a terminal, with the runner's own habits.

Those are (mlcommons/tiny, benchmark/runner): a reply ends at the first line that holds "m-ready" anywhere in it; name,
profile, model, results and laps are told by patterns over whole lines; the test is chosen by the model's name; an input
goes over as `db load` and lines of 31 bytes; warm-ups are always given.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import serial

from hil.build import Builder, ModelSource
from hil.reference import Reference
from support.emulators import on_a_tty
from tfsparse.compiler import compile_model

PATTERNS = {
    "name": r"m-name-dut-\[([^]]+)]",
    "profile": r"m-profile-\[([^]]+)]",
    "model": r"m-model-\[([^]]+)]",
    "results": r"m-results-\[([^]]+)]",
    "lap": r"m-lap-us-([0-9]+)",
}


class Runner:
    """Nothing of `hil.device`: only what the runner does."""

    def __init__(self, port: serial.Serial):
        self._port = port

    def send(self, command: str) -> dict[str, list[str]]:
        """What each pattern finds in the reply."""
        self._port.write(command.encode() + b"%")
        found: dict[str, list[str]] = {name: [] for name in PATTERNS}
        while True:
            line = self._port.readline().decode()
            assert line.endswith("\r\n"), f"no answer to {command}"
            line = line.strip("\r\n\0")
            for name, pattern in PATTERNS.items():
                if match := re.match(f"^{pattern}$", line):
                    found[name].append(match[1])
            if "m-ready" in line:
                assert line == "m-ready"
                return found

    def load(self, data: bytes) -> None:
        self.send(f"db load {len(data)}")
        for start in range(0, len(data), 31):
            self.send("db " + data[start : start + 31].hex())


@pytest.fixture
def compiled(tmp_path):
    from support.tflite_models import small_digits_like_tflite

    content = small_digits_like_tflite()
    return content, compile_model(content, tmp_path / "model", name="ic01")


def test_the_runners_session(builder: Builder, compiled, tmp_path):
    content, model = compiled
    source = ModelSource(model.directory, model.sources)
    elf = builder.build(tmp_path / "firmware.elf", "sparse", source)
    inputs = np.random.default_rng(0).integers(-128, 128, (3, model.input_size), dtype=np.int8)
    expected = (Reference(content, model)(inputs) - np.float32(model.output_zero_point)) * model.output_scale
    with on_a_tty(elf, builder.board) as path, serial.Serial(path, 115200, timeout=30) as port:
        port.read_until(b"m-ready\r\n")  # the banner, which is gone where the board was switched on before
        runner = Runner(port)
        assert runner.send("name")["name"] == ["stm32f405-qemu"]
        profile = runner.send("profile")
        assert (profile["profile"], profile["model"]) == (["ULPMark for tinyML Firmware V0.0.1"], ["ic01"])
        assert len(runner.send("timestamp")["lap"]) == 1
        elapsed = set()
        for each, wanted in zip(inputs, expected, strict=True):
            runner.load(each.tobytes())
            reply = runner.send("infer 5 2")
            start, end = map(int, reply["lap"])
            elapsed.add(end - start)
            (vector,) = reply["results"]
            assert [float(value) for value in vector.split(",")] == pytest.approx(wanted, abs=0.0006)
        assert all(count > 5 * 10_000 for count in elapsed)
        runner.send("help")
