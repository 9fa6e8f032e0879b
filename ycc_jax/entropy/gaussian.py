"""Density of y given mean and scale, in training: bits of a Gaussian convolved with U(-1/2, 1/2).

The coder's side of the same density is `tables.gaussian_tables`.
"""

import jax
import jax.numpy as jnp

from ycc_jax.entropy.tables import SCALE_TABLE
from ycc_jax.layers import lower_bound

Array = jax.Array

# Below this no probability is trusted in float32; 30 bits, far more than an escape code costs.
LIKELIHOOD_MIN = 1e-9


def bits(y: Array, mean: Array, scale: Array) -> Array:
    """-log2 P(y), elementwise, with P(y) = Phi((y - mean + 1/2)/s) - Phi((y - mean - 1/2)/s).

    Equals the code length of the integer y - mean where that is one, and its differentiable
    stand-in where y carries uniform noise in place of rounding (Balle et al. 2018, sec. 3.1).
    `scale` is bounded to the range of the coder's scale table first.
    """
    scale = jnp.minimum(lower_bound(scale, SCALE_TABLE[0]), SCALE_TABLE[-1])
    # Both terms in the lower tail, where the normal CDF keeps its relative precision.
    distance = jnp.abs(y - mean)
    upper = jax.scipy.stats.norm.cdf((0.5 - distance) / scale)
    lower = jax.scipy.stats.norm.cdf((-0.5 - distance) / scale)
    return -jnp.log2(lower_bound(upper - lower, LIKELIHOOD_MIN))
