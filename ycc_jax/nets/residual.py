"""x <-> y with most of the work at strides 4 and 8: DLEC, wider there, with residual blocks.

On a CPU and on photographs alike, channels pay more where planes are smaller: the layers at stride
2 are DLEC's (Egilmez et al. 2021), those at strides 4 and 8 have more channels, and between them
stand residual bottlenecks (He et al. 2022, "ELIC", fig. 5). With the same names as in `dlec.py`, so
that a trained DLEC network can be grown into this one (`train/start.py`): the blocks start as the
identity.

    analysis   luma 5x5 stride 2, chroma 3x3, 1x1 merge: widths[0]; 5x5 stride 2 to widths[1],
               blocks[0]; 5x5 stride 2 to widths[2], blocks[1]; 5x5 stride 2 to M
    synthesis  its mirror

The last layers start at zero: training starts from the lapped transform (`lapped.py`).

One network for rates that differ fortyfold is a compromise at each. With a grid of levels every
layer's output is scaled and shifted, channel by channel, by what was learned for the level
(`AtLevel`; after Choi et al. 2019, "Variable rate deep image compression with a conditional
autoencoder", sec. 3).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.nets.gain import level_weights
from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.layers import Conv, ConvTranspose, activation

Array = jax.Array

ZEROS = nn.initializers.zeros


class ResidualAnalysis(nn.Module):
    """g_a: luma (B, H, W, 1), chroma (B, H/2, W/2, 2), centred at 0 -> y (B, H/16, W/16, M).

    Attributes:
      widths: channels at strides 2, 4 and 8.
      blocks: residual blocks at strides 4 and 8.
      M: channels of the latent.
      activation: "prelu" or "gdn", after strided layers.
      grid: of the levels that the layers know; () if they know none, and level, as in
        `gain.level_weights`, does not matter.
    """

    widths: tuple[int, int, int]
    blocks: tuple[int, int]
    M: int
    activation: str
    grid: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, luma: Array, chroma: Array, level: Array) -> Array:
        def act(h: Array) -> Array:
            h = activation(self.activation)(h)
            return AtLevel(self.grid)(h, level) if self.grid else h

        N, *widths = self.widths
        y = activation(self.activation)(Conv(N, 5, 2, name="luma")(luma))
        c = activation(self.activation)(Conv(N, 3, name="chroma")(chroma))
        h = act(Conv(N, 1, name="merge")(jnp.concatenate([y, c], axis=-1)))
        for width, blocks in zip(widths, self.blocks, strict=True):
            h = act(Conv(width, 5, 2)(h))
            for _ in range(blocks):
                h = Bottleneck()(h)
        y = Conv(self.M, 5, 2, kernel_init=ZEROS, name="latent")(h)
        return y + LappedAnalysis(self.M, name="shortcut")(luma, chroma)


class ResidualSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> luma (B, 16 h, 16 w, 1), chroma (B, 8 h, 8 w, 2).

    Attributes: as of `ResidualAnalysis`.
    """

    widths: tuple[int, int, int]
    blocks: tuple[int, int]
    activation: str
    grid: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, y: Array, level: Array) -> tuple[Array, Array]:
        def act(h: Array) -> Array:
            h = activation(self.activation, inverse=True)(h)
            return AtLevel(self.grid)(h, level) if self.grid else h

        h, (N, *widths) = y, self.widths
        for width, blocks in zip(widths[::-1], self.blocks[::-1], strict=True):
            h = act(ConvTranspose(width)(h))
            for _ in range(blocks):
                h = Bottleneck()(h)
        h = act(ConvTranspose(N)(h))
        h = act(Conv(2 * N, 1, name="split")(h))
        luma, chroma = jnp.split(h, 2, axis=-1)
        luma = ConvTranspose(1, kernel_init=ZEROS, name="luma")(luma)
        chroma = Conv(2, 3, kernel_init=ZEROS, name="chroma")(chroma)
        linear_luma, linear_chroma = LappedSynthesis(name="shortcut")(y)
        return luma + linear_luma, chroma + linear_chroma


class AtLevel(nn.Module):
    """x (B, h, w, C) times a factor, plus a shift, of each channel at a level -> same.

    Learned for each point of the grid of levels and interpolated between them, the factor in its
    logarithm; the identity at the start. Level as in `gain.level_weights`: (B,) or (B, 1), or
    (B, 2) on a grid of two axes.
    """

    grid: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array, level: Array) -> Array:
        channels = x.shape[-1]
        table = self.param("level", ZEROS, (*self.grid, 2 * channels))
        values = level_weights(level, self.grid) @ table.reshape(-1, 2 * channels)
        log_factor, shift = jnp.split(values[:, None, None, :], 2, axis=-1)
        return (x * jnp.exp(log_factor) + shift).astype(x.dtype)


class Bottleneck(nn.Module):
    """x + 1x1(3x3(1x1(x))), half as wide inside, (B, h, w, C) -> same (He et al. 2022, fig. 5).

    The last of the three starts at zero.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        h = activation("prelu")(Conv(channels // 2, 1)(x))
        h = activation("prelu")(Conv(channels // 2, 3)(h))
        return x + Conv(channels, 1, kernel_init=ZEROS)(h)
