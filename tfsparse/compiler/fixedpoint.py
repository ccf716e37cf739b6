"""The fixed-point arithmetic of TensorFlow Lite's reference int8 kernels, as far as it happens before run time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Multiplier:
    """The positive real factor `mantissa` * 2**(`shift` - 31), mantissa in [2**30, 2**31) or 0."""

    mantissa: int
    shift: int


def quantize_multiplier(real: float) -> Multiplier:
    """`real` >= 0 as TFLite's QuantizeMultiplier does it: 31 bits, rounded half up; what is below 2**-32 is 0."""
    if real == 0.0:
        return Multiplier(0, 0)
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * (1 << 31) + 0.5)
    if mantissa == 1 << 31:
        mantissa, shift = mantissa // 2, shift + 1
    return Multiplier(0, 0) if shift < -31 else Multiplier(mantissa, shift)


def scale(x: int, by: Multiplier) -> int:
    """TFLite's MultiplyByQuantizedMultiplier: rounds twice, first to 32 bits, then half away from zero.

    Seen in tensorflow 2.21 and ai-edge-litert 2.3: all operators do this but FULLY_CONNECTED, see `scale_once`.
    """
    left, right = max(by.shift, 0), max(-by.shift, 0)
    high = ((x << left) * by.mantissa + (1 << 30)) >> 31
    half = (1 << right) >> 1
    return (high + half) >> right if high >= 0 else -((-high + half) >> right)


def scale_all(x: np.ndarray, by: Multiplier) -> np.ndarray:
    """`scale` of many numbers: int64, whose products with 2**31 must fit into 63 bits."""
    left, right = max(by.shift, 0), max(-by.shift, 0)
    high = ((x.astype(np.int64) << left) * by.mantissa + (1 << 30)) >> 31
    half = (1 << right) >> 1
    return np.where(high >= 0, (high + half) >> right, -((-high + half) >> right))


def scale_once(x: int, by: Multiplier) -> int:
    """The same product rounded once, half up: what TFLite's FULLY_CONNECTED does, with reference kernels, too."""
    bits = 31 - by.shift
    return (x * by.mantissa + (1 << (bits - 1))) >> bits


def _half_16(x: int, by: int) -> int:
    """round(x * by / 2**15) of 16-bit numbers, half up, saturated: gemmlowp's SaturatingRoundingDoublingHighMul."""
    return min((x * by + (1 << 14)) >> 15, (1 << 15) - 1)


def _shift_left_16(x: int, bits: int) -> int:
    return min(max(x << bits, -(1 << 15)), (1 << 15) - 1)


def _shift_right(x: int, bits: int) -> int:
    """x / 2**bits, rounded half away from zero: gemmlowp's RoundingDivideByPOT."""
    half = (1 << bits) >> 1
    return (x + half) >> bits if x >= 0 else -((-x + half) >> bits)


def hard_swish_16(x: int, out: Multiplier, gate: Multiplier) -> int:
    """TFLite's HARD_SWISH of x = q - zero point, without the output's zero point and clamp.

    `out` brings 128 * x to the output's scale (shift at most 0), `gate` to that at which 2**15 is 3.
    """
    mantissas = [min((m.mantissa + (1 << 15)) >> 16, (1 << 15) - 1) for m in (out, gate)]
    fine = x * 128
    product = _half_16(fine, mantissas[0])
    half = fine
    if gate.shift > 0:
        half = _shift_left_16(half, gate.shift - 1)
    half = _half_16(half, mantissas[1])
    half = _shift_left_16(half, 1) if gate.shift > 0 else _shift_right(half, -gate.shift)
    half = (half + (1 << 15)) >> 1  # relu6(x + 3) / 6 in 15 bits
    whole = half * product
    return _shift_right(whole >> 15 if whole >= 0 else -(-whole >> 15), -out.shift)


@dataclass(frozen=True)
class Line:
    """y = clip((x * factor + addend) >> shift, -128, 127), with an addend of its own below and from x = `turn` on.

    The factor fits into 31 bits, the sum into 62.
    """

    factor: int
    shift: int
    turn: int
    below: int
    above: int


def fit_line(x: np.ndarray, y: np.ndarray, slope: float, turn: int) -> Line | None:
    """The line through a staircase, exactly; None where there is none.

    x: consecutive integers; y: int64 in -128..127, not falling; slope: about that of y, positive. Rounding half away
    from zero, or twice, is not quite the same on both sides of zero, which is at x = `turn`.
    """
    most = int(np.abs(x).max())
    for shift in range(40, 15, -1):
        factor = round(slope * (1 << shift))
        if factor >= 1 << 31 or most * factor >= 1 << 61:
            continue
        addends = [_addend(x[side], y[side], factor, shift) for side in (x < turn, x >= turn)]
        if None not in addends:
            return Line(factor, shift, turn, *addends)
    return None


def _addend(x: np.ndarray, y: np.ndarray, factor: int, shift: int) -> int | None:
    """The addend of a line of given slope through a staircase; None where there is none."""
    if not len(x):
        return 0
    steps = np.flatnonzero(np.diff(y))
    # On each level of y the first x says how small the addend may be, the last how large.
    first, last = np.concatenate([[0], steps + 1]), np.concatenate([steps, [len(y) - 1]])
    low = (y[first].astype(np.int64) << shift) - x[first] * factor
    high = (y[last].astype(np.int64) + 1 << shift) - 1 - x[last] * factor
    least = int(low[y[first] > -128].max(initial=-(1 << 61)))
    greatest = int(high[y[last] < 127].min(initial=1 << 61))
    return (least + greatest) // 2 if least <= greatest else None
