"""x <-> y with luma and chroma branches joined by a 1x1 convolution (Egilmez et al. 2021, DLEC).

Luma enters at full size through a 5x5 stride-2 convolution, chroma at half size through a 3x3 one;
a 1x1 convolution mixes the two feature maps, and the rest is Minnen's trunk with PReLU in place of
GDN. A 4:4:4 picture has its chroma averaged 2x2 on the way in and interpolated on the way out.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.color import downsample_chroma, upsample_chroma
from ycc_jax.layers import Conv, ConvTranspose, activation
from ycc_jax.transforms.lapped import LappedAnalysis, LappedSynthesis

Array = jax.Array


class DlecAnalysis(nn.Module):
    """g_a: YCbCr 4:4:4 (B, H, W, 3), centred at 0 -> latent y (B, H/16, W/16, M).

    Attributes:
      N, M: channels of the trunk and of the latent.
      activation: "prelu" (the paper's choice) or "gdn".
      linear_shortcut: adds a lapped block transform of the picture to y; the last convolution of
        the trunk then starts at zero, so that training starts from a working transform codec.
    """

    N: int = 192
    M: int = 320
    activation: str = "prelu"
    linear_shortcut: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        luma, chroma = x[..., :1], downsample_chroma(x[..., 1:])
        y_branch = activation(self.activation)(Conv(self.N, 5, 2, name="luma")(luma))
        c_branch = activation(self.activation)(Conv(self.N, 3, 1, name="chroma")(chroma))
        h = jnp.concatenate([y_branch, c_branch], axis=-1)
        h = activation(self.activation)(Conv(self.N, 1, name="merge")(h))
        for _ in range(2):
            h = activation(self.activation)(Conv(self.N, 5, 2)(h))
        if not self.linear_shortcut:
            return Conv(self.M, 5, 2, name="latent")(h)
        y = Conv(self.M, 5, 2, kernel_init=nn.initializers.zeros, name="latent")(h)
        return y + LappedAnalysis(self.M, name="shortcut")(luma, chroma)


class DlecSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> YCbCr 4:4:4 (B, 16 h, 16 w, 3), centred at 0.

    The mirror of `DlecAnalysis`; with `linear_shortcut` the last layers of both branches start at
    zero and the inverse lapped transform carries the picture.
    """

    N: int = 192
    activation: str = "prelu"
    linear_shortcut: bool = False

    @nn.compact
    def __call__(self, y: Array) -> Array:
        h = y
        for _ in range(3):
            h = activation(self.activation, inverse=True)(ConvTranspose(self.N)(h))
        h = Conv(2 * self.N, 1, name="split")(h)
        luma, chroma = jnp.split(activation(self.activation, inverse=True)(h), 2, axis=-1)
        init = nn.initializers.zeros if self.linear_shortcut else nn.initializers.lecun_normal()
        luma = ConvTranspose(1, kernel_init=init, name="luma")(luma)
        chroma = Conv(2, 3, 1, kernel_init=init, name="chroma")(chroma)
        if self.linear_shortcut:
            linear_luma, linear_chroma = LappedSynthesis(name="shortcut")(y)
            luma, chroma = luma + linear_luma, chroma + linear_chroma
        return jnp.concatenate([luma, upsample_chroma(chroma)], axis=-1)
