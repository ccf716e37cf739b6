"""A planned network -> the text of model.h and model.c, and the names of the runtime headers these need."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from tfsparse.compiler import descriptors
from tfsparse.compiler.bitstream import WINDOW, Coding
from tfsparse.compiler.encode import Table
from tfsparse.compiler.fixedpoint import Multiplier
from tfsparse.compiler.flow import (
    flow_text,
    is_flowing,
    pointer,
    row_layer,
    run_calls,
    table_switches,
    tables_text,
)
from tfsparse.compiler.interface import functions_text, head, header_text
from tfsparse.compiler.kernels import CHANNELS_TOGETHER, ROWS_TOGETHER, is_nine, longest_list, quads
from tfsparse.compiler.layers import Add, Convolution, FullyConnected, Layer, Pool, Weighted
from tfsparse.compiler.program import Program, comment
from tfsparse.compiler.rows import LARGEST_BLOCK, channelwise

__all__ = ["Program", "header_text", "headers", "source_text"]

_LONG_LIST = 8  # taps from which on two at a time are faster
_NO_GAPS = 255  # in the place of gap bits
_REQUIRED = {
    "tfs_conv.h": ("tfs_window.h", "tfs_rows.h", "tfs_weights.h", "tfs_fixed.h"),
    "tfs_conv_taps.h": ("tfs_window.h", "tfs_rows.h", "tfs_weights.h", "tfs_fixed.h"),
    "tfs_conv_dense.h": ("tfs_dot.h", "tfs_nine.h", "tfs_window.h", "tfs_rows.h", "tfs_weights.h", "tfs_fixed.h"),
    "tfs_conv_im2col.h": ("tfs_window.h", "tfs_rows.h", "tfs_weights.h", "tfs_fixed.h"),
    "tfs_conv_small.h": ("tfs_window.h", "tfs_rows.h", "tfs_weights.h", "tfs_fixed.h"),
    "tfs_dense_small.h": ("tfs_weights.h", "tfs_fixed.h"),
    "tfs_dense.h": ("tfs_weights.h", "tfs_fixed.h"),
    "tfs_dense_dot.h": ("tfs_dot.h", "tfs_weights.h", "tfs_fixed.h"),
    **descriptors.REQUIRED,
}
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"}


def kernel_of(layer: Layer, program: Program) -> str:
    """Name of the C kernel that runs a layer; its header has the same."""
    if not isinstance(layer, Weighted):
        return descriptors.HEADERS[type(layer)].removesuffix(".h")
    return program.kernels[layer.name]


def _kernel_headers(program: Program) -> list[str]:
    return sorted({f"{kernel_of(layer, program)}.h" for layer in program.network.layers})


def headers(program: Program) -> tuple[str, ...]:
    """Runtime headers that the program needs, sorted."""
    needed = set(_kernel_headers(program))
    needed.update(*(_REQUIRED.get(name, ()) for name in needed))
    return tuple(sorted(needed | ({"tfs_flow.h"} if is_flowing(program.flow) else set())))


def _array(layer: Layer, table: Table) -> str:
    numbers = ", ".join(map(str, table.values.tolist()))
    lines = textwrap.fill(numbers, 116, initial_indent="    ", subsequent_indent="    ")
    kind = _C_TYPES[table.values.dtype.name]
    return f"static const {kind} {layer.name}_{table.role}[{table.values.size}] = {{\n{lines},\n}};"


def _codings(program: Program) -> list[Coding]:
    """Those of all weights in streams."""
    return [encoded.coding for encoded in program.encoded.values() if encoded.coding is not None]


def _gap_bits(coding: Coding) -> int:
    return _NO_GAPS if coding.gap_bits is None else coding.gap_bits


def _stream_places(program: Program) -> dict[str, int]:
    """Where each layer's stream begins in the array of all."""
    places, end = {}, 0
    for name, encoded in program.encoded.items():
        if table := encoded.table("stream"):
            places[name] = end
            end += table.size
    return places


def _streams(program: Program) -> list[str]:
    """The array of all streams: side by side they need bytes to be looked at behind the last one only."""
    rows = []
    for name in _stream_places(program):
        numbers = ", ".join(map(str, program.encoded[name].table("stream").values.tolist()))
        rows += [f"    /* {name} */"]
        rows += [textwrap.fill(numbers + ",", 116, initial_indent="    ", subsequent_indent="    ")] if numbers else []
    if not rows:
        return []
    title = "/* Of each layer, the constants of its output channels, and weights that are not stored as they are. */"
    return ["\n".join([title, "static const uint8_t streams[] = {", *rows, "};"])]


def _has_whole_range(program: Program) -> bool:
    """Whether no layer with weights clamps to less than int8."""
    layers = [layer for layer in program.network.layers if isinstance(layer, Weighted)]
    return all((layer.lowest, layer.highest) == (-128, 127) for layer in layers)


def _weights(layer: Weighted, program: Program) -> str:
    """Initialiser of tfs_weights. What all layers of the program have in common is left to a macro."""
    encoded, codings = program.encoded[layer.name], _codings(program)
    names = {table.role: f"{layer.name}_{table.role}" for table in encoded.tables}
    stream = _stream_places(program)[layer.name]
    form, coding = encoded.channels, encoded.coding or Coding(8, None)
    limits = [] if _has_whole_range(program) else [layer.lowest, layer.highest]
    fields = [
        names.get("weights") or names.get("codebook") or "NULL", stream, layer.input_zero, layer.output_zero, *limits,
        form.bias_bits, form.mantissa_bits, form.shift_bits, form.shift_base,
    ]  # fmt: skip
    if codings:
        fields.append(coding.first)
        fields += [coding.value_bits] if len({coding.value_bits for coding in codings}) > 1 else []
        fields += [_gap_bits(coding)] if len(set(map(_gap_bits, codings))) > 1 else []
    return f"{{{', '.join(map(str, fields))}}}"


def conv_block(layer: Convolution) -> int:
    """Pixels of an output row that are computed together: equal parts of at most `LARGEST_BLOCK`."""
    parts = -(-layer.window.out_width // LARGEST_BLOCK)
    return -(-layer.window.out_width // parts)


def _has_blocks(program: Program) -> bool:
    """Whether some kernel sums blocks of pixels."""
    kernels = {kernel_of(layer, program) for layer in program.network.layers if isinstance(layer, Convolution)}
    return bool(kernels - {"tfs_conv_small", "tfs_conv_taps", "tfs_conv_im2col"})


def _block(layer: Convolution, program: Program) -> str:
    return f", {conv_block(layer)}" if _has_blocks(program) else ""


def _is_dilated(program: Program) -> bool:
    layers = [layer for layer in program.network.layers if isinstance(layer, Convolution)]
    return any(max(layer.window.dilation_height, layer.window.dilation_width) > 1 for layer in layers)


def _dilation(layer: Convolution, program: Program) -> str:
    w = layer.window
    return f", {w.dilation_height}, {w.dilation_width}" if _is_dilated(program) else ""


def _is_square(program: Program) -> bool:
    """Whether windows, strides and paddings of all convolutions are as wide as high."""
    windows = [layer.window for layer in program.network.layers if isinstance(layer, Convolution)]
    return all(
        (w.kernel_height, w.stride_height, w.pad_top) == (w.kernel_width, w.stride_width, w.pad_left) for w in windows
    )


def _line(program: Program) -> int:
    """Columns of a row that may lie over rows of the input, at most; 0 where none does."""
    flow = program.flow
    over = [layer for i, layer in enumerate(program.network.layers) if i in flow.streamed and channelwise(layer)]
    return max((layer.window.out_width for layer in over), default=0) if flow.over else 0


def _is_grouped(layer: Convolution) -> bool:
    """Whether the taps of a row of the window do not lie evenly in the map."""
    return layer.run > 1 and (layer.run < layer.in_channels or layer.window.dilation_width > 1)


def _lists(program: Program) -> dict[str, Convolution]:
    """The layers that unpack their weights into lists of taps, by name."""
    layers = [layer for layer in program.network.layers if isinstance(layer, Convolution)]
    return {layer.name: layer for layer in layers if kernel_of(layer, program) == "tfs_conv_taps"}


def _is_stored(layer: Layer, program: Program) -> bool:
    return program.encoded[layer.name].coding is None


def _nines(program: Program) -> set[bool]:
    """Of the layers of tfs_conv_dense: whether they have windows of 3x3 that see one channel, and whether others."""
    layers = [layer for layer in program.network.layers if isinstance(layer, Convolution)]
    return {is_nine(layer) for layer in layers if kernel_of(layer, program) == "tfs_conv_dense"}


def _nine(layer: Convolution, program: Program) -> str:
    return f", {int(is_nine(layer))}" if len(_nines(program)) == 2 else ""


def _has_both(program: Program) -> bool:
    """Whether some lists are unpacked from streams and some from weights stored as they are."""
    return len({_is_stored(layer, program) for layer in _lists(program).values()}) == 2


def _stored(layer: Convolution, program: Program) -> str:
    return f", {int(_is_stored(layer, program))}" if _has_both(program) else ""


def _fields(layer: Layer, program: Program) -> str | None:
    """Initialiser of the layer's descriptor, in the order of the struct; None where its kernel needs none."""
    if isinstance(layer, Convolution):
        w = layer.window
        return (
            f"{descriptors.rows(w, program.network)}{_weights(layer, program)}, {w.in_height}, {w.in_width}, "
            f"{layer.in_channels}, {w.out_height}, {w.out_width}, {layer.out_channels}, {layer.run}, "
            f"{layer.per_group}, {w.kernel_height}, {w.stride_height}, {w.pad_top}"
            f"{'' if _is_square(program) else f', {w.kernel_width}, {w.stride_width}, {w.pad_left}'}"
            f"{_dilation(layer, program)}{_block(layer, program)}{_nine(layer, program)}{_stored(layer, program)}"
        )
    if isinstance(layer, FullyConnected):
        return f"{_weights(layer, program)}, {layer.rows}, {layer.weights.shape[1]}, {layer.weights.shape[0]}"
    return descriptors.fields(layer, program.network)


def _descriptor(layer: Layer, fields: str) -> str:
    kind = {Convolution: "tfs_conv", FullyConnected: "tfs_dense"}.get(type(layer))
    kind = kind or descriptors.HEADERS[type(layer)].removesuffix(".h")
    fields = textwrap.fill(fields, 116, initial_indent="    ", subsequent_indent="    ")
    return f"static const {kind} {layer.name} = {{\n{fields},\n}};"


def _call(program: Program, i: int, layer: Layer) -> list[str]:
    """Statements that run a layer, or make its row `row` where it is streamed."""
    window = isinstance(layer, Convolution | Pool)
    row = "row" if i in program.flow.streamed else None
    inputs = [pointer(program, value, None if window else row) for value in layer.inputs]
    output = pointer(program, layer.output, row)
    if not isinstance(layer, Weighted):
        return descriptors.calls(layer, inputs, output, row)
    kernel, arguments = kernel_of(layer, program), f"&{layer.name}, {inputs[0]}, {output}"
    if isinstance(layer, FullyConnected):
        return [f"{kernel}_run({arguments});"]
    if kernel in ROWS_TOGETHER:
        if row:
            return [f"{kernel}_rows({arguments}, row, row + 1);"]
        if layer.together >= layer.window.out_height:
            return [f"{kernel}_rows({arguments}, 0, {layer.window.out_height});"]
        return [f"tfs_conv_together({arguments}, {layer.together}, {kernel}_rows);"]
    return [f"{kernel}_row({arguments}, row);" if row else f"tfs_conv_rows({arguments}, {kernel}_row);"]


def _scaled_sums(layer: Layer) -> list[tuple[int, Multiplier]]:
    """What the layer's kernel multiplies at run time with two roundings: (bound of its magnitude, factor)."""
    if isinstance(layer, Convolution):
        bounds = layer.sum_bounds()
        return list(zip(bounds.tolist(), layer.multipliers, strict=True))
    return [] if isinstance(layer, Weighted) else descriptors.scaled_sums(layer)


def _fits_short_way(bound: int, by: Multiplier) -> bool:
    """Whether tfs_scale may take its short way: no left shift, and twice the rounded product plus a half fits."""
    return (
        bound < 1 << 30 and -29 <= by.shift <= 0 and 2 * ((bound * by.mantissa >> 31) + 1) + (1 << -by.shift) < 1 << 31
    )


def _stream_switches(codings: Sequence[Coding]) -> list[str]:
    """Those of the reader of weights in streams."""
    if not codings:
        return ["TFS_VALUE_BITS(w) 8", "TFS_GAP_BITS(w) 0"]
    switches = ["TFS_STREAM"]
    for name, values in (
        ("TFS_VALUE_BITS", {coding.value_bits for coding in codings}),
        ("TFS_GAP_BITS", set(map(_gap_bits, codings))),
    ):
        switches += [f"{name}(w) {values.pop()}"] if len(values) == 1 else []
    with_gaps = {coding.gap_bits is not None for coding in codings}
    switches += ["TFS_GAPS"] if True in with_gaps else []
    switches += [f"TFS_NO_GAPS {_NO_GAPS}"] if len(with_gaps) == 2 else []
    switches += ["TFS_CODEBOOK"] if any(coding.codebook is not None for coding in codings) else []
    return switches


def _columns_switch(layers: Iterable[Convolution]) -> list[str]:
    columns = [layer.window.kernel_width for layer in layers]
    return [f"TFS_MOST_COLUMNS {max(2, *columns)}"] if columns else []


def _stream_conv_switches(program: Program, layers: Sequence[Convolution]) -> list[str]:
    """Those of tfs_conv, which keeps offsets from the first byte of the map."""
    if not layers:
        return []
    # A row may lie anywhere in the arena.
    largest = max(x.window.in_height * x.window.in_width * x.in_channels for x in layers)
    offset = "int32_t" if max(largest, program.plan.size) > 1 << 15 else "int16_t"
    return [f"TFS_OFFSET {offset}", f"TFS_MOST_ROWS {max(2, *(x.window.kernel_height for x in layers))}"]


def _list_switches(program: Program) -> list[str]:
    """Those of tfs_conv_taps, which keeps offsets from the row of the map over which the window begins."""
    lists = _lists(program)
    if not lists:
        return []
    far = twice = 0
    for layer in lists.values():
        w = layer.window
        rows, columns = w.kernel_height * w.dilation_height, w.kernel_width * w.dilation_width
        far = max(far, (rows * w.in_width + columns + w.pad_left) * layer.in_channels)
        if w.table or w.held:
            far = max(far, program.plan.size + columns * layer.in_channels)
        twice = max(
            twice, *(np.abs(layer.bias.astype(np.int64)) + 256 * np.abs(layer.weights.astype(np.int64)).sum(axis=1))
        )
    longest = max(map(longest_list, lists.values()))
    right = all(_shifts_right(layer) for layer in program.network.layers if isinstance(layer, Weighted))
    stored = {_is_stored(layer, program) for layer in lists.values()}
    return [
        f"TFS_CONV_TAPS {longest}",
        f"TFS_TWICE {2 if right and twice < 1 << 30 else 1}",
        *(["TFS_PAIRS"] if np.mean([longest_list(layer) for layer in lists.values()]) >= _LONG_LIST else []),
        *(["TFS_FAR"] if far >= 1 << 15 else []),
        *(["TFS_STREAM_TAPS"] if False in stored else []),
        *(["TFS_STORED_TAPS"] if True in stored else []),
    ]


def _im2col_switches(layers: Sequence[Convolution]) -> list[str]:
    """Those of tfs_conv_im2col; its loop takes as many groups of taps at a time as divide those of all layers."""
    if not layers:
        return []
    channels = max(min(CHANNELS_TOGETHER, len(layer.weights)) for layer in layers)
    together = next(n for n in (3, 2, 1) if all(quads(layer) % n == 0 for layer in layers))
    return [
        f"TFS_IM2COL {max(map(quads, layers))}",
        f"TFS_IM2COL_CHANNELS {channels}",
        f"TFS_QUADS_TOGETHER {together}",
    ]


def _switches(program: Program) -> list[str]:
    """Macros that leave out of the runtime what this network does not need."""
    layers = program.network.layers
    encoded = {layer.name: program.encoded[layer.name] for layer in layers if isinstance(layer, Weighted)}
    convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
    switches = _stream_switches(_codings(program))
    switches.append(f"TFS_BEGIN {'uint16_t' if max([0, *_stream_places(program).values()]) < 1 << 16 else 'uint32_t'}")
    if program.optimize == "speed" or _lists(program):
        switches.append("TFS_SPEED")
    if not program.small:
        switches.append("TFS_INLINED")
    if not all(_fits_short_way(*scaled) for layer in layers for scaled in _scaled_sums(layer)):
        switches.append("TFS_ANY_SCALE")
    additions = [layer for layer in layers if isinstance(layer, Add)]
    if additions and all(_fits_short_way(*scaled) for layer in additions for scaled in _scaled_sums(layer)):
        switches.append("TFS_SHORT_ADD")
    right = all(_shifts_right(layer) for layer in layers if isinstance(layer, Weighted))
    switches += ["TFS_RIGHT_SHIFTS"] if encoded and right else []
    if program.small and right and len(additions) == 1:
        switches.append("TFS_ALWAYS_SCALE")  # a single addition's factors become numbers in the code
    if _has_whole_range(program):
        switches.append("TFS_WHOLE_RANGE")
    if offset := max((e.channels.mantissa_offset for e in encoded.values()), default=0):
        switches.append(f"TFS_MANTISSA_OFFSET {offset}")
    if any(e.channels.bias_grows for e in encoded.values()):
        switches.append("TFS_BIAS_GROWS")
    if any(e.channels.widest > WINDOW for e in encoded.values()):
        switches.append("TFS_WIDE_FIELDS")
    switches += [name for name, nine in (("TFS_NINE", True), ("TFS_PLAIN_CONV", False)) if nine in _nines(program)]
    switches += ["TFS_DILATED"] if _is_dilated(program) else []
    switches += ["TFS_SQUARE"] if convolutions and _is_square(program) else []
    switches += [f"TFS_LINE {_line(program)}"] if _line(program) else []
    if any(_is_grouped(layer) for layer in convolutions):
        switches.append("TFS_GROUPS")
    if convolutions:
        switches += [f"TFS_CONV_BLOCK {max(map(conv_block, convolutions))}"] if _has_blocks(program) else []
        streams = [x for x in convolutions if kernel_of(x, program) == "tfs_conv"]
        switches += _stream_conv_switches(program, streams) + _list_switches(program)
        switches += _im2col_switches([x for x in convolutions if kernel_of(x, program) == "tfs_conv_im2col"])
        switches += _columns_switch([*streams, *_lists(program).values()])
        switches.append(f"TFS_SIDE {'uint8_t' if max(map(_largest_side, convolutions)) < 256 else 'uint16_t'}")
    most = [layer.channels for layer in layers if isinstance(layer, Pool) and layer.kind == "max_pool"]
    if most and min(most) >= 4 and not program.small:
        switches.append("TFS_FOUR_CHANNELS")
        switches += ["TFS_AVERAGE"] if any(layer.kind == "average_pool" for layer in layers) else []
    if is_flowing(program.flow):
        switches.append(f"MODEL_LAYERS {len(layers)}")
    return [
        f"#define {switch}"
        for switch in (*switches, *descriptors.switches(program.network), *table_switches(program.plan))
    ]


def _shifts_right(layer: Weighted) -> bool:
    """Whether all shifts go right, by 2 or more, and what is shifted is small enough to be rounded before."""
    bounds = layer.sum_bounds().tolist()
    return all(
        -29 <= by.shift <= -2 and bound < 1 << 30 and bound + (129 << -by.shift) < 1 << 31
        for bound, by in zip(bounds, layer.multipliers, strict=True)
    )


def _largest_side(layer: Convolution) -> int:
    w = layer.window
    return max(w.in_height, w.in_width, w.out_height, w.out_width, layer.in_channels, layer.out_channels)


def source_text(program: Program) -> str:
    network, flow = program.network, program.flow
    tables = []
    for i, layer in enumerate(network.layers):
        encoded = program.encoded.get(layer.name)
        title = f"/* {layer.name}: {layer.place}, '{comment(network.values[layer.output].name)}' */"
        parts = [_array(layer, table) for table in encoded.tables if table.role != "stream"] if encoded else []
        described = row_layer(flow, layer) if i in flow.streamed else layer
        if (fields := _fields(described, program)) is not None:
            parts.append(_descriptor(layer, fields))
        if parts:
            tables.append("\n".join([title, *parts]))

    def call(i: int, layer: Layer) -> list[str]:
        return _call(program, i, row_layer(flow, layer) if i in flow.streamed else layer)

    included = _kernel_headers(program)
    if is_flowing(flow):
        included.append("tfs_flow.h")
        tables.append(flow_text(program, call))
        calls = run_calls(program)
    else:
        calls = [line for i, layer in enumerate(network.layers) for line in call(i, layer)]
    parts = [
        head(program) + '#include "model.h"\n\n#include <stddef.h>\n#include <string.h>',
        "\n".join(_switches(program)),
        *_streams(program),
        "\n".join(f'#include "{name}"' for name in included),
        "static int8_t arena[MODEL_ARENA_SIZE];",
        "\n".join(tables_text(program.plan)),
        *tables,
        functions_text(program, calls),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
