"""y -> z -> hyper features: the hyperprior's two transforms (Minnen et al. 2018, table 1)."""

import flax.linen as nn
import jax

from ycc_jax.layers import Conv, ConvTranspose, leaky_relu

Array = jax.Array


class HyperAnalysis(nn.Module):
    """h_a: latent (B, h, w, M) -> hyper-latent z (B, h/4, w/4, N); h and w multiples of 4."""

    N: int = 192

    @nn.compact
    def __call__(self, y: Array) -> Array:
        h = leaky_relu(Conv(self.N, 3)(y))
        h = leaky_relu(Conv(self.N, 5, 2)(h))
        return Conv(self.N, 5, 2)(h)


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, h/4, w/4, N) -> hyper features (B, h, w, widths[2]).

    Attributes:
      widths: channels after the three layers; the paper's are (M, 3 M / 2, 2 M).
    """

    widths: tuple[int, int, int]

    @nn.compact
    def __call__(self, z: Array) -> Array:
        h = leaky_relu(ConvTranspose(self.widths[0])(z))
        h = leaky_relu(ConvTranspose(self.widths[1])(h))
        return Conv(self.widths[2], 3)(h)
