"""x <-> y for luma and half-size chroma (Egilmez et al. 2021, "Transform Network Architectures").

Three layouts of that paper, as the argument `layout`; in each the latent's stride is 16 luma
samples:

  branched     luma enters at full size through a 5x5 stride-2 convolution, chroma through a 3x3
               one; a 1x1 convolution mixes the two feature maps; then Minnen's trunk (DLEC).
  six_channel  luma is rearranged to four planes of half size (space to depth) and stacked on Cb
               and Cr: one network of six channels, whose first layer has stride 1.
  separate     two networks that share nothing: luma's has 3/4 of the latent's channels, chroma's
               1/4. (The entropy model that codes their latents is one, unlike the paper's.)

PReLU stands in place of GDN. The layer tables of the paper's adapted networks are not published in
a form we could read; kernels and widths of `six_channel` and `separate` are those of Minnen 2018.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.nets.joint import JointAnalysis, JointSynthesis
from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.layers import Conv, ConvTranspose, activation

Array = jax.Array

LAYOUTS = ("branched", "six_channel", "separate")


class DlecAnalysis(nn.Module):
    """g_a: luma (B, H, W, 1), chroma (B, H/2, W/2, 2), centred at 0 -> y (B, H/16, W/16, M).

    Attributes:
      N, M: channels of the trunk and of the latent.
      activation: "prelu" (the paper's choice) or "gdn".
      linear_shortcut: adds a lapped block transform of the picture to y; the last convolution of
        the trunk then starts at zero, so that training starts from a working transform codec.
      layout: see the module docstring.
    """

    N: int = 192
    M: int = 320
    activation: str = "prelu"
    linear_shortcut: bool = False
    layout: str = "branched"

    @nn.compact
    def __call__(self, luma: Array, chroma: Array) -> Array:
        def act(h: Array) -> Array:
            return activation(self.activation)(h)

        if self.layout == "separate":
            m = luma_channels(self.M)
            y = JointAnalysis(self.N, m, self.activation, name="luma")(luma)
            c = JointAnalysis(self.N, self.M - m, self.activation, 1, name="chroma")(chroma)
            return jnp.concatenate([y, c], axis=-1)
        if self.layout == "branched":
            y = act(Conv(self.N, 5, 2, name="luma")(luma))
            c = act(Conv(self.N, 3, 1, name="chroma")(chroma))
            h = act(Conv(self.N, 1, name="merge")(jnp.concatenate([y, c], axis=-1)))
        else:
            planes = jnp.concatenate([space_to_depth(luma), chroma], axis=-1)
            h = act(Conv(self.N, 5, name="planes")(planes))
        for _ in range(2):
            h = act(Conv(self.N, 5, 2)(h))
        if not self.linear_shortcut:
            return Conv(self.M, 5, 2, name="latent")(h)
        y = Conv(self.M, 5, 2, kernel_init=nn.initializers.zeros, name="latent")(h)
        return y + LappedAnalysis(self.M, name="shortcut")(luma, chroma)


class DlecSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> luma (B, 16 h, 16 w, 1), chroma (B, 8 h, 8 w, 2).

    The mirror of `DlecAnalysis`, with its attributes; with `linear_shortcut` the last layers start
    at zero and the inverse lapped transform carries the picture.
    """

    N: int = 192
    activation: str = "prelu"
    linear_shortcut: bool = False
    layout: str = "branched"

    @nn.compact
    def __call__(self, y: Array) -> tuple[Array, Array]:
        def act(h: Array) -> Array:
            return activation(self.activation, inverse=True)(h)

        if self.layout == "separate":
            luma, chroma = jnp.split(y, [luma_channels(y.shape[-1])], axis=-1)
            luma = JointSynthesis(self.N, self.activation, 2, 1, name="luma")(luma)
            return luma, JointSynthesis(self.N, self.activation, 1, 2, name="chroma")(chroma)
        h = y
        for _ in range(3):
            h = act(ConvTranspose(self.N)(h))
        init = nn.initializers.zeros if self.linear_shortcut else nn.initializers.lecun_normal()
        if self.layout == "branched":
            h = act(Conv(2 * self.N, 1, name="split")(h))
            luma, chroma = jnp.split(h, 2, axis=-1)
            luma = ConvTranspose(1, kernel_init=init, name="luma")(luma)
            chroma = Conv(2, 3, 1, kernel_init=init, name="chroma")(chroma)
        else:
            planes = Conv(6, 5, kernel_init=init, name="planes")(h)
            luma, chroma = depth_to_space(planes[..., :4]), planes[..., 4:]
        if self.linear_shortcut:
            linear_luma, linear_chroma = LappedSynthesis(name="shortcut")(y)
            luma, chroma = luma + linear_luma, chroma + linear_chroma
        return luma, chroma


def luma_channels(M: int) -> int:
    """Channels of the latent that luma has in the layout "separate": 3/4."""
    return M - M // 4


def space_to_depth(luma: Array) -> Array:
    """(B, H, W, 1) -> (B, H/2, W/2, 4): the samples of each 2x2 block, in raster order."""
    b, h, w, _ = luma.shape
    blocks = luma.reshape(b, h // 2, 2, w // 2, 2)
    return blocks.transpose(0, 1, 3, 2, 4).reshape(b, h // 2, w // 2, 4)


def depth_to_space(planes: Array) -> Array:
    """(B, h, w, 4) -> (B, 2 h, 2 w, 1): undoes `space_to_depth`."""
    b, h, w, _ = planes.shape
    blocks = planes.reshape(b, h, w, 2, 2)
    return blocks.transpose(0, 1, 3, 2, 4).reshape(b, 2 * h, 2 * w, 1)
