"""Multipliers with fewer bits that give the very same outputs: lossless, as the sums of a layer are bounded.

A requantised output is a staircase of its sum x: it is at least k exactly where x * m >= N_k, with m the mantissa and
N_k set by shift and rounding. So step k sits at t_k = ceil(N_k / m), and another mantissa m' puts it at the same place
where (t_k - 1) * m' < N_k <= t_k * m'. All steps inside the reachable range of x together leave an interval for m',
from which the number with most trailing zeros is taken.

A model that was made for short multipliers (`tfsparse.shorten`) lies a rounding of its float scales above them, and
there negative halves go the other way: the short number itself is just outside of the interval. So all mantissas of a
model may have a small offset in common, which costs nothing but a constant in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfsparse.compiler.fixedpoint import Multiplier, scale, scale_once
from tfsparse.compiler.layers import FullyConnected, Layer, Network, Weighted

_DEEPEST_SHIFT, _HIGHEST_SHIFT = -22, 8  # N_k then fits into 64 bits, and is whole
_SMALLEST, _LARGEST = 1 << 30, (1 << 31) - 1
# Offsets to choose from, and the bytes of code that one takes.
OFFSETS = (0, 1 << 7, 1 << 9, 1 << 11, 1 << 13)
_OFFSET_CODE = 8


def roundest(low: int, high: int) -> int:
    """The integer in [low, high] with most trailing zero bits; low <= high, low >= 1."""
    for zeros in reversed(range(high.bit_length())):
        candidate = -(-low >> zeros) << zeros
        if candidate <= high:
            return candidate
    raise AssertionError(f"no integer in [{low}, {high}]")


def _steps(by: Multiplier, low: int, high: int, once: bool) -> np.ndarray:
    """N_k for k = low + 1 .. high: int64. `once`: rounded once, half up; otherwise to an integer first, then half away
    from zero, as TFLite's convolutions do."""
    k = np.arange(low + 1, high + 1, dtype=np.int64)
    bits = -by.shift
    if once:
        return (2 * k - 1) << (30 + bits)
    if bits < 0:
        return ((k << 31) - (1 << 30)) >> -bits
    # The rounded product must reach k * 2^bits - 2^(bits - 1), one more where that is negative and halves go down.
    product = k if bits == 0 else (k << bits) - (1 << (bits - 1)) + (k <= 0)
    return (product << 31) - (1 << 30)


def same_outputs(by: Multiplier, reach: tuple[int, int], steps: np.ndarray) -> tuple[int, int]:
    """The interval of mantissas that keep all `steps` where they are, for sums x in `reach` (both ends included)."""
    least, most = reach
    at = np.clip(-(-steps // by.mantissa), least, most + 1)
    low, high = _SMALLEST, _LARGEST
    # x * m' >= N for x = at, x * m' < N for x = at - 1, each where that x can be reached.
    for x, n, reaches in ((at, steps, True), (at - 1, steps - 1, False)):
        inside = (x >= least) & (x <= most)
        for sign in (1, -1):
            chosen = inside & (np.sign(x) == sign)
            if not chosen.any():
                continue
            if reaches == (sign > 0):
                low = max(low, int((-(-n[chosen] // x[chosen])).max()))
            else:
                high = min(high, int((n[chosen] // x[chosen]).min()))
    return low, high


Interval = tuple[int, int]


def mantissa_interval(by: Multiplier, reach: Interval, outputs: Interval, once: bool) -> tuple[Interval, int]:
    """The mantissas, lowest and highest, that with a shift give the same output for each sum in `reach`; and the shift.

    `outputs`: lowest and highest output of interest, before the zero point is added; beyond them it is clamped.
    """
    if by.mantissa == 0:
        # Every sum becomes 0; so it does with these, whose leading bit is set.
        return (_SMALLEST, _SMALLEST + max(OFFSETS)), -29 if max(map(abs, reach)) < 1 << 28 else -31
    if not (_SMALLEST <= by.mantissa <= _LARGEST and _DEEPEST_SHIFT <= by.shift <= _HIGHEST_SHIFT):
        return (by.mantissa, by.mantissa), by.shift
    return same_outputs(by, reach, _steps(by, *outputs, once)), by.shift


def narrow_mantissa(interval: Interval, offset: int = 0) -> int | None:
    """The mantissa in the interval that has most trailing zeros once the offset is taken off; None where there is none
    whose leading bit is set."""
    low, high = max(interval[0] - offset, _SMALLEST), interval[1] - offset
    return roundest(low, high) + offset if low <= high else None


def narrow_multiplier(by: Multiplier, reach: Interval, outputs: Interval, once: bool) -> Multiplier:
    """A multiplier of at most as many bits that gives the same output for each sum in `reach` (see
    `mantissa_interval`)."""
    interval, shift = mantissa_interval(by, reach, outputs, once)
    if interval[0] < _SMALLEST:
        return by
    return Multiplier(narrow_mantissa(interval), shift)


def mantissa_intervals(layer: Weighted) -> tuple[tuple[Interval, int], ...]:
    """`mantissa_interval` of each output channel, as its weights and bias allow."""
    weights = layer.weights.astype(np.int64)
    ends = weights * (-128 - layer.input_zero), weights * (127 - layer.input_zero)
    least = np.minimum(*ends).sum(axis=1) + layer.bias
    most = np.maximum(*ends).sum(axis=1) + layer.bias
    outputs = layer.lowest - layer.output_zero, layer.highest - layer.output_zero
    once = isinstance(layer, FullyConnected)
    return tuple(
        mantissa_interval(by, reach, outputs, once)
        for by, reach in zip(layer.multipliers, zip(least.tolist(), most.tolist(), strict=True), strict=True)
    )


def mantissa_bits(mantissas: Sequence[int], offset: int = 0) -> int:
    """Bits behind the leading one that hold them all."""
    return 30 - min(_trailing_zeros(mantissa - offset) for mantissa in mantissas)


def _trailing_zeros(x: int) -> int:
    return (x & -x).bit_length() - 1


def _bytes_with(intervals: Sequence[Sequence[Interval]], offset: int) -> float:
    """Bytes of all layers' mantissas with this offset; infinite where a channel has none."""
    total = 0
    for layer in intervals:
        found = [narrow_mantissa(interval, offset) for interval in layer]
        if None in found:
            return float("inf")
        total += len(found) * mantissa_bits(found, offset)
    return total / 8 + (_OFFSET_CODE if offset else 0)


def settle_dead_channels(layer: Weighted) -> Weighted:
    """Small constants for output channels without any weight. Their output is the same for all inputs, but their bias
    is often huge, as the converter gives them a tiny scale."""
    dead = ~layer.weights.any(axis=1)
    if not dead.any():
        return layer
    formula = scale_once if isinstance(layer, FullyConnected) else scale
    shift = max((m.shift for m, gone in zip(layer.multipliers, dead, strict=True) if not gone), default=0)
    shift = min(0, max(shift, _DEEPEST_SHIFT))
    bias, multipliers = layer.bias.copy(), list(layer.multipliers)
    for channel in np.flatnonzero(dead):
        output = formula(int(bias[channel]), multipliers[channel]) + layer.output_zero
        # Half of 2 * x, shifted left by as much as it will be shifted right: exact with either way to round.
        bias[channel] = (min(max(output, layer.lowest), layer.highest) - layer.output_zero) << (1 - shift)
        multipliers[channel] = Multiplier(_SMALLEST, shift)
    return replace(layer, bias=bias, multipliers=tuple(multipliers))


def narrow(network: Network) -> Network:
    """The same network with narrow multipliers; all of them have a leading bit then."""
    settled = [settle_dead_channels(layer) if isinstance(layer, Weighted) else layer for layer in network.layers]
    found = {layer.name: mantissa_intervals(layer) for layer in settled if isinstance(layer, Weighted)}
    intervals = [[interval for interval, _ in layer] for layer in found.values()]
    offset = min(OFFSETS, key=lambda offset: _bytes_with(intervals, offset))
    if _bytes_with(intervals, offset) == float("inf"):
        offset = 0

    def narrowed(layer: Layer) -> Layer:
        if not isinstance(layer, Weighted):
            return layer
        narrow = tuple(
            Multiplier(interval[0] if (mantissa := narrow_mantissa(interval, offset)) is None else mantissa, shift)
            for interval, shift in found[layer.name]
        )
        return replace(layer, multipliers=narrow, mantissa_offset=offset)

    return replace(network, layers=tuple(map(narrowed, settled)))
