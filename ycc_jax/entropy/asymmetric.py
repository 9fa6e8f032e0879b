"""The asymmetric Gaussian density of y: one mode, another scale on either side of it.

Cui et al. 2021, "Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation", give y
two halves of Gaussians that meet at the mode `mean`,

    p(y) = 2 / (s_l + s_r) phi((y - mean) / s),   s = s_l below the mean and s_r above it,

phi the standard normal density. Hence s_l / (s_l + s_r) of the mass lies to the left. As in
`gaussian.py`, whose interface this is, P is p convolved with U(-1/2, 1/2).

The tables are a grid over u = (s_l + s_r) / 2 and theta = arcsin((s_r - s_l) / (s_r + s_l)): what
coding p with a neighbour of it costs is, to second order, (d log u)^2 + 3/2 (d theta)^2 nats, the
same everywhere and without a mixed term (the Fisher information of p). As many rows over the
geometric mean and log(s_r / s_l) measured 1.4 times the excess on average, and 2 times at worst.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr, ndtri

from ycc_jax.entropy import gaussian
from ycc_jax.entropy.gaussian import LIKELIHOOD_MIN
from ycc_jax.entropy.tables import (
    LOG_STEP,
    NUM_SCALES,
    PLACE_BITS,
    SCALE_TABLE,
    TAIL_MASS,
    CdfTables,
    tables_from_pmf,
)
from ycc_jax.rounding import lower_bound

Array = jax.Array

SCALES = 2
"""Arrays of scales that a symbol has: the left one, then the right one."""

# A larger scale is at most this many times the smaller. It is all that a latent needs: of a
# half-normal one of scale 4 the best fit costs 0.0032 bit, as without the limit, of an exponential
# one 0.097 bit, 0.089 without; a ratio of 8 would cost 0.126 there, a Gaussian 0.52.
MAX_RATIO = 16.0

NUM_SKEWS = 15  # odd, so that the middle one is the Gaussian
SKEW_STEP = 2 * math.asin((MAX_RATIO - 1) / (MAX_RATIO + 1)) / NUM_SKEWS

UNITS = (1 << PLACE_BITS) / LOG_STEP  # of places on the scale table, to one of the logarithm

ROWS = NUM_SKEWS * gaussian.ROWS
"""Rows of `coding_tables`."""


def bits(y: Array, mean: Array, left: Array, right: Array) -> Array:
    """-log2 P(y), elementwise; with left = right it is `gaussian.bits`.

    Args:
      y: any shape; y - mean an integer, or y with uniform noise in place of rounding.
      mean: the mode, of y's shape.
      left, right: s_l and s_r, both of y's shape. Each is bounded to the range of the coder's scale
        table, 0.11 to 256, and then the smaller one to 1 / MAX_RATIO of the larger; below a bound,
        the gradient still lets it grow.

    Returns:
      Bits, of y's shape, at most -log2(LIKELIHOOD_MIN).
    """
    left, right = _bounded(left, right)
    d = y - mean
    mass = left * _left_half(d, left) + right * _left_half(-d, right)
    return -jnp.log2(lower_bound(2 * mass / (left + right), LIKELIHOOD_MIN))


# In places on the scale table: the largest difference of the scales; twice what log u lies above
# the mean of their logarithms, log cosh of half the difference; and at what differences theta is
# nearer to the next skew. Rounded from float64, none nearer to a tie than a libm could err.
_MOST_APART = round(math.log(MAX_RATIO) * UNITS)
_ABOVE_MEAN = np.round(
    2 * UNITS * np.log(np.cosh(np.arange(_MOST_APART + 1) / (2 * UNITS)))
).astype(np.int32)
_NEXT_SKEW = np.ceil(
    UNITS * 2 * np.arctanh(np.sin((np.arange(NUM_SKEWS // 2) + 0.5) * SKEW_STEP))
).astype(np.int32)


def index(left: Array, right: Array) -> Array:
    """The row of `coding_tables` for each symbol, from its scales' places on the scale table.

    The nearest one in log u and in theta, of the scales bounded as in `bits`. Row NUM_SKEWS * i + j
    has scale i of `SCALE_TABLE` for u, and (j - NUM_SKEWS // 2) * SKEW_STEP for theta.

    Args:
      left, right: places as in `gaussian.index`.
    """
    top = (NUM_SCALES - 1) << PLACE_BITS
    left, right = jnp.clip(left, 0, top), jnp.clip(right, 0, top)
    left, right = jnp.maximum(left, right - _MOST_APART), jnp.maximum(right, left - _MOST_APART)
    apart = jnp.abs(right - left)
    skew = (apart[..., None] >= _NEXT_SKEW).sum(-1, dtype=jnp.int32) * jnp.sign(right - left)
    # log u = (log left + log right) / 2 + log cosh((log right - log left) / 2)
    place = (left + right + jnp.asarray(_ABOVE_MEAN)[apart] + 1) >> 1
    return NUM_SKEWS * gaussian.index(place) + skew + NUM_SKEWS // 2


def coding_tables() -> CdfTables:
    """Frozen integer tables of the symbols y - mean, a row for each u and theta (`index`).

    Supports are -K_l..K_r, the smallest that leave at most `TAIL_MASS` outside, of which each side
    has its share. 960 rows of up to 1881 entries: 7.2 MB, built in 0.3 s.

    What the symbols cost above their entropy, escapes and the rounding to a row included, measured
    on 1500 random densities within the bounds of `bits`, log-uniform in the geometric mean of the
    scales and in their ratio: 0.0053 bit on average, 0.11 % of the mean entropy, and at most
    0.018 bit. With the geometric mean in 0.3 to 8 only, 0.0048 bit, 0.15 %. Rounding u to
    `SCALE_TABLE` has 0.0018 bit of that, as for the Gaussian.
    """
    most = NUM_SKEWS // 2
    reach = -ndtri(TAIL_MASS / 2)  # in scales, on either side
    pmfs, offsets = [], []
    for u in SCALE_TABLE:
        for skew in range(-most, most + 1):
            difference = math.sin(skew * SKEW_STEP)
            # At the ends of the table, no symbol has the scales beyond them.
            scales = np.clip([u * (1 - difference), u * (1 + difference)], *SCALE_TABLE[[0, -1]])
            halves = []
            for scale in scales:
                # Edges of the bins 0, 1, .. K in the lower tail; only half of bin 0 is on a side.
                edges = np.arange(max(math.ceil(reach * scale - 0.5), 0) + 2) - 0.5
                outside = ndtr(-np.maximum(edges, 0) / scale)
                halves.append(2 * scale / scales.sum() * (outside[:-1] - outside[1:]))
            left, right = halves
            pmfs.append(np.concatenate([left[:0:-1], [left[0] + right[0]], right[1:]]))
            offsets.append(1 - left.size)
    return tables_from_pmf(pmfs, np.array(offsets))


def _bounded(left: Array, right: Array) -> tuple[Array, Array]:
    left, right = gaussian.bounded(left), gaussian.bounded(right)
    return lower_bound(left, right / MAX_RATIO), lower_bound(right, left / MAX_RATIO)


def _left_half(d: Array, scale: Array) -> Array:
    """N(0, scale^2)'s mass in the part below 0 of the bin around d, from the lower tail alone."""
    cdf = jax.scipy.stats.norm.cdf
    return cdf(jnp.minimum(d + 0.5, 0) / scale) - cdf(jnp.minimum(d - 0.5, 0) / scale)
