"""TFLite model -> `Network`: finds the int8 borders, drops operators that nothing needs, lowers the rest in order."""

from __future__ import annotations

import numpy as np

from tfsparse.compiler.layers import Network
from tfsparse.compiler.lowering import Lowering
from tfsparse.compiler.operators import HANDLERS
from tfsparse.compiler.reader import Operator, Tensor, TFLiteModel
from tfsparse.compiler.simplify import simplify
from tfsparse.errors import UserError

_MOST_OPERATORS = 1_000  # a bound on the compiler's time, far beyond what fits into a microcontroller
_SHAPE_ARGUMENT = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def _data_inputs(operator: Operator) -> tuple[int, ...]:
    """The tensors whose bytes an operator reads. How RESHAPE's new shape is computed does not matter: it is known."""
    inputs = operator.inputs[:1] if operator.kind in _SHAPE_ARGUMENT else operator.inputs
    return tuple(i for i in inputs if i >= 0)


def _live(model: TFLiteModel) -> list[Operator]:
    """Operators that the output depends on, in the order of the file."""
    needed = set(model.outputs)
    live = []
    for operator in reversed(model.operators):
        if needed.intersection(operator.outputs):
            needed.update(_data_inputs(operator))
            live.append(operator)
    return live[::-1]


def _one(indices: tuple[int, ...], model: TFLiteModel, what: str) -> Tensor:
    if len(indices) != 1:
        raise UserError(f"the model has {len(indices)} {what}s; only one is supported, split the model")
    return model.tensors[indices[0]]


def _is_uint8_border(wide: Tensor, narrow: Tensor) -> bool:
    """Whether a uint8 tensor holds the same numbers as an int8 one, 128 higher."""
    a, b = wide.quantization, narrow.quantization
    if wide.dtype != "uint8" or a is None or b is None or len(a.scale) != 1 or len(b.scale) != 1:
        return False
    return a.scale[0] == b.scale[0] and a.zero_point[0] == b.zero_point[0] + 128


def _strip_input(at: Lowering, live: list[Operator]) -> tuple[int, list[Operator]]:
    """Define the int8 input; QUANTIZE from float32 or uint8 in front of it is left to the caller."""
    tensor = _one(at.model.inputs, at.model, "input")
    if tensor.dtype == "int8":
        return at.define_input(tensor), live
    readers = [operator for operator in live if tensor.index in _data_inputs(operator)]
    if not readers:
        raise UserError(f"the model's output does not depend on its input '{tensor.name}'")
    border = at.model.tensors[readers[0].outputs[0]] if readers[0].outputs else tensor
    for operator in readers:
        at.operator = operator
        output = at.output()
        if operator.kind != "QUANTIZE" or not (tensor.dtype == "float32" or _is_uint8_border(tensor, output)):
            raise at.refuse(f"it reads the {tensor.dtype} input '{tensor.name}'; convert the model to full int8")
        if output.index != border.index and at.activation_quantization(output) != at.activation_quantization(border):
            raise at.refuse("the input is quantised in two different ways; convert the model again")
    value = at.define_input(border)
    for operator in readers:
        if operator.outputs[0] != border.index:
            at.operator = operator
            at.share(at.output(), value)
    step = "round(x / scale) + zero_point" if tensor.dtype == "float32" else "x - 128"
    at.notes.append(f"The file's {tensor.dtype} input '{tensor.name}' is given as int8: q = {step}.")
    return value, [operator for operator in live if operator not in readers]


def _strip_output(at: Lowering, live: list[Operator]) -> tuple[Tensor, list[Operator]]:
    """The int8 tensor that is the network's result; DEQUANTIZE to float32 or QUANTIZE to uint8 after it is left out."""
    tensor = _one(at.model.outputs, at.model, "output")
    if tensor.dtype == "int8":
        return tensor, live
    maker = next((operator for operator in live if tensor.index in operator.outputs), None)
    if maker is None:
        raise UserError(f"nothing in the model computes its output '{tensor.name}'; export the model again")
    at.operator = maker
    border = at.tensor(0)
    plain = maker.kind == "DEQUANTIZE" and tensor.dtype == "float32"
    if not (plain or (maker.kind == "QUANTIZE" and _is_uint8_border(tensor, border))):
        raise at.refuse(f"it makes the {tensor.dtype} output of the model; convert the model to full int8")
    step = "(q - zero_point) * scale" if plain else "q + 128"
    at.notes.append(f"The file's {tensor.dtype} output '{tensor.name}' is given as int8: x = {step}.")
    return border, [operator for operator in live if operator is not maker]


def lower(model: TFLiteModel) -> Network:
    """The network of a model; `UserError` for what is not supported."""
    at = Lowering(model)
    live = _live(model)
    if len(live) > _MOST_OPERATORS:
        raise UserError(f"the model has {len(live)} operators; {_MOST_OPERATORS} are the most, use a smaller model")
    result, live = _strip_output(at, live)
    start, live = _strip_input(at, live)
    for operator in live:
        at.operator = operator
        if operator.kind not in HANDLERS:
            raise at.refuse("this operator is not supported; rebuild that part of the model from supported ones")
        # Numbers at the edge of what floats can hold are the file's fault, not worth a warning on the way to a refusal.
        with np.errstate(all="ignore"):
            HANDLERS[operator.kind](at)
    if result.index not in at.alias:
        raise UserError(f"nothing in the model computes its output '{result.name}'; export the model again")
    if at.alias[result.index] == start:
        raise UserError("the model computes nothing: its output is its input")
    return simplify(
        Network(
            values=at.values,
            layers=tuple(at.layers),
            input=start,
            output=at.alias[result.index],
            input_shape=at.model.tensors[start].shape,
            output_shape=result.shape,
            notes=tuple(at.notes),
        )
    )
