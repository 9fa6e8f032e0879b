"""Rounding of latents, and what stands for it in training.

All functions take y, (..., C), in units of the quantiser's step (after the gain).
"""

import jax
import jax.numpy as jnp

Array = jax.Array


def quantize(y: Array, mean: Array | float = 0.0) -> Array:
    """Symbols round(y - mean), as integers in floating point; `dequantize` undoes it."""
    return jnp.round(y - mean)


def dequantize(symbols: Array, mean: Array | float = 0.0) -> Array:
    """y_hat = symbols + mean."""
    return symbols + mean


def add_noise(key: Array, y: Array) -> Array:
    """y + U(-1/2, 1/2): the differentiable stand-in for rounding (Balle et al. 2017)."""
    return y + jax.random.uniform(key, y.shape, y.dtype, -0.5, 0.5)


def round_ste(y: Array, mean: Array | float = 0.0) -> Array:
    """round(y - mean) + mean forward, the identity backward (straight-through)."""
    return y + jax.lax.stop_gradient(dequantize(quantize(y, mean), mean) - y)
