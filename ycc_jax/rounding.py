"""Steps without a useful derivative, and what stands for them in training: rounding, bounds.

Latents y are (..., C), in units of the quantiser's step (after the gain).
"""

import jax
import jax.numpy as jnp

Array = jax.Array

Y_BITS = 8
"""In a codec the means of y, and with them y_hat, are integers in 1/256 of the quantiser's step."""


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


@jax.custom_vjp
def lower_bound(x: Array, bound: Array) -> Array:
    """max(x, bound), whose gradient still lets x move back up from below the bound (Balle 2018)."""
    return jnp.maximum(x, bound)


def _lower_bound_fwd(x: Array, bound: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.maximum(x, bound), (x, bound)


def _lower_bound_bwd(residual: tuple[Array, Array], g: Array) -> tuple[Array, None]:
    x, bound = residual
    return jnp.where((x >= bound) | (g < 0), g, 0.0), None


lower_bound.defvjp(_lower_bound_fwd, _lower_bound_bwd)
