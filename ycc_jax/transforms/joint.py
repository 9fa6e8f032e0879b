"""x <-> y on three jointly coded channels (Balle et al. 2018, Minnen et al. 2018, table 1).

Four 5x5 stride-2 convolutions with a non-linearity between them; latent stride 16.
"""

import flax.linen as nn
import jax

from ycc_jax.layers import Conv, ConvTranspose, activation

Array = jax.Array


class JointAnalysis(nn.Module):
    """g_a: picture (B, H, W, 3) -> latent y (B, H/16, W/16, M); H and W multiples of 16."""

    N: int = 192
    M: int = 320
    activation: str = "gdn"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(3):
            x = Conv(self.N, 5, 2)(x)
            x = activation(self.activation)(x)
        return Conv(self.M, 5, 2)(x)


class JointSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> picture (B, 16 h, 16 w, 3)."""

    N: int = 192
    activation: str = "gdn"

    @nn.compact
    def __call__(self, y: Array) -> Array:
        for _ in range(3):
            y = ConvTranspose(self.N)(y)
            y = activation(self.activation, inverse=True)(y)
        return ConvTranspose(3)(y)
