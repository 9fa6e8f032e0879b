"""Gain and inverse gain units: one model, a continuous range of rates (Cui et al. 2021, sec. 3).

Level s of S scales channel c of a latent by G[s, c] before rounding and by G'[s, c] after. Between
levels both are interpolated exponentially, G = G[s]^(1-t) * G[s+1]^t. The parameters here are
log G and log G', so the interpolation is linear in them, gains stay positive without a constraint,
and a step of the optimiser changes a gain of 0.01 and one of 100 by the same ratio.

With a second axis the levels are a grid, rate x weight of chroma, after Ulas & Tekalp 2022: one
model then also trades chroma for luma at one rate. Between its points the interpolation is bilinear
in the logarithms.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def level_weights(level: Array, grid: tuple[int, ...]) -> Array:
    """Interpolation weights of the points of a grid of levels.

    Args:
      level: fractional positions, (B,) or (B, 1) on a line of grid[0] levels, (B, 2) on a grid;
        clipped to it.
      grid: number of levels along each axis.

    Returns:
      (B, product of grid), the last axis fastest; a row has at most two nonzero weights an axis,
      1 - t at floor(level) and t at the next level, and sums to 1.
    """
    level = jnp.asarray(level, jnp.float32)
    level = level.reshape(level.shape[0], len(grid))
    weights = jnp.ones((level.shape[0], 1))
    for axis, n in enumerate(grid):
        position = jnp.clip(level[:, axis, None], 0, n - 1)
        line = jnp.maximum(0.0, 1.0 - jnp.abs(position - jnp.arange(n)))
        weights = (weights[:, :, None] * line[:, None, :]).reshape(level.shape[0], -1)
    return weights


def check_level(level: Array, grid: tuple[int, ...]) -> None:
    """ValueError unless levels are of the shape that `level_weights` takes, and on the grid.

    Whether they are on it is seen of concrete ones only, not of those that JAX traces.
    """
    expected = f"(B, {len(grid)}){' or (B,)' if len(grid) == 1 else ''}"
    shape = jnp.shape(level)
    if shape[1:] != (len(grid),) and not (len(grid) == 1 and len(shape) == 1):
        raise ValueError(f"expected levels of shape {expected}, found {shape}")
    if isinstance(level, jax.core.Tracer):
        return
    positions = np.asarray(level).reshape(-1, len(grid))
    for axis, n in enumerate(grid):
        beyond = positions[~((positions[:, axis] >= 0) & (positions[:, axis] <= n - 1)), axis]
        if beyond.size:
            name = ("rate levels", "levels of chroma")[axis]
            raise ValueError(f"expected {name} from 0 to {n - 1}, found {beyond[0]:g}")


def chroma_position(chroma: float, chroma_weights: tuple[float, ...]) -> float:
    """Fractional position of a chroma weight among those trained, linear in its logarithm.

    Beyond the first or last of `chroma_weights`, which ascend, it is that of the first or last.
    """
    return float(np.interp(np.log(chroma), np.log(chroma_weights), np.arange(len(chroma_weights))))


class GainUnits(nn.Module):
    """The pair of gain vectors of one latent; both are 1 at the start.

    Attributes:
      grid: number of trained levels along each axis: (S,) rates, or (S, A) rates x chroma weights.
      channels: channels C of the latent.
    """

    grid: tuple[int, ...]
    channels: int

    @nn.compact
    def __call__(self, level: Array) -> tuple[Array, Array]:
        """Fractional levels, as in `level_weights` -> gain and inverse gain, (B, 1, 1, C) each."""
        weights = level_weights(level, self.grid)
        shape = (*self.grid, self.channels)
        log_gain = self.param("log_gain", nn.initializers.zeros, shape)
        log_inverse = self.param("log_inverse", nn.initializers.zeros, shape)

        def at_level(logs: Array) -> Array:
            return jnp.exp(weights @ logs.reshape(-1, self.channels))[:, None, None, :]

        return at_level(log_gain), at_level(log_inverse)
