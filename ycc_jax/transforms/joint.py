"""x <-> y on jointly coded planes (Balle et al. 2018, Minnen et al. 2018, table 1).

Four 5x5 convolutions with a non-linearity between them. With the published strides the latent's is
16; planes of half the size take a first stride of 1.
"""

import flax.linen as nn
import jax

from ycc_jax.layers import Conv, ConvTranspose, activation

Array = jax.Array


class JointAnalysis(nn.Module):
    """g_a: planes (B, H, W, C) -> latent y (B, H/s, W/s, M), s the product of the strides.

    Attributes:
      N, M: channels of the hidden layers and of the latent.
      activation: "gdn" (as published) or "prelu".
      first_stride: of the first convolution, 2 (s = 16) or 1 (s = 8).
    """

    N: int = 192
    M: int = 320
    activation: str = "gdn"
    first_stride: int = 2

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for stride in (self.first_stride, 2, 2):
            x = Conv(self.N, 5, stride)(x)
            x = activation(self.activation)(x)
        return Conv(self.M, 5, 2)(x)


class JointSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> planes (B, s h, s w, channels).

    Attributes:
      N, activation: as in `JointAnalysis`.
      last_stride: of the last convolution, 2 (s = 16) or 1 (s = 8).
      channels: planes, 3 for a picture.
    """

    N: int = 192
    activation: str = "gdn"
    last_stride: int = 2
    channels: int = 3

    @nn.compact
    def __call__(self, y: Array) -> Array:
        for _ in range(3):
            y = ConvTranspose(self.N)(y)
            y = activation(self.activation, inverse=True)(y)
        if self.last_stride == 1:
            return Conv(self.channels, 5)(y)
        return ConvTranspose(self.channels)(y)
