"""A reader of the compiler's streams of weights and constants, written after tfs_weights.h, bit by bit."""

from __future__ import annotations

import numpy as np

from tfsparse.compiler.encode import Encoded
from tfsparse.compiler.fixedpoint import Multiplier


def read(encoded: Encoded, outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, tuple[Multiplier, ...], int]:
    """Weights int8 [outputs, taps], biases int32 [outputs], multipliers, and how many bits were read.

    Raises IndexError where a look at four bytes leaves the stream, as the C would do.
    """
    tables = {table.role: table.values for table in encoded.tables}
    stream = np.append(tables["stream"], np.zeros(4, np.uint8))[: max(encoded.reach, len(tables["stream"]))]
    form, coding = encoded.channels, encoded.coding
    position = 0

    def look() -> int:
        if position // 8 + 4 > len(stream):
            raise IndexError(f"a look at bit {position} leaves the stream of {len(stream)} bytes")
        return int.from_bytes(stream[position // 8 : position // 8 + 4].tobytes(), "little") >> position % 8

    def take(bits: int) -> int:
        nonlocal position
        if bits > 25:
            low = take(16)
            return low | take(bits - 16) << 16
        value = look() & ((1 << bits) - 1)
        position += bits
        return value

    def signed(value: int, bits: int) -> int:
        return value - (1 << bits) if bits and value >> (bits - 1) else value

    weights = np.zeros((outputs, taps), np.int8)
    bias, multipliers = [], []
    zeros = coding.first if coding else 0
    for o in range(outputs):
        above = take(form.shift_bits)
        bits = form.bias_bits + (above if form.bias_form.grows else 0)
        unit = form.shift_base + above if form.bias_form.unit is None else form.bias_form.unit
        bias.append(signed(take(bits), bits) << max(0, form.shift_base + above - unit))
        mantissa = (1 << 30) + form.mantissa_offset + (take(form.mantissa_bits) << (30 - form.mantissa_bits))
        multipliers.append(Multiplier(mantissa, -(form.shift_base + above)))
        if coding is None:
            continue
        i = zeros
        while i < taps:
            window = look() & ((1 << 25) - 1)
            if coding.prefix is not None:
                entry = int(coding.prefix.table[window & ((1 << coding.prefix.longest) - 1)])
                escaped = entry & 7 == 0
                weights[o, i] = signed(window >> (entry >> 3) & 0xFF, 8) if escaped else entry >> 3
                position += (entry >> 3) + 8 if escaped else entry & 7
            else:
                value = window & ((1 << coding.value_bits) - 1)
                weights[o, i] = tables["codebook"][value] if coding.codebook else signed(value, coding.value_bits)
                position += coding.value_bits
            zeros = 0
            if coding.gap_bits is not None:
                window >>= coding.value_bits
                low, window = window & ((1 << coding.gap_bits) - 1), window >> coding.gap_bits
                unary = (window & -window).bit_length() - 1
                assert unary >= 0, "the gap's end lies beyond the window"
                zeros = (unary << coding.gap_bits) + low
                position += coding.gap_bits + unary + 1
            i += 1 + zeros
        zeros = i - taps
    if coding is None:
        weights[:] = tables["weights"].reshape(outputs, taps)
    return weights, np.array(bias, np.int32), tuple(multipliers), position
