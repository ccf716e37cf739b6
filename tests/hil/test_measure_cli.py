"""python -m hil.measure as a user calls it: in a process of its own, with exit codes and sentences."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hil.build import Builder, ModelSource
from hil.emulator import start_detached, stop_detached
from hil.recipe import load_board
from support.processor import processor_seconds
from tfsparse.compiler import compile_model


def measure(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hil.measure", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a user's error."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_answers_at_once():
    """In half a second of processor time: a busy machine's clock says little."""
    measure("--help")  # once, so that the byte code is there
    assert min(processor_seconds("-m", "hil.measure", "--help") for _ in range(3)) < 0.5


def test_neither_tensorflow_nor_keras_is_imported(digits_tflite):
    """Through a whole measurement, reference included."""
    code = (
        "import sys\n"
        "from hil.measure import Measurer\n"
        "with Measurer() as m: assert m.measure(sys.argv[1]).bit_exact\n"
        "bad = {n.split('.')[0] for n in sys.modules} & {'tensorflow', 'keras', 'tf_keras', 'torch', 'jax'}\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(digits_tflite)], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr


def test_table_holds_every_word(digits_tflite):
    result = measure(digits_tflite)
    assert result.returncode == 0, result.stderr
    for word in ("flash_total", "flash_model", "payload", "ram_total", "ram_model", "stack", "instructions"):
        assert word in result.stdout
    assert "yes" in result.stdout


def test_by_rows(digits_tflite):
    result = measure(digits_tflite, "--by-rows")
    assert result.returncode == 0, result.stderr
    assert "by rows" in result.stdout


def test_json_and_accuracy(digits_tflite, digits_inputs, tmp_path):
    np.save(tmp_path / "X.npy", digits_inputs)
    np.save(tmp_path / "y.npy", np.zeros(6, np.int64))
    options = ("--inputs", tmp_path / "X.npy", "--labels", tmp_path / "y.npy", "--json")
    result = measure(digits_tflite, *options)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["bit_exact"] is True
    assert record["inputs"] == 6
    assert 0 <= record["accuracy"] <= 1


@pytest.fixture
def port(digits_tflite, tmp_path):
    """A detached emulator that runs the digits firmware."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    compiled = compile_model(digits_tflite, tmp_path / "model")
    builder = Builder(load_board(), tmp_path / "objects")
    elf = builder.build(tmp_path / "firmware.elf", "sparse", ModelSource(compiled.directory, compiled.sources))
    yield start_detached(elf, builder.board, number, tmp_path)
    stop_detached(number, tmp_path)


def test_a_serial_port_gives_the_same_figures_as_an_emulator_of_its_own(digits_tflite, port):
    there = json.loads(measure(digits_tflite, "--port", port, "--json").stdout)
    here = json.loads(measure(digits_tflite, "--json").stdout)
    assert there["target"] == port
    assert {**there, "target": 0, "seconds": 0} == {**here, "target": 0, "seconds": 0}


def test_without_a_model_the_firmware_on_the_port_is_measured(port):
    result = measure("--port", f"stm32f405_qemu@{port}", "--json")
    record = json.loads(result.stdout)
    assert record["target"] == f"stm32f405_qemu@{port}"
    assert result.returncode == 1  # nothing to compare the outputs with
    assert record["bit_exact"] is None
    assert record["runtime"] == "sparse"
    assert record["instructions"] > 10_000
    assert record["arena"] > 0


def test_another_firmware_on_the_port(port, tmp_path):
    from support.tflite_models import small_digits_like_tflite

    other = tmp_path / "other.tflite"
    other.write_bytes(small_digits_like_tflite(seed=1))
    message = sentence(measure(other, "--port", port))
    assert "runs another firmware" in message
    assert "pio run -t upload" in message


def test_nothing_on_the_port(digits_tflite):
    assert "nothing answers on" in sentence(measure(digits_tflite, "--port", "socket://127.0.0.1:1"))
    assert "pio run -t upload" in sentence(measure(TFSPARSE_PORT="1"))
    assert "ports found" in sentence(measure(digits_tflite, "--port", "/dev/ttyNOPE0"))


def test_missing_tools(digits_tflite, tmp_path):
    assert "apt-get install gcc-arm-none-eabi" in sentence(measure(digits_tflite, PATH=str(tmp_path)))
    for tool in ("arm-none-eabi-gcc",):
        (tmp_path / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    found = measure(digits_tflite, PATH=str(tmp_path))
    assert "apt-get install qemu-system-arm" in sentence(found)


def test_files_that_are_none(digits_tflite, tmp_path):
    assert "cannot read the model" in sentence(measure(tmp_path / "none.tflite"))
    (tmp_path / "x.tflite").write_text("no model")
    sentence(measure(tmp_path / "x.tflite"))
    (tmp_path / "x.npy").write_text("no array")
    assert "numpy.save" in sentence(measure(digits_tflite, "--inputs", tmp_path / "x.npy"))
    assert "numpy.save" in sentence(measure(digits_tflite, "--inputs", tmp_path / "none.npy"))
    np.save(tmp_path / "number.npy", np.array(5))
    assert "holds no samples" in sentence(measure(digits_tflite, "--inputs", tmp_path / "number.npy"))
    for port in ("socket://nohost", "socket://127.0.0.1:99999999"):
        assert "no host and port" in sentence(measure(digits_tflite, "--port", port))


def test_options_that_do_not_go_together(digits_tflite, tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((2, 8, 8, 1), np.int8))
    assert "--labels needs --inputs" in sentence(measure(digits_tflite, "--labels", tmp_path / "X.npy"))
    assert "needs the MODEL" in sentence(measure("--inputs", tmp_path / "X.npy"))
    assert "--by-rows needs the MODEL" in sentence(measure("--by-rows"))
    assert "takes its input as a whole" in sentence(measure(digits_tflite, "--by-rows", "--runtime", "tflm"))


def test_inputs_of_a_wrong_shape(digits_tflite, tmp_path):
    np.save(tmp_path / "X.npy", np.zeros((2, 9, 9, 1), np.int8))
    assert "needs [N, 8, 8, 1]" in measure(digits_tflite, "--inputs", tmp_path / "X.npy").stderr
