"""x <-> y with the work where it pays: a residual analysis, a shallow synthesis.

On a CPU the convolutions of few channels on large planes use the machine worst. So the first
layers overlap, as those of DLEC, but are narrow, and residual blocks work at strides 8 and 16.
Heavy analysis and light synthesis: two layers with an inverse GDN beside a linear path cost a
twentieth of a deep synthesis and lose 8 points of rate to it, which a search at the encoder regains
(Yang & Mandt 2023, "Computationally-Efficient Neural Image Compression with Shallow Decoders",
table 1). Luma and chroma meet as in DLEC, by a 1x1 convolution (Egilmez et al. 2021); the blocks
are those of ELIC (He et al. 2022).

    analysis   luma 5x5 stride 2, chroma 3x3, 1x1 merge; 5x5 stride 2 to N; 5x5 stride 2 to 2 N;
               two residual bottlenecks; 3x3 stride 2 to M
    synthesis  widths evened out, 1x1 to 3 N; two residual bottlenecks at stride 16; overlapping
               patches to N / 4 planes at stride 2, inverse GDN; 5x5 stride 2 to luma, 3x3 to chroma

The last layers start at zero: training starts from the lapped transform (`lapped.py`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.nets.lapped import BLOCK, LappedAnalysis, LappedSynthesis, kept_channels
from ycc_jax.nets.layers import Conv, ConvTranspose, Dense, PReLU, activation

Array = jax.Array

PATCH = 8  # planes at stride 2 that a position of the latent, stride 16, moves by
ZEROS = nn.initializers.zeros


class ShallowAnalysis(nn.Module):
    """g_a: luma (B, H, W, 1), chroma (B, H/2, W/2, 2), centred at 0 -> y (B, H/16, W/16, M).

    Attributes:
      N, M: channels at stride 4 and of the latent.
      activation: "gdn" or "prelu", of all but the residual blocks.
    """

    N: int
    M: int
    activation: str

    @nn.compact
    def __call__(self, luma: Array, chroma: Array) -> Array:
        def act(h: Array) -> Array:
            return activation(self.activation)(h)

        narrow = self.N // 2
        y = act(Conv(narrow, 5, 2, name="luma")(luma))
        c = act(Conv(narrow, 3, name="chroma")(chroma))
        h = act(Conv(narrow, 1, name="merge")(jnp.concatenate([y, c], axis=-1)))
        h = act(Conv(self.N, 5, 2)(h))
        h = act(Conv(2 * self.N, 5, 2)(h))
        for _ in range(2):
            h = Bottleneck()(h)
        y = Conv(self.M, 3, 2, kernel_init=ZEROS, name="latent")(h)
        return y + LappedAnalysis(self.M, name="shortcut")(luma, chroma)


class ShallowSynthesis(nn.Module):
    """g_s: latent y_hat (B, h, w, M) -> luma (B, 16 h, 16 w, 1), chroma (B, 8 h, 8 w, 2).

    Attributes:
      N: as in `ShallowAnalysis`.
    """

    N: int

    @nn.compact
    def __call__(self, y: Array) -> tuple[Array, Array]:
        h = PReLU()(Conv(3 * self.N, 1)(y / expected_widths(y.shape[-1])))
        for _ in range(2):
            h = Bottleneck()(h)
        planes = self.N // 4
        h = overlap_add(Dense((2 * PATCH) ** 2 * planes, name="patches")(h), PATCH)
        h = activation("gdn", inverse=True)(h + self.param("bias", ZEROS, (planes,)))
        luma = ConvTranspose(1, kernel_init=ZEROS, name="luma")(h)
        chroma = Conv(2, 3, kernel_init=ZEROS, name="chroma")(h)
        linear_luma, linear_chroma = LappedSynthesis(name="shortcut")(y)
        return luma + linear_luma, chroma + linear_chroma


class Bottleneck(nn.Module):
    """x + 1x1(3x3(1x1(x))), half as wide inside, (B, h, w, C) -> same (He et al. 2022, fig. 5).

    The last of the three starts at zero.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        channels = x.shape[-1]
        h = PReLU()(Conv(channels // 2, 1)(x))
        h = PReLU()(Conv(channels // 2, 3)(h))
        return x + Conv(channels, 1, kernel_init=ZEROS)(h)


def expected_widths(M: int) -> Array:
    """Standard deviations (M,), roughly, that the lapped transform's channels have on photographs.

    The spectrum of photographs falls as 1 / frequency (Field 1987), so the channels of y differ
    three hundredfold: a network that reads them as they are sees the lowest alone. Frequency 1/4
    stands for the mean of a block; the factors are those of samples in [0, 1].
    """
    channel = kept_channels(M)
    is_luma = channel < BLOCK**2
    side = np.where(is_luma, BLOCK, BLOCK // 2)
    u, v = np.divmod(np.where(is_luma, channel, (channel - BLOCK**2) % side**2), side)
    return jnp.asarray(np.where(is_luma, 0.55, 0.1) * np.maximum(np.hypot(u, v), 0.25) ** -1.1)


def overlap_add(patches: Array, n: int) -> Array:
    """Sums patches of 2 n x 2 n that lie n apart: (B, h, w, 4 n^2 C) -> (B, n h, n w, C).

    A patch holds rows, columns, channels in this order; what the outer ones have beyond the border
    is cut off, n / 2 on every side.
    """
    b, h, w, values = patches.shape
    x = patches.reshape(b, h, w, 2, n, 2, n, values // (2 * n) ** 2)
    for axis, half in ((1, 3), (2, 4)):  # of rows, then of columns, which have moved up by one
        first, second = jnp.moveaxis(x, half, 0)
        ends = [(0, 0)] * first.ndim
        ends[axis] = (0, 1)
        x = jnp.pad(first, ends)
        ends[axis] = (1, 0)
        x = x + jnp.pad(second, ends)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, (h + 1) * n, (w + 1) * n, -1)
    return x[:, n // 2 : -(n // 2), n // 2 : -(n // 2)]
