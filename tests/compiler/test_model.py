"""What the compiler gives to others: figures, names, sizes, files of older tools, errors, determinism, the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.run_c import missing_cortex_m4
from support.tflite_models import random_tflite, single_layer_tflite, with_operator
from tfsparse.compiler import CompiledModel, build_program, compile_model
from tfsparse.compiler.emit import source_text
from tfsparse.compiler.flatbuffer import root
from tfsparse.errors import UserError


@pytest.fixture(scope="module")
def digits(digits_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> CompiledModel:
    return compile_model(digits_tflite, tmp_path_factory.mktemp("digits"), name="digits")


@pytest.fixture(scope="module")
def digits_elf(digits: CompiledModel) -> Path:
    """model.c linked alone for a Cortex-M4 at -Os, without what it does not use."""
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    main = digits.directory / "main.c"
    main.write_text(
        '#include "model.h"\nint main(void) { return model_invoke(model_input(), 0) + model_output()[0]; }\n'
    )
    flags = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os", "-ffunction-sections"]
    link = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,main", "--specs=nano.specs"]
    elf = digits.directory / "digits.elf"
    sources = [str(main), *(str(digits.directory / source) for source in digits.sources)]
    subprocess.run(["arm-none-eabi-gcc", *flags, *link, *sources, "-o", str(elf)], check=True, timeout=60)
    return elf


def symbols(elf: Path) -> dict[str, int]:
    """Size in bytes of each symbol that has one."""
    text = subprocess.run(["arm-none-eabi-nm", "-S", elf], capture_output=True, text=True, check=True).stdout
    return {row[3]: int(row[1], 16) for row in map(str.split, text.splitlines()) if len(row) == 4}


def test_payload_is_what_the_elf_holds(digits: CompiledModel, digits_elf: Path) -> None:
    tables = "streams|prefix_codes|[a-z_0-9]+_(weights|codebook|constant)"
    held = sum(size for name, size in symbols(digits_elf).items() if re.fullmatch(tables, name))
    assert held == digits.payload == sum(layer.payload for layer in digits.layers)


def test_arena_is_what_the_elf_holds(digits: CompiledModel, digits_elf: Path) -> None:
    assert symbols(digits_elf)["arena"] == digits.arena


def test_code_and_descriptors_stay_small(digits: CompiledModel, digits_elf: Path) -> None:
    """The contract is 6 kB; what is linked now is far below, and a step up should be seen."""
    text = subprocess.run(["arm-none-eabi-size", "-A", digits_elf], capture_output=True, text=True, check=True).stdout
    sizes = {row[0]: int(row[1]) for row in map(str.split, text.splitlines()) if len(row) == 3 and row[1].isdigit()}
    flash = sum(sizes.get(name, 0) for name in (".text", ".rodata", ".data"))
    assert flash - digits.payload < 2_500


def test_counted_figures(digits: CompiledModel, digits_tflite: bytes) -> None:
    layers = {layer.name: layer for layer in build_program(digits_tflite, "x").network.layers}
    kernels = [layers[name].weights for name in ("conv1", "depthwise1", "conv2", "conv3", "dense1")]
    assert digits.nnz == digits.model_size_counted == sum(np.count_nonzero(kernel) for kernel in kernels)
    # The addition reads two maps of 8x8x12 and writes a third; the strided convolution reads one and its weights.
    assert digits.working_memory_2 == 3 * 8 * 8 * 12
    assert digits.working_memory_1 == max(2 * 8 * 8 * 12, 8 * 8 * 12 + np.count_nonzero(kernels[3]))
    assert digits.macs == 64 * 9 * 12 + 64 * 9 * 12 + 64 * 12 * 12 + 16 * 9 * 12 * 16 + 64 * 10
    assert (digits.input_size, digits.output_size) == (64, 10)


def test_buffers_share_the_arena(digits: CompiledModel) -> None:
    """The sum is written in place and rows over what was read: less than the layer-wise bound."""
    assert digits.arena < digits.working_memory_2


def test_same_input_same_output(digits_tflite: bytes, tmp_path: Path) -> None:
    first, second = compile_model(digits_tflite, tmp_path / "a"), compile_model(digits_tflite, tmp_path / "b")
    files = sorted(path.name for path in first.directory.iterdir())
    assert files == sorted(path.name for path in second.directory.iterdir())
    for file in files:
        assert (first.directory / file).read_bytes() == (second.directory / file).read_bytes()


def test_only_needed_kernels_are_written(tmp_path: Path) -> None:
    model = compile_model(single_layer_tflite("dense"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.c", "model.h", "tfs_dense.h", "tfs_fixed.h", "tfs_weights.h",
    ]  # fmt: skip
    assert model.sources == ("model.c",)


def test_header_compiles_as_cpp(digits: CompiledModel, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ not found (apt-get install g++)")
    source = tmp_path / "a.cpp"
    source.write_text(
        '#include "model.h"\nfloat s = MODEL_INPUT_SCALE; int n = MODEL_ARENA_SIZE + MODEL_OUTPUT_ZERO_POINT;\n'
    )
    subprocess.run(
        ["g++", "-Wall", "-Werror", "-I", digits.directory, "-c", source, "-o", tmp_path / "a.o"], check=True
    )


def as_old_tools_write(tflite: bytes) -> bytes:
    """Operator codes in the old 8-bit field only, as before schema 3a, and an open batch in the input's shape."""
    data = bytearray(tflite)
    model = root(tflite, b"TFL3")
    for code in model.tables(1):
        vtable = code.position - int.from_bytes(data[code.position : code.position + 4], "little", signed=True)
        if code.has(3):
            data[vtable + 10 : vtable + 12] = b"\0\0"
    graph = model.tables(2)[0]
    shape_at, _ = graph.tables(0)[int(graph.array(1, "i4")[0])].vector(0, 4)
    data[shape_at : shape_at + 4] = (-1).to_bytes(4, "little", signed=True)
    return bytes(data)


def test_files_of_older_tools(digits_tflite: bytes) -> None:
    old = as_old_tools_write(digits_tflite)
    assert old != digits_tflite
    assert source_text(build_program(old, "x")) == source_text(build_program(digits_tflite, "x"))


@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_borders_of_other_types_are_stripped_and_said_so(io: str, tmp_path: Path) -> None:
    seed = 1
    plain, other = (compile_model(random_tflite(seed, io=kind), tmp_path / kind) for kind in ("int8", io))
    assert (other.input_shape, other.output_size, other.payload) == (
        plain.input_shape,
        plain.output_size,
        plain.payload,
    )
    head = (tmp_path / io / "model.h").read_text()
    assert f"The file's {io} input" in head and f"The file's {io} output" in head


def test_unsupported_operator_is_named_with_its_place(digits_tflite: bytes) -> None:
    lstm = with_operator(digits_tflite, 17, 16)
    with pytest.raises(UserError, match=r"operator LSTM \(number 5, output '.+'\): this operator is not supported"):
        build_program(lstm, "x")


@pytest.mark.parametrize("code", [43, 70], ids=["SQUEEZE", "EXPAND_DIMS"])
def test_all_that_only_changes_shapes_costs_nothing(digits_tflite: bytes, code: int) -> None:
    """The digits network flattens by RESHAPE (22); by another name for the same it is the same program."""
    other = with_operator(digits_tflite, 22, code)
    assert other != digits_tflite
    assert source_text(build_program(other, "x")) == source_text(build_program(digits_tflite, "x"))


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfsparse.compiler", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_command_prints_a_table_and_json(digits_tflite: bytes, digits: CompiledModel, tmp_path: Path) -> None:
    file = tmp_path / "digits.tflite"
    file.write_bytes(digits_tflite)
    table = run_command(file, "-o", tmp_path / "out")
    assert table.returncode == 0, table.stderr
    for word in ("conv1", "depthwise1", "bitmap", "gaps", str(digits.payload), str(digits.nnz), "working memory 2"):
        assert word in table.stdout
    record = json.loads(run_command(file, "-o", tmp_path / "out", "--json").stdout)
    assert record["payload"] == digits.payload and record["layers"][0]["name"] == "conv1"
    assert (tmp_path / "out" / "model.c").read_bytes() == (digits.directory / "model.c").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the model"),
        (b"not a model at all", "not a .tflite model"),
        (b"\x1c\0\0\0TFL3" + b"\xff" * 40, "damaged"),
    ],
    ids=["missing", "other", "damaged"],
)
def test_command_ends_with_one_sentence_and_2(content: bytes | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "x.tflite"
    if content is not None:
        file.write_bytes(content)
    done = run_command(file, "-o", tmp_path / "out")
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_compiler_imports_no_tensorflow() -> None:
    code = (
        "import sys, tfsparse.compiler; print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
