"""What the choice of formats goes by: code sizes, which are measured here again, and what each `optimize` asks for."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from support.run_c import CORTEX_M4, missing_cortex_m4
from support.weighted import network
from tfsparse.compiler import CompiledModel, build_program, compile_model
from tfsparse.compiler.choose import choose
from tfsparse.compiler.encode import FORMATS, choices
from tfsparse.compiler.kernels import CODE, code_size
from tfsparse.compiler.layers import FullyConnected, Weighted
from tfsparse.errors import UserError


def text_size(model: CompiledModel) -> int:
    return text_size_of(model.directory / model.sources[0])


def text_size_of(source: Path) -> int:
    """Bytes of machine code of a C file at -Os."""
    done = source.with_suffix(".o")
    subprocess.run([*CORTEX_M4.command, "-std=c99", "-c", source, "-o", done], check=True, timeout=60)
    sections = subprocess.run(["arm-none-eabi-size", "-A", done], capture_output=True, text=True, check=True).stdout
    return sum(int(row.split()[1]) for row in sections.splitlines() if row.startswith(".text"))


def test_code_is_as_large_as_the_choice_thinks(tmp_path: Path) -> None:
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    tflite, sizes = network("sparse"), {}
    cases = [*((name, "size") for name in FORMATS), *itertools.product(FORMATS, ("balanced", "speed"))]
    for name, optimize in cases:
        program = build_program(tflite, "x", optimize, formats=[name])
        layers = [layer for layer in program.network.layers if isinstance(layer, Weighted)]
        found = [choices(layer, [name]) for layer in layers]
        kernels = [program.kernels[layer.name] for layer in layers]
        expected = code_size(layers, [name] * len(layers), kernels, found, program.small)
        measured = text_size(compile_model(tflite, tmp_path / f"{name}-{optimize}", optimize=optimize, formats=[name]))
        sizes[name, optimize] = (measured, expected)
    assert all(abs(measured - expected) < 0.08 * measured for measured, expected in sizes.values()), sizes


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


_FOLDED = """#include <stdint.h>
static __attribute__((noinline)) int8_t finish(int32_t sum, int32_t multiplier, int shift)
{
    const int64_t half = (int64_t)1 << (30 + shift);
    const int32_t value = (int32_t)(((int64_t)sum * multiplier + half) >> (31 + shift)) - 3;
    return value < -128 ? -128 : value > 127 ? 127 : value;
}
void dense(const int8_t *in, int8_t *out)
{
%s
}
"""


@pytest.mark.parametrize(("outputs", "weights", "pays"), [(1, 5, True), (2, 10, False), (10, 3, False)])
def test_constants_in_code_pay_for_single_outputs_only(outputs: int, weights: int, pays: bool, tmp_path: Path) -> None:
    """Folded into code a weight takes some 11 bytes and an output 40, which tables and kernel undercut by far but for
    the only dense layer of a model, if it has one output of few weights: not worth a way of its own."""
    if reason := missing_cortex_m4():
        pytest.skip(reason)
    rng = np.random.default_rng(0)
    values = np.zeros((outputs, 64), np.int8)
    lines = []
    for o in range(outputs):
        places = np.sort(rng.permutation(64)[:weights])
        values[o, places] = rng.integers(1, 128, weights) * rng.choice([-1, 1], weights)
        terms = "".join(f" + in[{i}] * {values[o, i]}" for i in places)
        constants = f"{rng.integers(1 << 30, 1 << 31)}, {rng.integers(5, 10)}"
        lines.append(f"    out[{o}] = finish({rng.integers(-9999, 9999)}{terms}, {constants});")
    source = tmp_path / "folded.c"
    source.write_text(_FOLDED % "\n".join(lines))
    folded = text_size_of(source)
    layer = dense_layer(values)
    found = choices(layer, FORMATS)
    name = choose([layer], [found], "size")[0][0]
    descriptor, constants = 32, 6 * outputs
    tables = found.sizes[name] + constants + descriptor + CODE["tfs_dense"]
    assert (folded < tables) == pays
