"""The fixed-point arithmetic of TensorFlow Lite's reference int8 kernels, as far as it happens before run time."""

from __future__ import annotations

import math
from dataclasses import dataclass


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


def scale_once(x: int, by: Multiplier) -> int:
    """The same product rounded once, half up: what TFLite's FULLY_CONNECTED does, with reference kernels, too."""
    bits = 31 - by.shift
    return (x * by.mantissa + (1 << (bits - 1))) >> bits
