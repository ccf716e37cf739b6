"""int8 `.tflite` -> C99: `compile_model` writes a folder that any microcontroller project can take in.

Only numpy is needed. The way: `reader` (bytes to dataclasses), `graph` (to layers with all numbers resolved), `dead`,
`narrow`, `choose` and `encode` (constants in few bytes), `schedule` (memory plan), `emit` (text), and those C kernels
of `runtime/` that the network uses.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfsparse.compiler.choose import encode_network
from tfsparse.compiler.counted import count, layer_macs, layer_nnz
from tfsparse.compiler.dead import remove_dead
from tfsparse.compiler.emit import Program, header_text, headers, source_text
from tfsparse.compiler.encode import FORMATS
from tfsparse.compiler.graph import lower
from tfsparse.compiler.kernels import ROWS_TOGETHER
from tfsparse.compiler.layers import Border, Convolution, Network, Weighted
from tfsparse.compiler.narrow import narrow
from tfsparse.compiler.program import wants_small_kernels
from tfsparse.compiler.reader import read_model
from tfsparse.compiler.schedule import can_be_fed, plan_network, plan_together
from tfsparse.errors import UserError

OPTIMIZE = ("size", "balanced", "speed")
_RUNTIME = Path(__file__).parent / "runtime"


@dataclass(frozen=True)
class LayerReport:
    """One layer as compiled. Sizes in bytes; `format` is None for a layer without weights.

    `payload` is `formats[format]`, the weights', and `constants`, the biases', multipliers' and shifts'.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    format: str | None
    weights: int
    nnz: int
    payload: int
    constants: int
    formats: dict[str, int]  # bytes that the weights take in each format considered
    macs: int
    streamed: bool  # made row by row, as soon as the rows it reads are there


@dataclass(frozen=True)
class Port:
    """An input or output in C: real = scale * (q - zero_point); `dtype` is int8, or int32 or int64 for indices."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size: int  # bytes
    scale: float
    zero_point: int


@dataclass(frozen=True)
class CompiledModel:
    """What `compile_model` wrote, and its figures. Sizes in bytes; one int8 element is one byte.

    `input_size` and `output_size` are those of all inputs and outputs together; shapes and scales without a number are
    those of the first.
    """

    directory: Path
    sources: tuple[str, ...]  # C files to compile, relative to `directory`, where their headers lie, too
    input_size: int
    output_size: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    payload: int  # of all constant tables: weights, indices, biases, multipliers
    arena: int
    nnz: int
    model_size_counted: int
    working_memory_1: int
    working_memory_2: int
    macs: int
    layers: tuple[LayerReport, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    row_size: int  # bytes of a row of the input where it is fed by rows, else 0


def check_model(tflite: bytes, by_rows: bool = False) -> None:
    """Raises `UserError` where the model is damaged, uses what is not supported or, `by_rows`, cannot be fed so.
    TFLite's own interpreter ends the process over some of these."""
    _checked(tflite, by_rows)


def _checked(tflite: bytes, by_rows: bool) -> Network:
    network = remove_dead(lower(read_model(tflite)))
    if by_rows and not can_be_fed(network):
        raise UserError(
            "the model cannot be fed by rows: it needs one input map of 2 to 255 rows, one output, and branches that "
            "can be joined while each layer waits for one other"
        )
    return network


def _ports(network: Network, borders: tuple[Border, ...]) -> tuple[Port, ...]:
    values = [network.values[border.value] for border in borders]
    return tuple(
        Port(border.name, border.shape, value.dtype, value.size, value.scale, value.zero_point)
        for border, value in zip(borders, values, strict=True)
    )


def build_program(
    tflite: bytes,
    name: str,
    optimize: str = "balanced",
    by_rows: bool = False,
    formats: Sequence[str] = FORMATS,
) -> Program:
    """The whole compilation, up to the text: pure, no files. For the arguments see `compile_model`."""
    if optimize not in OPTIMIZE:
        raise UserError(f"there is no '{optimize}' to optimise for; use one of: {', '.join(OPTIMIZE)}")
    if not formats or not set(formats) <= set(FORMATS):
        raise UserError(f"no weights without a format, nor others than these: {', '.join(FORMATS)}")
    network = narrow(_checked(tflite, by_rows))
    small = wants_small_kernels(optimize, by_rows)
    counted = count(network)
    flow, plan = plan_network(network, optimize, by_rows)
    if small or flow.entries:
        encoded, kernels = encode_network(flow.network, optimize, formats, small)
    else:
        # Which kernels are best depends on how many rows they can make together, and that on which do so at all.
        some = [i for i, layer in enumerate(network.layers) if isinstance(layer, Convolution)]
        together = plan_together(flow, plan, optimize, some)
        encoded, kernels = encode_network(together[0].network, optimize, formats, small, plan.size)
        left = [i for i in some if kernels[network.layers[i].name] in ROWS_TOGETHER]
        flow, plan = together if left == some else plan_together(flow, plan, optimize, left)
    return Program(name, flow.network, encoded, flow, plan, optimize, counted, kernels)


def _reports(program: Program) -> tuple[LayerReport, ...]:
    network: Network = program.network
    return tuple(
        LayerReport(
            name=layer.name,
            kind=layer.kind,
            output_shape=network.values[layer.output].shape,
            format=tables.format if (tables := program.encoded.get(layer.name)) else None,
            weights=layer.weights.size if isinstance(layer, Weighted) else 0,
            nnz=layer_nnz(layer),
            payload=tables.payload if tables else 0,
            constants=tables.constants if tables else 0,
            formats=dict(tables.alternatives) if tables else {},
            macs=layer_macs(layer),
            streamed=i in program.flow.streamed,
        )
        for i, layer in enumerate(network.layers)
    )


def compile_model(
    tflite: bytes | Path,
    out: Path,
    *,
    name: str = "model",
    optimize: str = "balanced",
    by_rows: bool = False,
    formats: Sequence[str] = FORMATS,
) -> CompiledModel:
    """Compile a `.tflite` (its bytes, or the path of the file) and write model.c, model.h and the runtime into `out`.

    `optimize`: "size" (least flash), "balanced" or "speed" (fewest instructions). `by_rows`: the input is given row by
    row to `model_feed`, so that only the rows needed are in memory. `formats`: what weights may be written as; which
    each layer takes is decided for all together, by `optimize` (choose.py). A layer that can be written in none of them
    is packed.

    The same input gives the same bytes. `UserError` where the file is missing, damaged or uses what is not supported;
    then nothing is written.
    """
    if not isinstance(tflite, bytes):
        try:
            tflite = Path(tflite).read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read the model '{tflite}' ({error.strerror}); give the path of a .tflite file"
            ) from None
    program = build_program(tflite, name, optimize, by_rows, formats)
    network = program.network
    texts = {"model.c": source_text(program), "model.h": header_text(program)}
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (out / file).write_text(text, encoding="ascii")
        for header in headers(program):
            shutil.copyfile(_RUNTIME / header, out / header)
    except OSError as error:
        raise UserError(f"cannot write to the folder '{out}' ({error.strerror}); make room or choose another") from None
    inputs, outputs = _ports(network, network.inputs), _ports(network, network.outputs)
    counted = program.counted
    return CompiledModel(
        directory=out,
        sources=("model.c",),
        input_size=sum(port.size for port in inputs),
        output_size=sum(port.size for port in outputs),
        input_shape=inputs[0].shape,
        output_shape=outputs[0].shape,
        input_scale=inputs[0].scale,
        input_zero_point=inputs[0].zero_point,
        output_scale=outputs[0].scale,
        output_zero_point=outputs[0].zero_point,
        payload=program.payload,
        arena=program.plan.size,
        nnz=counted.nnz,
        model_size_counted=counted.nnz,
        working_memory_1=counted.working_memory_1,
        working_memory_2=counted.working_memory_2,
        macs=counted.macs,
        layers=_reports(program),
        inputs=inputs,
        outputs=outputs,
        row_size=program.flow.row_size(program.flow.input) if program.flow.fed else 0,
    )
