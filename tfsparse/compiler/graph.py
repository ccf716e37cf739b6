"""TFLite model -> `Network`: finds the borders, drops operators that nothing needs, lowers the rest in order."""

from __future__ import annotations

import numpy as np

from tfsparse.compiler.layers import Border, Network
from tfsparse.compiler.lowering import Lowering
from tfsparse.compiler.operators import HANDLERS
from tfsparse.compiler.reader import Operator, Tensor, TFLiteModel
from tfsparse.compiler.simplify import simplify
from tfsparse.errors import UserError

_MOST_OPERATORS = 1_000  # a bound on the compiler's time, far beyond what fits into a microcontroller
_MOST_BORDERS = 64
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


def _define_input(at: Lowering, tensor: Tensor, live: list[Operator]) -> Border:
    """Define an input; QUANTIZE of a float one is left to the caller, and uint8 is held 128 lower."""
    if tensor.data is not None:
        raise UserError(f"the model's input '{tensor.name}' is a constant; export the model again")
    readers = [operator for operator in live if tensor.index in _data_inputs(operator)]
    if not readers and tensor.index not in at.model.outputs:
        raise UserError(f"the model's outputs do not depend on its input '{tensor.name}'; export the model without it")
    if tensor.dtype != "float32":
        value = at.define_input(tensor)
        if tensor.dtype == "uint8":
            at.notes.append(f"The file's uint8 input '{tensor.name}' is given as int8: q = x - 128.")
        return Border(value, tensor.name, tensor.shape)
    if not readers:
        raise UserError(f"the model's float32 input '{tensor.name}' is an output as it is; export the model without it")
    border = at.model.tensors[readers[0].outputs[0]] if readers[0].outputs else tensor
    for operator in readers:
        at.operator = operator
        output = at.output()
        if operator.kind != "QUANTIZE":
            raise at.refuse(f"it reads the float32 input '{tensor.name}'; convert the model to full int8")
        at.expect_shape(output, tensor.shape)
        quantization = at.activation_quantization(output, uint8=True)
        if output.index != border.index and quantization != at.activation_quantization(border, uint8=True):
            raise at.refuse("the input is quantised in two different ways; convert the model again")
    value = at.define_input(border)
    for operator in readers:
        if operator.outputs[0] != border.index:
            at.operator = operator
            at.share(at.output(), value)
        live.remove(operator)
    at.notes.append(f"The file's float32 input '{tensor.name}' is given as int8: q = round(x / scale) + zero_point.")
    return Border(value, tensor.name, tensor.shape)


def _find_output(at: Lowering, tensor: Tensor) -> Border:
    """The value behind an output; DEQUANTIZE of a float one is left to the caller, and uint8 is held 128 lower."""
    held = at.floats.get(tensor.index, tensor)
    if held.index not in at.alias:
        raise UserError(f"nothing in the model computes its output '{tensor.name}'; export the model again")
    step = {"float32": "(q - zero_point) * scale", "uint8": "q + 128"}.get(tensor.dtype)
    if step:
        at.notes.append(f"The file's {tensor.dtype} output '{tensor.name}' is given as int8: x = {step}.")
    return Border(at.alias[held.index], tensor.name, tensor.shape)


def lower(model: TFLiteModel) -> Network:
    """The network of a model; `UserError` for what is not supported."""
    at = Lowering(model)
    live = _live(model)
    if len(live) > _MOST_OPERATORS:
        raise UserError(f"the model has {len(live)} operators; {_MOST_OPERATORS} are the most, use a smaller model")
    for indices, what in ((model.inputs, "inputs"), (model.outputs, "outputs")):
        if not 1 <= len(indices) <= _MOST_BORDERS or len(set(indices)) < len(indices):
            raise UserError(f"the model has {len(indices)} {what}; it needs 1 to {_MOST_BORDERS} different ones")
    inputs = tuple(_define_input(at, model.tensors[index], live) for index in model.inputs)
    for operator in live:
        at.operator = operator
        if operator.kind not in HANDLERS:
            raise at.refuse("this operator is not supported; rebuild that part of the model from supported ones")
        # Numbers at the edge of what floats can hold are the file's fault, not worth a warning on the way to a refusal.
        with np.errstate(all="ignore"):
            HANDLERS[operator.kind](at)
    outputs = tuple(_find_output(at, model.tensors[index]) for index in model.outputs)
    network = simplify(Network(at.values, tuple(at.layers), inputs, outputs, tuple(at.notes)))
    if not network.layers:
        raise UserError("the model computes nothing: its output is its input")
    return network
