"""Frozen integer tables for the range coder, built from probability mass functions.

The densities that are trained are differentiable and floating point; the tables that code are
integers, built once when a model is exported and stored beside its weights. Store the integers and
do not rebuild them to decode: two machines' `ndtr` may differ in the last bit, and two tables that
differ in one count cannot read each other's streams.

A row holds the cumulative counts of consecutive integers, out of 65536, in the layout of
TensorFlow Compression (TFC). Its last symbol is the escape: an integer outside the row's support is
coded as the escape followed by its distance in an Elias gamma code (see `range_coder`).
"""

import dataclasses
import functools
import heapq
import math

import numpy as np
from scipy.special import ndtr, ndtri

from ycc_jax.errors import InputError

PRECISION = 16  # bits; the counts of a row sum to 2**PRECISION
TOTAL = 1 << PRECISION
OFFSET_LIMIT = 1 << 29  # so that an offset plus a gamma-coded distance (below 2**30) is an int32

# Mass outside a Gaussian row's support. Larger costs escapes, smaller wastes a count (2**-16, the
# least a symbol may have) on each of many improbable symbols. Over the powers of two, 2**-12 has
# the smallest mean excess; 2**-10 to 2**-17 all stay within 0.1 % or 0.001 bit of the entropy.
TAIL_MASS = 2.0**-12
# The least mass that the escape symbol of a learned density is taken to have: "not impossible".
MIN_TAIL_MASS = 2.0**-40

NUM_SCALES = 64
LOG_MIN = math.log(0.11)
LOG_STEP = (math.log(256.0) - LOG_MIN) / (NUM_SCALES - 1)
SCALE_TABLE = np.exp(LOG_MIN + LOG_STEP * np.arange(NUM_SCALES))
"""float64 `(64,)`: standard deviations from 0.11 to 256, equally spaced in the logarithm."""
SCALE_TABLE.flags.writeable = False

PLACE_BITS = 8
"""A place on the scale table is an integer, in 1/256 of the table's steps."""


@dataclasses.dataclass(frozen=True, eq=False)
class CdfTables:
    """n quantised cumulative distribution functions; the arrays are copied and made read-only.

    Attributes:
      cdf: int32 `(n, L)`; row i is 0 = c_0 < c_1 < ... < c_m = 65536, then 65536 up to column L-1.
      length: int32 `(n,)`; m + 1, the number of valid entries of the row, in [2, L]. The row has
        m symbols, of which the last (m - 1) is the escape.
      offset: int32 `(n,)`; the integer that symbol 0 stands for, in [-2**29, 2**29].

    Raises:
      InputError: a shape, dtype or entry is not as above; the message names the row.
    """

    cdf: np.ndarray
    length: np.ndarray
    offset: np.ndarray

    def __post_init__(self):
        for name, ndim in (("cdf", 2), ("length", 1), ("offset", 1)):
            array = np.asarray(getattr(self, name))
            if array.ndim != ndim or array.dtype != np.int32:
                raise InputError(
                    f"{name} must be int32 with {ndim} axes, found {array.dtype} {array.shape}"
                )
            array = np.array(array, order="C")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self._check()

    def _check(self):
        rows, columns = self.cdf.shape
        if rows < 1 or self.length.shape != (rows,) or self.offset.shape != (rows,):
            raise InputError(
                f"cdf, length and offset must have the same number of rows, at least 1; found "
                f"{rows}, {self.length.size} and {self.offset.size}"
            )
        _check_rows(
            (self.length >= 2) & (self.length <= columns),
            f"length must be in [2, {columns}]",
            self.length,
        )
        _check_rows(self.cdf[:, 0] == 0, "the cdf must start with 0", self.cdf[:, 0])
        step = np.diff(self.cdf.astype(np.int64))
        valid = np.arange(1, columns) < self.length[:, None]
        smallest = np.where(valid, step, TOTAL).min(axis=1)
        _check_rows(smallest >= 1, "every symbol must have a count of at least 1", smallest)
        last = self.cdf[np.arange(rows), self.length - 1]
        _check_rows(last == TOTAL, f"the last valid entry must be {TOTAL}", last)
        padding = np.where(valid, TOTAL, self.cdf[:, 1:])
        wrong = np.where(padding.min(axis=1) < TOTAL, padding.min(axis=1), padding.max(axis=1))
        _check_rows(wrong == TOTAL, f"entries past the valid ones must be {TOTAL}", wrong)
        _check_rows(
            np.abs(self.offset.astype(np.int64)) <= OFFSET_LIMIT,
            f"offset must be in [{-OFFSET_LIMIT}, {OFFSET_LIMIT}]",
            self.offset,
        )

    @property
    def lookup(self):
        """int32 `(n, L + 1)`: the `lookup` argument of TFC's `create_range_encoder`.

        Its first column is minus the precision; the sign asks TFC to treat the last symbol as the
        escape.
        """
        return np.pad(self.cdf, ((0, 0), (1, 0)), constant_values=-PRECISION)

    @functools.cached_property
    def _entry_bits(self):
        """float32 `(n, L - 1)`: -log2 of each entry's share, 0 behind a row's last."""
        counts = np.diff(self.cdf.astype(np.int64), axis=1)
        return -np.log2(np.where(counts > 0, counts, TOTAL).astype(np.float32) / TOTAL)

    def bits(self, symbols, index):
        """Bits that the range coder spends on each symbol.

        Args:
          symbols: integer array of any shape, as `range_coder.encode` takes them.
          index: integer array of the same shape: the row for each.

        Returns:
          float32 of that shape. Outside its row's support a symbol costs the escape and an Elias
          gamma code of its distance and sign.
        """
        symbols, index = np.asarray(symbols, np.int64), np.asarray(index)
        escape = self.length[index] - 2
        place = symbols - self.offset[index]
        outside = (place < 0) | (place >= escape)
        bits = self._entry_bits[index, np.where(outside, escape, place)]
        if outside.any():
            distance = np.where(place < 0, -place, place - escape + 1)[outside]
            bits[outside] += 2 * np.floor(np.log2(distance)).astype(np.float32) + 2
        return bits


def _check_rows(good, expected, found):
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(f"row {row}: {expected}, found {int(found[row])}")


def quantize_pmf(pmf):
    """Rounds probabilities to counts out of 65536, each at least 1, and accumulates them.

    The counts are Webster's (Sainte-Lague) apportionment with a floor of 1: round, then take counts
    where p / (c - 1/2) is smallest, or give them where p / (c + 1/2) is largest, until they sum to
    65536. Those ratios are p log(c / (c - 1)) and p log((c + 1) / c), the expected nats that one
    count costs or saves, to second order in 1/c; on Gaussians the code length is within 1e-6 bits
    of taking the logarithms. Written without them the result depends on IEEE division alone, hence
    only on the bits of `pmf`. Equal ratios go to the lower index.

    Args:
      pmf: float `(m,)`, 1 <= m <= 65536, finite and not negative, of positive sum, which is taken
        as 1. The last entry is the mass of everything outside the support.

    Returns:
      int32 `(m + 1,)`: strictly increasing from 0 to 65536.

    Raises:
      InputError: `pmf` is not as above.
    """
    pmf = np.asarray(pmf, np.float64)
    if pmf.ndim != 1 or not 1 <= pmf.size <= TOTAL:
        raise InputError(f"pmf must have one axis of 1 to {TOTAL} entries, found {pmf.shape}")
    if not np.isfinite(pmf).all() or pmf.min() < 0 or not pmf.max() > 0:
        raise InputError("pmf must be finite, not negative, and not zero everywhere")
    # fsum, because the order in which np.sum adds depends on the processor.
    share = (pmf / math.fsum(pmf) * TOTAL).tolist()
    counts = [max(1, math.floor(s + 0.5)) for s in share]
    excess = sum(counts) - TOTAL
    step = -1 if excess > 0 else 1
    heap = [
        (_price(s, c, step), i)
        for i, (s, c) in enumerate(zip(share, counts, strict=True))
        if c + step >= 1
    ]
    heapq.heapify(heap)
    for _ in range(abs(excess)):
        _, i = heapq.heappop(heap)
        counts[i] += step
        if counts[i] + step >= 1:
            heapq.heappush(heap, (_price(share[i], counts[i], step), i))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _price(share, count, step):
    """What changing `count` by `step` (-1 or 1) adds to the expected length, times a constant."""
    return -step * share / (count + 0.5 * step)


def gaussian_tables(scales=SCALE_TABLE):
    """Tables of integers distributed as N(0, scale**2) convolved with U(-1/2, 1/2).

    P(k) = F((k + 1/2) / scale) - F((k - 1/2) / scale), F the standard normal distribution function
    (Balle et al. 2018, "Variational image compression with a scale hyperprior", equation 29). The
    support is -K..K with the smallest K that leaves at most `TAIL_MASS` outside.

    Over the 64 scales of `SCALE_TABLE` the expected length, escapes and their gamma codes included,
    exceeds the entropy by at most 0.03 % where the entropy is above 1 bit, by at most 0.00007 bit
    where it is below, and by 0.0003 bit on average. K is 0 to 939.

    Args:
      scales: float `(n,)`, positive; at most 256 * 32, so that a support fits 65536 counts.

    Returns:
      `CdfTables` of n rows with offset -K.

    Raises:
      InputError: `scales` is not as above.
    """
    scales = np.asarray(scales, np.float64)
    if scales.ndim != 1 or scales.size == 0 or not ((scales > 0) & (scales <= 8192)).all():
        raise InputError(f"scales must be 1-D, in (0, 8192], found shape {scales.shape}: {scales}")
    half_widths = np.maximum(np.ceil(-ndtri(TAIL_MASS / 2) * scales - 0.5), 0).astype(np.int32)
    cdfs = []
    for scale, half_width in zip(scales, half_widths, strict=True):
        # The lower tail, where ndtr keeps its relative precision, then its mirror image.
        edges = ndtr(-(np.arange(half_width + 2) - 0.5) / scale)
        half = edges[:-1] - edges[1:]
        pmf = np.concatenate([half[:0:-1], half, [2 * edges[-1]]])
        cdfs.append(quantize_pmf(pmf))
    return _stack(cdfs, -half_widths)


def tables_from_pmf(pmfs, offsets):
    """Tables from probabilities of consecutive integers, such as a learned factorized density's.

    Args:
      pmfs: n float arrays `(m_i,)`, without the tail: entry k is P(offsets[i] + k). What is missing
        from a sum of 1 is the escape symbol's mass, taken to be at least `MIN_TAIL_MASS`.
      offsets: int `(n,)`, in [-2**29, 2**29].

    Returns:
      `CdfTables` of n rows.

    Raises:
      InputError: a pmf sums to more than 1 + 1e-4, or is otherwise not as `quantize_pmf` asks, or
        the numbers of pmfs and offsets differ.
    """
    cdfs = []
    for i, pmf in enumerate(pmfs):
        pmf = np.asarray(pmf, np.float64)
        total = math.fsum(pmf.ravel())
        if not total <= 1 + 1e-4:  # float32 sums of a density may exceed 1 a little
            raise InputError(f"pmf {i} must sum to at most 1, found {total}")
        cdfs.append(quantize_pmf(np.append(pmf, max(1 - total, MIN_TAIL_MASS))))
    if not cdfs or len(cdfs) != len(offsets):
        raise InputError(f"expected a pmf for each offset, found {len(cdfs)} and {len(offsets)}")
    return _stack(cdfs, np.asarray(offsets))


def _stack(cdfs, offsets):
    length = np.array([cdf.size for cdf in cdfs], np.int32)
    rows = [np.pad(cdf, (0, length.max() - cdf.size), constant_values=TOTAL) for cdf in cdfs]
    if np.abs(offsets).max() > OFFSET_LIMIT:
        raise InputError(f"offsets must be within +-{OFFSET_LIMIT}, found {offsets}")
    return CdfTables(np.stack(rows), length, offsets.astype(np.int32))
