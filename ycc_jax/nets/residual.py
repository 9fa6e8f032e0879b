"""x <-> y with most of the work at strides 4 and 8: DLEC, wider there, with residual blocks.

On a CPU and on photographs alike, channels pay more where planes are smaller: the layers at stride
2 are DLEC's (Egilmez et al. 2021), those at strides 4 and 8 have 1.5 and 3 times as many channels,
and between them stand residual bottlenecks (He et al. 2022, "ELIC", fig. 5). With the same names as
in `dlec.py`, so that a trained DLEC network can be grown into this one (`train/start.py`): the
blocks start as the identity.

    analysis   luma 5x5 stride 2, chroma 3x3, 1x1 merge: N; 5x5 stride 2 to 1.5 N, one block;
               5x5 stride 2 to 3 N, three blocks; 5x5 stride 2 to M
    synthesis  its mirror

The last layers start at zero: training starts from the lapped transform (`lapped.py`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.layers import Conv, ConvTranspose, activation

Array = jax.Array

BLOCKS = (1, 3)  # residual blocks at strides 4 and 8
ZEROS = nn.initializers.zeros


def widths(N: int) -> tuple[int, int]:
    """Channels at strides 4 and 8."""
    return 3 * N // 2, 3 * N


class ResidualAnalysis(nn.Module):
    """g_a: luma (B, H, W, 1), chroma (B, H/2, W/2, 2), centred at 0 -> y (B, H/16, W/16, M).

    Attributes:
      N, M: channels at stride 2 and of the latent.
      activation: "prelu" or "gdn", after strided layers.
    """

    N: int
    M: int
    activation: str

    @nn.compact
    def __call__(self, luma: Array, chroma: Array) -> Array:
        def act(h: Array) -> Array:
            return activation(self.activation)(h)

        y = act(Conv(self.N, 5, 2, name="luma")(luma))
        c = act(Conv(self.N, 3, name="chroma")(chroma))
        h = act(Conv(self.N, 1, name="merge")(jnp.concatenate([y, c], axis=-1)))
        for width, blocks in zip(widths(self.N), BLOCKS, strict=True):
            h = act(Conv(width, 5, 2)(h))
            for _ in range(blocks):
                h = Bottleneck()(h)
        y = Conv(self.M, 5, 2, kernel_init=ZEROS, name="latent")(h)
        return y + LappedAnalysis(self.M, name="shortcut")(luma, chroma)


class ResidualSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> luma (B, 16 h, 16 w, 1), chroma (B, 8 h, 8 w, 2).

    Attributes:
      N, activation: as in `ResidualAnalysis`.
    """

    N: int
    activation: str

    @nn.compact
    def __call__(self, y: Array) -> tuple[Array, Array]:
        def act(h: Array) -> Array:
            return activation(self.activation, inverse=True)(h)

        h = y
        for width, blocks in zip(widths(self.N)[::-1], BLOCKS[::-1], strict=True):
            h = act(ConvTranspose(width)(h))
            for _ in range(blocks):
                h = Bottleneck()(h)
        h = act(ConvTranspose(self.N)(h))
        h = act(Conv(2 * self.N, 1, name="split")(h))
        luma, chroma = jnp.split(h, 2, axis=-1)
        luma = ConvTranspose(1, kernel_init=ZEROS, name="luma")(luma)
        chroma = Conv(2, 3, kernel_init=ZEROS, name="chroma")(chroma)
        linear_luma, linear_chroma = LappedSynthesis(name="shortcut")(y)
        return luma + linear_luma, chroma + linear_chroma


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
