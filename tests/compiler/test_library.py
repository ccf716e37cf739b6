"""The library folder: what PlatformIO and Arduino read, and examples that build for the host, C++ and any Cortex-M."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.reference import reference_bytes
from support.run_c import CORTEX_M4
from tfsparse.compiler import CompiledModel
from tfsparse.compiler.library import library_name, write_library

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@pytest.fixture(scope="module")
def library(digits_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompiledModel]:
    folder = tmp_path_factory.mktemp("library")
    return folder, write_library(digits_tflite, folder, name="my digits/8x8")


def test_manifests(library: tuple[Path, CompiledModel]) -> None:
    folder, model = library
    manifest = json.loads((folder / "library.json").read_text())
    properties = dict(line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines())
    assert manifest["name"] == properties["name"] == "my_digits_8x8"
    assert manifest["version"] == properties["version"] and f"{model.arena} bytes of RAM" in properties["sentence"]
    assert all(
        (folder / example["base"] / file).is_file() for example in manifest["examples"] for file in example["files"]
    )
    assert (folder / "src" / properties["includes"]).is_file()


@pytest.mark.parametrize(
    ("name", "expected"), [("a b", "a_b"), ("8x8", "model_8x8"), ("..", "model"), ("x" * 99, "x" * 60)]
)
def test_names(name: str, expected: str) -> None:
    assert library_name(name) == expected


def test_example_on_the_host(library: tuple[Path, CompiledModel], digits_tflite: bytes) -> None:
    """Built by the command that the example itself gives; it prints what TFLite computes."""
    folder, model = library
    command = ["gcc", "-std=c99", *WARNINGS, "-Isrc", "examples/main/main.c", "src/model.c", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    printed = subprocess.run([folder / "main"], capture_output=True, text=True, check=True, timeout=10).stdout
    inputs = (np.arange(model.input_size) % 256 - 128).astype(np.int8)[None]
    assert [int(line) for line in printed.split()] == reference_bytes(digits_tflite, model, inputs)[0].tolist()


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_example_for_cortex_m(library: tuple[Path, CompiledModel], core: str, tmp_path: Path) -> None:
    if reason := CORTEX_M4.missing():
        pytest.skip(reason)
    folder, _ = library
    flags = [f"-mcpu={core}", "-mthumb", "-Os", "--specs=nosys.specs", "-std=c99", *WARNINGS]
    command = ["arm-none-eabi-gcc", *flags, "-Isrc", "examples/main/main.c", "src/model.c", "-o", tmp_path / "main.elf"]
    subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True)


def test_sketch_compiles_as_cpp(library: tuple[Path, CompiledModel], tmp_path: Path) -> None:
    """Arduino compiles sketches as C++ with its own header in front: here the little of it that the sketch uses."""
    if shutil.which("g++") is None:
        pytest.skip("g++ not found (apt-get install g++)")
    folder, _ = library
    source = tmp_path / "sketch.cpp"
    sketch = (folder / "examples/sketch/sketch.ino").read_text()
    source.write_text(
        "#include <model.h>\nstruct Port { void begin(long); template <class T> void print(T); template <class T> void "
        "println(T); };\nextern Port Serial;\nunsigned long micros();\nvoid delay(unsigned long);\n" + sketch
    )
    command = ["g++", "-fsyntax-only", "-Wall", "-Wextra", "-I", folder / "src", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr


def test_command(digits_tflite: bytes, tmp_path: Path) -> None:
    file = tmp_path / "digits.tflite"
    file.write_bytes(digits_tflite)
    command = [sys.executable, "-m", "tfsparse.compiler", file, "--library", tmp_path / "lib"]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "lib" / "library.json").is_file() and (tmp_path / "lib" / "src" / "model.c").is_file()
