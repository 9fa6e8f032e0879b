"""x <-> y on jointly coded planes (Balle et al. 2018, Minnen et al. 2018, table 1).

Four 5x5 convolutions with a non-linearity between them. With the published strides the latent's is
16; planes of half the size take a first stride of 1.
"""

import flax.linen as nn
import jax

from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.layers import Conv, ConvTranspose, activation
from ycc_jax.pictures.color import rgb_to_ycbcr420, ycbcr420_to_rgb

Array = jax.Array


class JointAnalysis(nn.Module):
    """g_a: planes (B, H, W, C) -> latent y (B, H/s, W/s, M), s the product of the strides.

    Attributes:
      N, M: channels of the hidden layers and of the latent.
      activation: "gdn" (as published) or "prelu".
      first_stride: of the first convolution, 2 (s = 16) or 1 (s = 8).
      linear_shortcut: of RGB centred at 0; adds the lapped transform of its YCbCr to y. The last
        convolution then starts at zero.
    """

    N: int = 192
    M: int = 320
    activation: str = "gdn"
    first_stride: int = 2
    linear_shortcut: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = x
        for stride in (self.first_stride, 2, 2):
            h = Conv(self.N, 5, stride)(h)
            h = activation(self.activation)(h)
        if not self.linear_shortcut:
            return Conv(self.M, 5, 2)(h)
        y = Conv(self.M, 5, 2, kernel_init=nn.initializers.zeros)(h)
        luma, chroma = rgb_to_ycbcr420(x + 0.5)
        return y + LappedAnalysis(self.M, name="shortcut")(luma - 0.5, chroma - 0.5)


class JointSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> planes (B, s h, s w, channels).

    Attributes:
      N, activation: as in `JointAnalysis`.
      last_stride: of the last convolution, 2 (s = 16) or 1 (s = 8).
      channels: planes, 3 for a picture.
      linear_shortcut: as in `JointAnalysis`.
    """

    N: int = 192
    activation: str = "gdn"
    last_stride: int = 2
    channels: int = 3
    linear_shortcut: bool = False

    @nn.compact
    def __call__(self, y: Array) -> Array:
        h = y
        for _ in range(3):
            h = ConvTranspose(self.N)(h)
            h = activation(self.activation, inverse=True)(h)
        if self.last_stride == 1:
            return Conv(self.channels, 5)(h)
        if not self.linear_shortcut:
            return ConvTranspose(self.channels)(h)
        x = ConvTranspose(self.channels, kernel_init=nn.initializers.zeros)(h)
        luma, chroma = LappedSynthesis(name="shortcut")(y)
        return x + ycbcr420_to_rgb(luma + 0.5, chroma + 0.5) - 0.5
