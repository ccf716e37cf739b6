"""`.tflite` bytes -> dataclasses that mirror TensorFlow Lite's schema (version 3), and nothing more.

Field numbers are those of the published schema (schema.fbs, version 3); meaning and checks of the operators live in
`graph.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfsparse.compiler.flatbuffer import BrokenFileError, Table, root
from tfsparse.errors import UserError

_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    9: "int8",
}
_DTYPES |= {10: "float64", 17: "int4"}

# Builtin operator codes of the schema; those that the compiler knows, and common others so that errors can name them.
_OPERATORS = [
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE",
    "DEQUANTIZE",
    "EMBEDDING_LOOKUP",
    "FLOOR",
    "FULLY_CONNECTED",
    "HASHTABLE_LOOKUP",
    "L2_NORMALIZATION",
    "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION",
    "LOGISTIC",
    "LSH_PROJECTION",
    "LSTM",
    "MAX_POOL_2D",
    "MUL",
    "RELU",
    "RELU_N1_TO_1",
    "RELU6",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RNN",
    "SOFTMAX",
    "SPACE_TO_DEPTH",
    "SVDF",
    "TANH",
    "CONCAT_EMBEDDINGS",
    "SKIP_GRAM",
    "CALL",
    "CUSTOM",
    "EMBEDDING_LOOKUP_SPARSE",
    "PAD",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "GATHER",
    "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND",
    "TRANSPOSE",
    "MEAN",
    "SUB",
    "DIV",
    "SQUEEZE",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "STRIDED_SLICE",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "EXP",
    "TOPK_V2",
    "SPLIT",
    "LOG_SOFTMAX",
    "DELEGATE",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "CAST",
    "PRELU",
    "MAXIMUM",
    "ARG_MAX",
    "MINIMUM",
    "LESS",
    "NEG",
    "PADV2",
    "GREATER",
    "GREATER_EQUAL",
    "LESS_EQUAL",
    "SELECT",
    "SLICE",
    "SIN",
    "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE",
    "TILE",
    "EXPAND_DIMS",
    "EQUAL",
    "NOT_EQUAL",
    "LOG",
    "SUM",
    "SQRT",
    "RSQRT",
    "SHAPE",
    "POW",
    "ARG_MIN",
    "FAKE_QUANT",
    "REDUCE_PROD",
    "REDUCE_MAX",
    "PACK",
    "LOGICAL_OR",
    "ONE_HOT",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "UNPACK",
    "REDUCE_MIN",
    "FLOOR_DIV",
    "REDUCE_ANY",
    "SQUARE",
    "ZEROS_LIKE",
    "FILL",
    "FLOOR_MOD",
    "RANGE",
    "RESIZE_NEAREST_NEIGHBOR",
    "LEAKY_RELU",
    "SQUARED_DIFFERENCE",
    "MIRROR_PAD",
    "ABS",
    "SPLIT_V",
    "UNIQUE",
    "CEIL",
    "REVERSE_V2",
    "ADD_N",
    "GATHER_ND",
    "COS",
    "WHERE",
    "RANK",
    "ELU",
    "REVERSE_SEQUENCE",
    "MATRIX_DIAG",
    "QUANTIZE",
    "MATRIX_SET_DIAG",
    "ROUND",
    "HARD_SWISH",
    "IF",
    "WHILE",
]
# Members of the schema's union of options; an operator with another's would be read as something it is not.
_OPTION_TYPES = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 2,
    "AVERAGE_POOL_2D": 5,
    "MAX_POOL_2D": 5,
    "FULLY_CONNECTED": 8,
    "SOFTMAX": 9,
    "CONCATENATION": 10,
    "ADD": 11,
    "MUL": 21,
    "GATHER": 23,
    "MEAN": 27,
    "SUM": 27,
    "SUB": 28,
    "STRIDED_SLICE": 32,
    "LEAKY_RELU": 75,
}
_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_PADDINGS = ("SAME", "VALID")
# A table without any field: every option takes its default.
_NO_FIELDS = Table(b"\x04\x00\x04\x00\x04\x00\x00\x00", 4)
_MOST_DIMENSIONS = 8
_MOST_ELEMENTS = 1 << 28


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation: real = scale * (q - zero_point), per tensor (one entry) or along `dimension`."""

    scale: np.ndarray  # float32 [n]
    zero_point: np.ndarray  # int64 [n]
    dimension: int


@dataclass(frozen=True)
class Tensor:
    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    data: np.ndarray | None  # constants only, of `shape`
    sparse: bool  # stored in TFLite's own sparse encoding


@dataclass(frozen=True)
class Options:
    """The options of all operators that the compiler knows, with the schema's defaults."""

    padding: str = "SAME"
    stride: tuple[int, int] = (1, 1)  # height, width
    dilation: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    activation: str = "NONE"
    axis: int = 0
    beta: float = 1.0
    keep_dims: bool = False
    weights_format: int = 0
    alpha: float = 0.0
    batch_dims: int = 0
    masks: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)  # of STRIDED_SLICE: begin, end, ellipsis, new axis, shrink
    from_begin: bool = False  # STRIDED_SLICE counts its end from its begin


@dataclass(frozen=True)
class Operator:
    index: int
    kind: str
    inputs: tuple[int, ...]  # tensor indices; -1: an optional input left out
    outputs: tuple[int, ...]
    options: Options


@dataclass(frozen=True)
class TFLiteModel:
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _choice(names: tuple[str, ...], code: int, what: str) -> str:
    if not 0 <= code < len(names):
        raise BrokenFileError(f"{what} {code} does not exist")
    return names[code]


def _pair(table: Table, height: int, width: int, default: int) -> tuple[int, int]:
    return table.scalar(height, "i", default), table.scalar(width, "i", default)


def _options(kind: str, member: int, table: Table | None) -> Options:
    """Options of an operator, from the union's `member`; a missing table means the defaults."""
    if table is not None and member != _OPTION_TYPES.get(kind, member):
        raise BrokenFileError(f"a {kind} carries the options of another operator")
    table = table or _NO_FIELDS
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        fused = 3 if kind == "CONV_2D" else 4
        return Options(
            padding=_choice(_PADDINGS, table.scalar(0, "b"), "padding"),
            stride=_pair(table, 2, 1, 0),
            activation=_choice(_ACTIVATIONS, table.scalar(fused, "b"), "activation"),
            dilation=_pair(table, fused + 2, fused + 1, 1),
        )
    if kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return Options(
            padding=_choice(_PADDINGS, table.scalar(0, "b"), "padding"),
            stride=_pair(table, 2, 1, 0),
            window=_pair(table, 4, 3, 0),
            activation=_choice(_ACTIVATIONS, table.scalar(5, "b"), "activation"),
        )
    if kind == "FULLY_CONNECTED":
        activation = _choice(_ACTIVATIONS, table.scalar(0, "b"), "activation")
        return Options(activation=activation, weights_format=table.scalar(1, "b"))
    if kind in ("ADD", "SUB", "MUL"):
        return Options(activation=_choice(_ACTIVATIONS, table.scalar(0, "b"), "activation"))
    if kind == "CONCATENATION":
        activation = _choice(_ACTIVATIONS, table.scalar(1, "b"), "activation")
        return Options(axis=table.scalar(0, "i"), activation=activation)
    if kind == "SOFTMAX":
        return Options(beta=table.scalar(0, "f", 0.0))
    if kind in ("MEAN", "SUM"):
        return Options(keep_dims=bool(table.scalar(0, "B")))
    if kind == "LEAKY_RELU":
        return Options(alpha=table.scalar(0, "f", 0.0))
    if kind == "GATHER":
        return Options(axis=table.scalar(0, "i"), batch_dims=table.scalar(1, "i"))
    if kind == "STRIDED_SLICE":
        return Options(masks=tuple(table.scalar(i, "i") for i in range(5)), from_begin=bool(table.scalar(5, "B")))
    return Options()


def _quantization(table: Table | None) -> Quantization | None:
    if table is None:
        return None
    scale, zero_point = table.array(2, "f4"), table.array(3, "i8")
    if not len(scale):
        return None
    if len(zero_point) == 0:
        zero_point = np.zeros(len(scale), np.int64)
    if len(zero_point) == 1:
        zero_point = np.repeat(zero_point, len(scale))
    if len(zero_point) != len(scale) or not np.all(np.isfinite(scale)) or np.any(scale < 0):
        raise BrokenFileError("a tensor's scales and zero points do not fit together")
    return Quantization(scale, zero_point, table.scalar(6, "i"))


def _constant(buffers: list[Table], index: int, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """The constant data of a tensor, or None for an empty buffer (an activation)."""
    if not 0 <= index < len(buffers):
        raise BrokenFileError(f"a tensor names buffer {index}, which does not exist")
    table = buffers[index]
    raw = table.array(0, "u1")
    if not len(raw):
        # Files of more than 2 GB keep data behind the FlatBuffer, and so may small ones.
        start, size = table.scalar(1, "Q"), table.scalar(2, "Q")
        if start <= 1 or size == 0:
            return None
        if start + size > len(table.data):
            raise BrokenFileError(f"buffer {index} lies outside the file")
        raw = np.frombuffer(table.data, np.uint8, size, start)
    if dtype not in ("float32", "float16", "int32", "uint8", "int64", "int16", "int8", "bool", "float64"):
        return raw
    kind = np.dtype(dtype).newbyteorder("<")
    count = int(np.prod(shape, dtype=np.int64))
    if len(raw) != count * kind.itemsize:
        raise BrokenFileError(f"a constant of shape {shape} has {len(raw)} bytes instead of {count * kind.itemsize}")
    return raw.view(kind).reshape(shape)  # a view: many tensors may share one buffer


def _tensor(index: int, table: Table, buffers: list[Table]) -> Tensor:
    shape = tuple(int(n) for n in table.array(0, "i4"))
    if len(shape) > _MOST_DIMENSIONS:
        raise BrokenFileError(f"tensor {index} has {len(shape)} dimensions")
    # A batch left open (-1 or 0) is one sample to us: a microcontroller sees one at a time.
    if shape and shape[0] in (-1, 0):
        shape = (1, *shape[1:])
    if any(n < 0 for n in shape) or int(np.prod(shape, dtype=object)) > _MOST_ELEMENTS:
        raise BrokenFileError(f"tensor {index} has the impossible shape {shape}")
    dtype = _DTYPES.get(table.scalar(1, "b"), f"type {table.scalar(1, 'b')}")
    name = table.text(3) or f"tensor {index}"
    data = _constant(buffers, table.scalar(2, "I"), shape, dtype)
    return Tensor(index, name, shape, dtype, _quantization(table.table(4)), data, table.has(6))


def _kind(table: Table) -> str:
    """Name of an operator code. Files before schema 3a know only the 8-bit field; newer ones fill both."""
    code = max(table.scalar(0, "b"), table.scalar(3, "i"))
    if 0 <= code < len(_OPERATORS):
        return f"CUSTOM {table.text(1)}".strip() if _OPERATORS[code] == "CUSTOM" else _OPERATORS[code]
    return f"BUILTIN_{code}"


def _indices(values: np.ndarray, count: int, lowest: int = 0) -> tuple[int, ...]:
    if len(values) > 10_000 or np.any(values < lowest) or np.any(values >= count):
        raise BrokenFileError("an operator or the model names a tensor that does not exist")
    return tuple(int(n) for n in values)


def read_model(data: bytes) -> TFLiteModel:
    """Parse the bytes of a `.tflite` file; `UserError` for anything that is not a well-formed single-graph model."""
    model = root(data, b"TFL3")
    version = model.scalar(0, "I")
    if version != 3:
        raise UserError(
            f"the .tflite file has schema version {version}, only version 3 is known; convert the model again"
        )
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise UserError(f"the .tflite file holds {len(graphs)} graphs; export a model with exactly one")
    graph, buffers = graphs[0], model.tables(4)
    kinds = [_kind(table) for table in model.tables(1)]
    tensors = tuple(_tensor(i, table, buffers) for i, table in enumerate(graph.tables(0)))
    operators = []
    for i, table in enumerate(graph.tables(3)):
        code = table.scalar(0, "I")
        if code >= len(kinds):
            raise BrokenFileError(f"operator {i} has an unknown code")
        operators.append(
            Operator(
                index=i,
                kind=kinds[code],
                inputs=_indices(table.array(1, "i4"), len(tensors), -1),
                outputs=_indices(table.array(2, "i4"), len(tensors)),
                options=_options(kinds[code], table.scalar(3, "B"), table.table(4)),
            )
        )
    return TFLiteModel(
        tensors=tensors,
        operators=tuple(operators),
        inputs=_indices(graph.array(1, "i4"), len(tensors)),
        outputs=_indices(graph.array(2, "i4"), len(tensors)),
    )
