"""Every operator byte for byte over random shapes, scales and zero points: gcc, clang (sanitizers on), three cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.cases import Cases
from support.operator_cases import CASES
from support.run_c import CORTEX_M0, CORTEX_M3, GCC, TARGETS, Core, Host
from support.tflite_writer import Writer
from tfsparse.compiler import CompiledModel, build_program, compile_model
from tfsparse.compiler.operators import HANDLERS
from tfsparse.errors import UserError

SEEDS = range(6)
SAMPLES = 4
# Every case on the host; every fourth on the slow builds, which differ in the code generator alone.
STRIDES = {GCC: 1, CORTEX_M3: 4, CORTEX_M0: 4}


def add(cases: Cases, name: str, tflite: bytes, model: CompiledModel) -> None:
    """With random inputs, and what operators get wrong most easily."""
    rng = np.random.default_rng(len(cases.names))
    inputs = rng.integers(-128, 128, (SAMPLES, model.input_size)).astype(np.int8)
    inputs[0] = rng.choice([-128, 127], model.input_size)  # the corners of the range
    if model.input_size == 256:
        inputs[1] = np.arange(-128, 128)  # functions of one number: all of them
    cases.add(name, tflite, model, inputs)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    found, refused = Cases(), []
    for kind, case in CASES.items():
        for seed in SEEDS:
            tflite = case(np.random.default_rng([seed, *kind.encode()]))
            try:
                model = compile_model(tflite, tmp_path_factory.mktemp("case"))
            except UserError as error:
                # Numbers may come out such that an operator only renames its input; all else must compile.
                assert "computes nothing" in str(error), f"{kind} {seed}: {error}"
                refused.append(kind)
                continue
            add(found, f"{kind}, seed {seed}", tflite, model)
    assert len(refused) < 12 and {name.split(",")[0] for name in found.names} == set(CASES)
    return found


def test_every_operator_has_cases() -> None:
    assert set(CASES) == set(HANDLERS)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_operators(cases: Cases, target: Host | Core, tmp_path: Path) -> None:
    cases.check(target, tmp_path, range(0, len(cases.models), STRIDES.get(target, 2)))


def several_borders() -> bytes:
    """Two inputs, of which one is uint8 and read twice, and three outputs: a map, a float vector, and an index."""
    model = Writer()
    left, right = model.input((1, 3, 4, 2), 0.1, -3), model.input((1, 1, 1, 2), 0.2, 120, dtype="uint8")
    scaled = model.tensor((1, 1, 1, 2), 0.05, 7)
    product, mean = model.tensor((1, 3, 4, 2), 0.02, 1), model.tensor((1, 2), 0.02, 2)
    real, index = model.tensor((1, 2), dtype="float32"), model.tensor((1,), dtype="int32")
    model.operator("QUANTIZE", [right], [scaled])
    model.operator("MUL", [left, scaled], [product])
    model.operator("MEAN", [product, model.integers([1, 2])], [mean])
    model.operator("DEQUANTIZE", [mean], [real])
    model.operator("ARG_MAX", [mean, model.integers(1)], [index], outputType=2)
    return model.bytes([product, real, index])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_several_inputs_and_outputs(target: Host | Core, tmp_path: Path) -> None:
    tflite = several_borders()
    model = compile_model(tflite, tmp_path)
    assert [port.dtype for port in model.outputs] == ["int8", "int8", "int32"]
    assert (model.input_size, model.output_size) == (24 + 2, 24 + 2 + 4)
    head = (tmp_path / "model.h").read_text()
    for text in ("int8_t *model_input_1(void);", "#define MODEL_INPUT_1_ZERO_POINT (-8)", "q = x - 128"):
        assert text in head
    for text in ("const int8_t *model_output_2(void);", "#define MODEL_OUTPUT_2_SIZE 4", "int32 [1]"):
        assert text in head
    several = Cases()
    add(several, "several", tflite, model)
    several.check(target, tmp_path / "build")


def test_unread_parts_of_a_split_cost_nothing() -> None:
    model = Writer()
    x = model.input((1, 6), 0.1)
    parts = [model.tensor((1, 2), 0.1) for _ in range(3)]
    model.operator("SPLIT", [model.integers(1), x], parts, numSplits=3)
    assert len(build_program(model.bytes([parts[1]]), "x").network.layers) == 1


def refused(kind: str, shape: tuple[int, ...], *arguments: object, scale: float = 0.1, **options: object) -> bytes:
    """One operator from int8 `shape` to itself, with a scale of its own at the output."""
    model = Writer()
    x, y = model.input(shape, 0.1), model.tensor(shape, scale)
    model.operator(kind, [x, *(model.integers(argument) for argument in arguments)], [y], **options)
    return model.bytes([y])


@pytest.mark.parametrize(
    ("tflite", "words"),
    [
        (refused("TRANSPOSE", (2, 2), [0, 2]), "permutation"),
        (refused("TRANSPOSE", (2, 3), [1, 0]), "output should have shape"),
        (refused("PAD", (2, 2), [[0, 0], [0, 0]], scale=0.2), "different scales"),
        (refused("GATHER", (4,), [0, 1, 2, 4], axis=0), "indices leave 0..3"),
        (refused("STRIDED_SLICE", (4,), [0], [4], [0]), "stride 0"),
        (refused("MEAN", (2, 3), [2]), "axes"),
        (refused("LOGISTIC", (4,)), "must have scale 0.00390625"),
        (refused("SOFTMAX", (4,), beta=1.0), "as TFLite demands"),
        (refused("CONCATENATION", (4,), axis=0, scale=0.3), "another scale than its output, which TFLite refuses"),
        (refused("FLOOR", (4,)), "this operator is not supported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_with_operator_place_and_reason(tflite: bytes, words: str) -> None:
    with pytest.raises(UserError, match=rf"^cannot compile operator \w+ \(number 0, output .t1.\).*{words}"):
        build_program(tflite, "x")
