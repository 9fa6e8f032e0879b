"""y -> z -> hyper features: the hyperprior's two transforms.

With `relu` those of Balle et al. 2018 (sec. 4), else those of Minnen et al. 2018 (table 1).
"""

import flax.linen as nn
import jax

from ycc_jax.nets.layers import Conv, ConvTranspose, leaky_relu

Array = jax.Array


class HyperAnalysis(nn.Module):
    """h_a: latent (B, h, w, M) -> hyper-latent z (B, h/4, w/4, N); h and w multiples of 4.

    Attributes:
      N: channels of all three layers.
      relu: ReLU between them rather than leaky ReLU.
    """

    N: int = 192
    relu: bool = False

    @nn.compact
    def __call__(self, y: Array) -> Array:
        act = jax.nn.relu if self.relu else leaky_relu
        h = act(Conv(self.N, 3)(y))
        h = act(Conv(self.N, 5, 2)(h))
        return Conv(self.N, 5, 2)(h)


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, h/4, w/4, N) -> hyper features (B, h, w, widths[2]).

    Attributes:
      widths: channels after the three layers; (M, 3 M / 2, 2 M) in Minnen 2018, (N, N, M) in
        Balle 2018.
      relu: as in `HyperAnalysis`.
    """

    widths: tuple[int, int, int]
    relu: bool = False

    @nn.compact
    def __call__(self, z: Array) -> Array:
        act = jax.nn.relu if self.relu else leaky_relu
        h = act(ConvTranspose(self.widths[0])(z))
        h = act(ConvTranspose(self.widths[1])(h))
        return Conv(self.widths[2], 3)(h)
