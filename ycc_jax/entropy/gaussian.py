"""The Gaussian density of y given mean and scale, convolved with U(-1/2, 1/2).

In training its bits, in a codec the tables that code it. `asymmetric.py` has the same interface.
"""

import jax
import jax.numpy as jnp

from ycc_jax.entropy.tables import (
    NUM_SCALES,
    PLACE_BITS,
    SCALE_TABLE,
    CdfTables,
    gaussian_tables,
)
from ycc_jax.rounding import lower_bound

Array = jax.Array

SCALES = 1
"""Arrays of scales that a symbol has."""

ROWS = NUM_SCALES
"""Rows of `coding_tables`."""

# Below this no probability is trusted in float32; 30 bits, far more than an escape code costs.
LIKELIHOOD_MIN = 1e-9


def bits(y: Array, mean: Array, scale: Array) -> Array:
    """-log2 P(y), elementwise, with P(y) = Phi((y - mean + 1/2)/s) - Phi((y - mean - 1/2)/s).

    Equals the code length of the integer y - mean where that is one, and its differentiable
    stand-in where y carries uniform noise in place of rounding (Balle et al. 2018, sec. 3.1).
    `scale` is bounded to the range of the coder's scale table first.
    """
    scale = bounded(scale)
    # Both terms in the lower tail, where the normal CDF keeps its relative precision.
    distance = jnp.abs(y - mean)
    upper = jax.scipy.stats.norm.cdf((0.5 - distance) / scale)
    lower = jax.scipy.stats.norm.cdf((-0.5 - distance) / scale)
    return -jnp.log2(lower_bound(upper - lower, LIKELIHOOD_MIN))


def bounded(scale: Array) -> Array:
    """scale in the range of `SCALE_TABLE`, 0.11 to 256."""
    return jnp.minimum(lower_bound(scale, SCALE_TABLE[0]), SCALE_TABLE[-1])


def index(place: Array) -> Array:
    """The row of `coding_tables` for each symbol, from its scale's place on the scale table.

    That of the scale of `SCALE_TABLE` whose logarithm is nearest, clipped to the table's ends.

    Args:
      place: int32, 256 * (log scale - LOG_MIN) / LOG_STEP, below 0 and above the table too.
    """
    return jnp.clip((place + (1 << PLACE_BITS - 1)) >> PLACE_BITS, 0, NUM_SCALES - 1)


def coding_tables() -> CdfTables:
    """Frozen integer tables of the symbols y - mean, one a scale of `SCALE_TABLE`."""
    return gaussian_tables()
