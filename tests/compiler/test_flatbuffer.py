"""Hostile bytes: a clear error or a correct compile, never a crash or a hang."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.run_c import run_on_host
from tfsparse.compiler import build_program, compile_model
from tfsparse.compiler.emit import source_text
from tfsparse.compiler.flatbuffer import BrokenFileError, Table, root
from tfsparse.errors import UserError


def hand_made_table() -> bytes:
    """One table: field 0 is the int32 7, field 1 absent, field 2 the vector [1, 2, 3] of int16, field 3 "ab"."""
    vtable = struct.pack("<HHHHHH", 12, 16, 4, 0, 8, 12)
    table_at = 8 + len(vtable)
    table = struct.pack("<iiII", len(vtable), 7, 8, 16)
    vector = struct.pack("<Ihhhxx", 3, 1, 2, 3)
    return struct.pack("<I4s", table_at, b"TFL3") + vtable + table + vector + struct.pack("<I", 2) + b"ab\0"


def test_fields_of_a_hand_made_table() -> None:
    table = root(hand_made_table(), b"TFL3")
    assert table.scalar(0, "i") == 7
    assert table.scalar(1, "i", -1) == -1 and not table.has(1)
    assert table.array(2, "i2").tolist() == [1, 2, 3]
    assert table.text(3) == "ab"
    assert table.scalar(9, "i", 5) == 5 and table.table(9) is None and table.tables(9) == []


@pytest.mark.parametrize("length", range(0, 60))
def test_a_cut_table_is_refused_or_read_right(length: int) -> None:
    whole = hand_made_table()
    try:
        table = root(whole[:length], b"TFL3")
        read = (table.scalar(0, "i"), table.array(2, "i2").tolist(), table.text(3))
    except UserError:
        assert length < len(whole)
    else:
        assert read == (7, [1, 2, 3], "ab")


def test_an_endless_vector_is_refused() -> None:
    data = bytearray(hand_made_table())
    vector_at = data.index(struct.pack("<I", 3), 20)
    data[vector_at : vector_at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(BrokenFileError, match="does not fit"):
        root(bytes(data), b"TFL3").array(2, "i2")


@given(st.binary(max_size=200), st.integers(-10, 250), st.integers(0, 12))
def test_any_bytes_are_no_more_than_an_error(data: bytes, position: int, field: int) -> None:
    table = Table(data, position)
    for read in (table.table, table.text, table.tables, lambda i: table.array(i, "i8"), lambda i: table.scalar(i, "q")):
        try:
            read(field)
        except UserError as error:
            assert "damaged" in str(error)


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\0" * 100, b"PK\x03\x04" + b"x" * 96])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"not a \.tflite model"):
        build_program(data, "x")


def test_every_truncation_is_refused_or_compiles_the_same(digits_tflite: bytes) -> None:
    whole = source_text(build_program(digits_tflite, "x"))
    for length in range(0, len(digits_tflite), max(1, len(digits_tflite) // 150)):
        try:
            text = source_text(build_program(digits_tflite[:length], "x"))
        except UserError:
            continue
        # What was cut off, such as metadata at the end, was not needed.
        assert text == whole


@settings(max_examples=250, deadline=2_000)
@given(st.data())
def test_mutated_models_give_an_error_or_a_plan_that_holds(digits_tflite: bytes, data: st.DataObject) -> None:
    mutated = bytearray(digits_tflite)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        value = data.draw(st.sampled_from([0, 1, 2, 4, 127, 128, 255]) | st.integers(0, 255))
        width = data.draw(st.sampled_from([1, 1, 2, 4]))
        mutated[at : at + width] = bytes([value]) * len(mutated[at : at + width])
    try:
        program = build_program(bytes(mutated), "x")
    except UserError as error:
        assert "\n" not in str(error)
        return
    for layer in program.network.layers:
        for value in (*layer.inputs, layer.output):
            if table := program.flow.tables.get(value):
                places, size = program.plan.tables[table], program.flow.row_size(value)
            else:
                places, size = [program.plan.offsets[value]], program.flow.sizes[value]
            assert 0 <= min(places) <= max(places) <= program.plan.size - size
    source_text(program)


def test_mutated_models_that_compile_run_clean(digits_tflite: bytes, tmp_path) -> None:
    """The C of damaged but acceptable files passes the compiler's warnings and the sanitizers."""
    rng = np.random.default_rng(0)
    same = source_text(build_program(digits_tflite, "model"))
    models = []
    started = time.monotonic()
    while len(models) < 6:
        mutated = bytearray(digits_tflite)
        for at in rng.integers(0, len(mutated), 3):
            mutated[at] = rng.integers(0, 256)
        try:
            model = compile_model(bytes(mutated), tmp_path / f"m{len(models)}")
        except UserError:
            continue
        if (tmp_path / f"m{len(models)}" / "model.c").read_text() != same and model.input_size < 10_000:
            models.append(model)
        assert time.monotonic() - started < 60
    inputs = [rng.integers(-128, 128, (2, model.input_size)).astype(np.int8) for model in models]
    outputs = run_on_host(models, inputs, tmp_path / "build")
    assert [len(output) for output in outputs] == [2] * len(models)
