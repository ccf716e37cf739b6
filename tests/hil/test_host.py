"""The generated C as a program of this machine."""

import numpy as np
import pytest

from hil.host import BATCH, HostModel
from hil.reference import Reference
from tfsparse.compiler import compile_model
from tfsparse.errors import UserError


@pytest.mark.parametrize("by_rows", [False, True])
def test_it_answers_as_the_reference_does(by_rows, digits_tflite, digits_inputs, tmp_path):
    content = digits_tflite.read_bytes()
    compiled = compile_model(content, tmp_path, by_rows=by_rows)
    program, told = HostModel(compiled), []
    expected = Reference(content, compiled)(digits_inputs)
    assert np.array_equal(program(digits_inputs), expected)
    many = np.tile(digits_inputs, (BATCH // 4, 1, 1, 1))
    assert np.array_equal(program(many, told.append), np.tile(expected, (BATCH // 4, 1)))
    assert told == [BATCH, len(many)]
    assert program(digits_inputs[:0]).shape == (0, compiled.output_size)


def test_without_a_compiler_it_says_how_to_get_one(digits_tflite, tmp_path, monkeypatch):
    compiled = compile_model(digits_tflite, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install gcc"):
        HostModel(compiled)


def test_c_that_does_not_compile_is_a_sentence(digits_tflite, tmp_path):
    compiled = compile_model(digits_tflite, tmp_path)
    (tmp_path / "model.c").write_text("#error broken\n")
    with pytest.raises(UserError, match="cannot build the model"):
        HostModel(compiled)
