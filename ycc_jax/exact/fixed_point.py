"""Fixed-point numbers on the host: gains and widths of one picture, without a float.

A number is an integer and the place of its binary point: Q12 has 12 bits behind it. Everything here
is Python's or NumPy's int64 and computed once a picture, for each channel. The tables are rounded
from float64, no entry nearer to a tie than a libm could err (a test measures it), so every machine
has the same.
"""

import math
from typing import NamedTuple

import numpy as np

from ycc_jax.entropy.tables import LOG_MIN, LOG_STEP, PLACE_BITS
from ycc_jax.rounding import Y_BITS

LOG_BITS = 12
"""Logarithms to base 2 are Q12: 1/4096 of an octave is 0.017 %."""

# 2^(i / 4096), with 14 bits behind the point.
_EXP2 = np.round(2.0 ** (np.arange(1 << LOG_BITS) / (1 << LOG_BITS) + 14)).astype(np.int64)
# log2 of the middle of each 4096th of [1, 2), Q16.
LOG2 = np.round(np.log2(1 + (np.arange(4096) + 0.5) / 4096) * 65536).astype(np.int32)
# Steps of the scale table in an octave, Q8 (1442, for 1442.005); and log2, Q16, of its first scale.
STEPS = round(math.log(2) / LOG_STEP * (1 << PLACE_BITS))
ORIGIN = round(LOG_MIN / math.log(2) * 65536)


class Multiplier(NamedTuple):
    """Factors mantissa / 2^shift of each channel; int32 (C,) each, mantissa below 2^15 and shift
    0 .. 30: a product with an integer in +-2^15, and half of 2^shift added, is an int32."""

    mantissa: np.ndarray
    shift: np.ndarray

    def times(self, x: np.ndarray) -> np.ndarray:
        """x (..., C), integers below 2^47 -> rounded products, int64."""
        return rounded_shift(x.astype(np.int64) * self.mantissa, self.shift.astype(np.int64))


def rounded_shift(x, shift):
    """x / 2^shift, rounded to the nearest, ties upwards; NumPy or JAX integers, shift 0 .. 30."""
    return (x + ((1 << shift) >> 1)) >> shift


def dequantise(symbols: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """y_hat = symbols + mean, Q8 as the mean, int32, clipped to +-2^30."""
    y_hat = symbols.astype(np.int64) * (1 << Y_BITS) + mean
    return np.clip(y_hat, -(1 << 30), 1 << 30).astype(np.int32)


def to_float(fixed: np.ndarray) -> np.ndarray:
    """Q8 -> float32, in quantiser steps."""
    return fixed.astype(np.float32) / np.float32(1 << Y_BITS)


def log2(value: np.ndarray) -> np.ndarray:
    """Positive floats -> Q12, int64, clipped to +-2^16: 16 octaves either way. At export only."""
    return np.clip(np.round(np.log2(value) * (1 << LOG_BITS)), -(1 << 16), 1 << 16).astype(np.int64)


def exp2(log2: np.ndarray, left: int) -> Multiplier:
    """2^log2 of Q12 (C,), as factors that move the binary point `left` places to the left.

    What would be above 2^15 after that move is taken as that, what is below 2^-16 as 0.
    """
    log2 = np.clip(log2, -(32 << LOG_BITS), 32 << LOG_BITS)
    mantissa = _EXP2[log2 & ((1 << LOG_BITS) - 1)]
    shift = 14 + left - (log2 >> LOG_BITS)
    mantissa = np.where(shift < 0, (1 << 15) - 1, np.where(shift > 30, 0, mantissa))
    return Multiplier(mantissa.astype(np.int32), np.clip(shift, 0, 30).astype(np.int32))


def inverse_width(log2: np.ndarray, left: int) -> Multiplier:
    """1 / sqrt(u^2 + 1/4) for widths u = 2^log2 of Q12 (C,); as `exp2` in all else."""
    widths = exp2(np.clip(log2, -(12 << LOG_BITS), 14 << LOG_BITS), 0)
    found = []
    for mantissa, shift in zip(widths.mantissa.tolist(), widths.shift.tolist(), strict=True):
        u = (mantissa << 24) >> shift  # Q24
        inverse = (1 << 48) // math.isqrt(u * u + (1 << 46))  # Q24, in 2^8 .. 2^25
        excess = max(inverse.bit_length() - 15, 0)
        found.append((inverse >> excess, 24 + left - excess))
    mantissas, shifts = np.array(found, np.int64).T
    mantissas = np.where(shifts < 0, (1 << 15) - 1, np.where(shifts > 30, 0, mantissas))
    return Multiplier(mantissas.astype(np.int32), np.clip(shifts, 0, 30).astype(np.int32))


def place(log2: np.ndarray) -> np.ndarray:
    """log2 of a scale, Q12 -> its place on the scale table, as of `gaussian.index`, int64."""
    return rounded_shift((log2 * 16 - ORIGIN) * STEPS, 16)


def position(place: int, knots: np.ndarray) -> tuple[int, int]:
    """(i, t): `place` lies t / 4096 of the way from knots[i] to knots[i + 1], or at an end of them.

    Args:
      place: an integer.
      knots: ascending integers, at least one.
    """
    place = min(max(place, int(knots[0])), int(knots[-1]))
    if len(knots) == 1:
        return 0, 0
    i = min(int(np.searchsorted(knots, place, side="right")) - 1, len(knots) - 2)
    low, high = int(knots[i]), int(knots[i + 1])
    return i, ((place - low) * 4096 + (high - low) // 2) // (high - low)


def interpolate(values: np.ndarray, positions: list[tuple[int, int]]) -> np.ndarray:
    """Integers (n_1, .., n_k, C) at fractional positions (i, t) along the first k axes -> (C,).

    Linear along each axis, in int64, rounded once.
    """
    values = values.astype(np.int64)
    for i, t in positions:
        after = values[min(i + 1, len(values) - 1)]
        values = values[i] * (4096 - t) + after * t
    return rounded_shift(values, 12 * len(positions)) if positions else values
