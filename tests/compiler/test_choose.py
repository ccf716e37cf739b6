"""What the choice of formats goes by: code sizes, which are measured here again, and what each `optimize` asks for."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from support.run_c import CORTEX_M4, missing_cortex_m4
from support.weighted import network
from tfsparse.compiler import CompiledModel, build_program, compile_model
from tfsparse.compiler.choose import choose, code_size
from tfsparse.compiler.encode import FORMATS, choices
from tfsparse.compiler.layers import FullyConnected, Weighted
from tfsparse.errors import UserError


def text_size(model: CompiledModel) -> int:
    """Bytes of machine code of model.c at -Os."""
    done = model.directory / "model.o"
    source = model.directory / model.sources[0]
    subprocess.run([*CORTEX_M4.command, "-std=c99", "-c", source, "-o", done], check=True, timeout=60)
    sections = subprocess.run(["arm-none-eabi-size", "-A", done], capture_output=True, text=True, check=True).stdout
    return sum(int(row.split()[1]) for row in sections.splitlines() if row.startswith(".text"))


def test_code_is_as_large_as_the_choice_thinks(tmp_path: Path) -> None:
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    tflite, gaps = network("sparse"), []
    cases = [*((name, "size") for name in FORMATS), ("gaps", "speed")]
    for name, optimize in cases:
        program = build_program(tflite, "x", optimize, formats=[name])
        layers = [layer for layer in program.network.layers if isinstance(layer, Weighted)]
        found = [choices(layer, [name]) for layer in layers]
        assert program.lists == (optimize == "speed")
        expected = code_size(layers, [name] * len(layers), found, program.lists)
        measured = text_size(compile_model(tflite, tmp_path / f"{name}-{optimize}", optimize=optimize, formats=[name]))
        gaps.append(measured - expected)
    # What is the same in all cases, such as model_invoke, does not matter to the choice.
    assert max(gaps) - min(gaps) < 120, dict(zip(cases, gaps, strict=True))


@pytest.mark.parametrize("kind", ["sparse", "random", "few values"])
def test_size_takes_least_flash(kind: str, tmp_path: Path) -> None:
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    tflite = network(kind, size=16)

    def flash(optimize: str, formats: Sequence[str] = FORMATS) -> int:
        model = compile_model(tflite, tmp_path / f"{optimize}{len(formats)}", optimize=optimize, formats=formats)
        return model.payload + text_size(model)

    least = flash("size")
    assert least <= flash("balanced") and least < flash("speed")
    # Estimates of code sizes are good to some bytes.
    assert least <= min(flash("size", [name]) for name in FORMATS) + 24


def dense_layer(weights: np.ndarray) -> FullyConnected:
    layer = next(x for x in build_program(network("random"), "x").network.layers if isinstance(x, FullyConnected))
    outputs = len(weights)
    return FullyConnected(**{**vars(layer), "weights": weights, "bias": np.zeros(outputs, np.int32)})


def test_a_format_must_save_more_than_its_code_takes() -> None:
    """16 values among 50 weights do not pay for a reader of codebooks, among 6,000 they do."""
    rng = np.random.default_rng(0)
    values = rng.permutation(np.arange(-127, 128))[:16]
    for inputs, wanted in ((5, "packed"), (600, "clusters")):
        layer = dense_layer(rng.choice(values, (10, inputs)).astype(np.int8))
        found = choices(layer, FORMATS)
        assert choose([layer], [found], "size")[0] == [wanted]
        if wanted == "packed":
            assert found.sizes["clusters"] < found.sizes["packed"]


def test_layers_keep_to_one_format_where_another_saves_too_little() -> None:
    rng = np.random.default_rng(1)
    large = dense_layer((rng.integers(-127, 128, (50, 400)) * (rng.random((50, 400)) < 0.1)).astype(np.int8))
    small = dense_layer(rng.choice(np.array([-100, 100], np.int8), (2, 8)))
    found = [choices(layer, FORMATS) for layer in (large, small)]
    assert min(found[1].sizes, key=found[1].sizes.get) == "clusters"
    assert "clusters" not in choose([large, small], found, "size")[0]


def test_no_other_formats_than_those_asked_for() -> None:
    for name in FORMATS:
        program = build_program(network("few bits"), "x", formats=[name])
        assert {encoded.format for encoded in program.encoded.values()} == {name}
    with pytest.raises(UserError, match="no weights without a format"):
        build_program(network("few bits"), "x", formats=["zip"])
