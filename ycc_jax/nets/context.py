"""Entropy parameters of y: masked context and 1x1 nets (Minnen et al. 2018, sec. 3 and table 1).

The 5x5 type-A mask leaves 12 taps: two rows above, and two to the left. They are stored as
(12, M, C), so the mask is the shape of the kernel. Training slides it over the whole latent; in a
codec a position's context is one matrix product of its 12 * M neighbours, in integers, gathered for
one wavefront at a time (`wavefront.py`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.nets.gain import level_weights
from ycc_jax.nets.layers import Dense, leaky_relu, widen

Array = jax.Array

# (row, column) of the neighbours, relative to the position coded, in raster order.
TAPS = tuple((i, j) for i in (-2, -1, 0) for j in range(-2, 3) if (i, j) < (0, 0))


class MaskedContext(nn.Module):
    """Features of the already coded neighbourhood; zeros stand beyond the border.

    Attributes:
      features: channels C; the paper's are 2 M.
    """

    features: int

    @nn.compact
    def __call__(self, y_hat: Array) -> Array:
        """Latent (B, h, w, M) -> (B, h, w, C)."""
        shape = (len(TAPS), y_hat.shape[-1], self.features)
        fan_in = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=(0, 1), out_axis=2
        )
        kernel = self.param("kernel", fan_in, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel.astype(y_hat.dtype)

        def conv(taps: Array, pad: list[tuple[int, int]]) -> Array:
            layout = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(y_hat, taps, (1, 1), pad, dimension_numbers=layout)

        # A negative pad drops the row or column that the last output would need but no tap reads.
        above = conv(kernel[:10].reshape(2, 5, *shape[1:]), [(2, -1), (2, 2)])
        left = conv(kernel[10:].reshape(1, 2, *shape[1:]), [(0, 0), (2, -1)])
        return (above + left + bias).astype(y_hat.dtype)


class EntropyParameters(nn.Module):
    """(hyper features, context features) -> mean and scales of y, (..., M) each.

    Attributes:
      M: channels of y.
      widths: channels of the two hidden layers; the paper's are (10 M / 3, 8 M / 3).
      scales: how many scales the density of y has: 1, or 2 for an asymmetric one.
      grid: (), or the grid of rate levels that the nets see (`gain.py`), which no paper has: to
        the first layer's output a learned vector is added, one for each level and interpolated
        between them, and the outputs m, s are relative to `unit`, the width of y to be expected
        from its gain alone: mean = unit * m, scale = unit * exp(s), s clipped to [-8, 8]. Without a
        grid they are mean and scale themselves. What a context sees changes with the level, and so
        the nets need not infer it.
    """

    M: int
    widths: tuple[int, int]
    scales: int = 1
    grid: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, features: Array, level: Array, unit: Array) -> tuple[Array, ...]:
        """features (B, ..., F), level as in `gain`, unit broadcastable to (B, ..., M) -> mean, then
        the scales, in float32 whatever the dtype of the features."""
        h = Dense(self.widths[0], name="hidden_0")(features)
        if self.grid:
            shape = (*self.grid, self.widths[0])
            table = self.param("level", nn.initializers.zeros, shape)
            shift = level_weights(level, self.grid) @ table.reshape(-1, self.widths[0])
            h = (h + shift.reshape(shift.shape[0], *[1] * (h.ndim - 2), -1)).astype(h.dtype)
        h = leaky_relu(h)
        # A mean may be hundreds of quantiser steps, so the last product is in float32.
        h = widen(leaky_relu(Dense(self.widths[1], name="hidden_1")(h)))
        outputs = (1 + self.scales) * self.M
        if not self.grid:
            return split_parameters(Dense(outputs, name="output")(h), self.scales)
        # Zero at the start: every channel then has the mean 0 and the scale its gain suggests.
        h = Dense(outputs, kernel_init=nn.initializers.zeros, name="output")(h)
        mean, *log_scales = split_parameters(h, self.scales)
        return unit * mean, *(unit * jnp.exp(jnp.clip(s, -8.0, 8.0)) for s in log_scales)


def split_parameters(h: Array, scales: int) -> tuple[Array, ...]:
    """(..., (1 + scales) M), the scales first as in CompressAI -> mean, then the scales."""
    *first, mean = jnp.split(h, 1 + scales, axis=-1)
    return mean, *first
