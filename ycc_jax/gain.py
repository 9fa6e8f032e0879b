"""Gain and inverse gain units: one model, a continuous range of rates (Cui et al. 2021, sec. 3).

Level s of S scales channel c of a latent by G[s, c] before rounding and by G'[s, c] after. Between
levels both are interpolated exponentially, G = G[s]^(1-t) * G[s+1]^t. The parameters here are
log G and log G', so the interpolation is linear in them, gains stay positive without a constraint,
and a step of the optimiser changes a gain of 0.01 and one of 100 by the same ratio.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

Array = jax.Array


def level_weights(level: Array, levels: int) -> Array:
    """Interpolation weights (B, levels) of fractional levels (B,), clipped to [0, levels - 1].

    Row b is zero but for 1 - t at floor(level) and t at the next level.
    """
    level = jnp.clip(jnp.asarray(level, jnp.float32), 0, levels - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(level[:, None] - jnp.arange(levels)))


class GainUnits(nn.Module):
    """The pair of gain vectors of one latent; both are 1 at the start.

    Attributes:
      levels: number S of trained rate levels.
      channels: channels C of the latent.
    """

    levels: int
    channels: int

    @nn.compact
    def __call__(self, level: Array) -> tuple[Array, Array]:
        """Fractional levels (B,) -> gain and inverse gain, (B, 1, 1, C) each."""
        weights = level_weights(level, self.levels)
        shape = (self.levels, self.channels)
        log_gain = self.param("log_gain", nn.initializers.zeros, shape)
        log_inverse = self.param("log_inverse", nn.initializers.zeros, shape)
        return tuple(jnp.exp(weights @ g)[:, None, None, :] for g in (log_gain, log_inverse))
