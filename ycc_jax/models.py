"""The differentiable model: a picture to its reconstruction and its bits.

    x -> analysis -> gain -> y ------------- quantize --------------> y_hat -> inverse gain
                             |                ^  mean                   |           |
                             v                |  scale -> bits(y)       v           v
                      hyper analysis   entropy parameters <--------- context    synthesis -> x_hat
                             |                ^
                             v                |
                             z -> gain -> quantize -> inverse gain -> hyper synthesis
                                       |
                                     bits(z)

Every published system is this one model with other arguments (`configs/`). `codec.py` runs the same
stages for real, to bytes.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax import color
from ycc_jax.context import EntropyParameters, MaskedContext
from ycc_jax.entropy import gaussian
from ycc_jax.entropy.factorized import FactorizedDensity
from ycc_jax.gain import GainUnits
from ycc_jax.quantize import add_noise, round_ste
from ycc_jax.transforms.dlec import DlecAnalysis, DlecSynthesis
from ycc_jax.transforms.hyper import HyperAnalysis, HyperSynthesis
from ycc_jax.transforms.joint import JointAnalysis, JointSynthesis

Array = jax.Array

# Stride of z against the picture; y's is 16.
Z_STRIDE = 64


class HyperpriorModel(nn.Module):
    """Transform coding with a hyperprior and an autoregressive context (Minnen et al. 2018).

    Attributes:
      N, M: channels of the transforms (and of z), and of y.
      transform: "joint" (three channels through one stack) or "dlec" (luma and chroma branches).
      color_space: "rgb", or "ycbcr" with `matrix` and `color_range` as in `color.py`.
      activation: "gdn" or "prelu".
      levels: rate levels with gain units on y and z; 0 is a single-rate model.
      level_aware: the entropy-parameter nets see the level (see `context.EntropyParameters`).
      linear_shortcut: the lapped transform beside the DLEC network.
      entropy_width: 0 for the paper's sizes of context, hyper synthesis and entropy-parameter nets
        (which grow with M), else a width E: features of context and hyperprior E, hidden layers
        2 E.
      surrogate: what stands for rounding in training. "noise": uniform noise everywhere (Minnen
        2018). "mixed": noise for the rate of y and z; all that a decoder computes from symbols is
        computed from rounded ones, with a straight-through gradient.
    """

    N: int = 192
    M: int = 320
    transform: str = "dlec"
    color_space: str = "ycbcr"
    matrix: str = "bt601"
    color_range: str = "full"
    activation: str = "prelu"
    levels: int = 8
    level_aware: bool = True
    linear_shortcut: bool = False
    entropy_width: int = 0
    surrogate: str = "noise"

    def setup(self):
        one_of("transform", self.transform, ("joint", "dlec"))
        one_of("color_space", self.color_space, ("rgb", "ycbcr"))
        one_of("surrogate", self.surrogate, ("noise", "mixed"))
        N, M, E = self.N, self.M, self.entropy_width
        if self.level_aware and not self.levels:
            raise ValueError("level_aware expects gain levels, found levels=0")
        if self.transform == "dlec":
            shortcut = self.linear_shortcut
            self.analysis_net = DlecAnalysis(N, M, self.activation, shortcut, name="analysis")
            self.synthesis_net = DlecSynthesis(N, self.activation, shortcut, name="synthesis")
        elif self.linear_shortcut:
            raise ValueError("linear_shortcut expects transform='dlec', found 'joint'")
        else:
            self.analysis_net = JointAnalysis(N, M, self.activation, name="analysis")
            self.synthesis_net = JointSynthesis(N, self.activation, name="synthesis")
        self.hyper_analysis = HyperAnalysis(N)
        self.hyper_synthesis = HyperSynthesis((E, E, E) if E else (M, M * 3 // 2, 2 * M))
        self.context = MaskedContext(E or 2 * M)
        hidden = (2 * E, 2 * E) if E else (M * 10 // 3, M * 8 // 3)
        self.entropy_parameters = EntropyParameters(M, hidden, self.levels * self.level_aware)
        self.density_z = FactorizedDensity(N)
        if self.levels:
            self.gain_y = GainUnits(self.levels, M)
            self.gain_z = GainUnits(self.levels, N)
        if self.level_aware:
            # log of each channel's standard deviation before the gain.
            self.log_std = self.param("log_std", nn.initializers.zeros, (M,))

    # ---- stages, shared by training and by the codec -------------------------------------------

    def gains(self, level: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """((gain, inverse) of y, (gain, inverse) of z) at levels (B,); ones for a single rate."""
        if not self.levels:
            one = jnp.ones((1, 1, 1, 1))
            return (one, one), (one, one)
        return self.gain_y(level), self.gain_z(level)

    def unit(self, level: Array) -> Array | None:
        """Width of y to be expected from its gain alone, (B, 1, 1, M); None if not level-aware."""
        if not self.level_aware:
            return None
        return self.gains(level)[0][0] * jnp.exp(self.log_std)

    def analyse(self, x: Array, level: Array) -> Array:
        """RGB (B, H, W, 3) in [0, 1] -> gained latent y (B, H/16, W/16, M)."""
        (gain, _), _ = self.gains(level)
        return self.analysis_net(self.to_input(x)) * gain

    def synthesise(self, y_hat: Array, level: Array) -> Array:
        """Gained latent y_hat -> RGB (B, H, W, 3), not clipped."""
        (_, inverse), _ = self.gains(level)
        return self.to_rgb(self.synthesis_net(y_hat * inverse))

    def hyper_analyse(self, y: Array, level: Array) -> Array:
        """Gained y -> gained hyper-latent z (B, H/64, W/64, N)."""
        _, (gain, _) = self.gains(level)
        # Widths of y span four decades once gains differ; the inverse hyperbolic sine is linear
        # below the quantiser's step and logarithmic above it.
        return self.hyper_analysis(jnp.arcsinh(y) if self.level_aware else y) * gain

    def hyper_synthesise(self, z_hat: Array, level: Array) -> Array:
        """Gained z_hat -> hyper features (B, H/16, W/16, F)."""
        _, (_, inverse) = self.gains(level)
        return self.hyper_synthesis(z_hat * inverse)

    def parameters(self, hyper: Array, y_hat: Array, level: Array) -> tuple[Array, Array]:
        """Mean and scale of y, from hyper features and the coded part of y_hat.

        Whole latents, hyper (B, h, w, F) and y_hat (B, h, w, M); or single positions, hyper (K, F)
        and their gathered neighbours (K, 12, M), at one level (1,).
        """
        unit = self.unit(level)
        if unit is not None:
            single = y_hat.ndim == 3
            # Comparable channels at every level; 1/4 keeps those that the quantiser drowns small.
            y_hat = y_hat * jax.lax.rsqrt((unit[:, 0] if single else unit) ** 2 + 0.25)
            unit = unit[:, 0, 0] if single else unit
        features = jnp.concatenate([hyper, self.context(y_hat)], axis=-1)
        return self.entropy_parameters(features, level, unit)

    def to_input(self, rgb: Array) -> Array:
        """RGB in [0, 1] -> what the analysis sees: the colour space of the model, centred at 0."""
        if self.color_space == "rgb":
            return rgb - 0.5
        return color.rgb_to_ycbcr(rgb, self.matrix, self.color_range) - 0.5

    def to_rgb(self, x: Array) -> Array:
        """The inverse of `to_input`."""
        if self.color_space == "rgb":
            return x + 0.5
        return color.ycbcr_to_rgb(x + 0.5, self.matrix, self.color_range)

    # ---- the forward pass ----------------------------------------------------------------------

    def __call__(self, x: Array, level: Array, key: Array | None = None) -> dict[str, Any]:
        """One batch, to its reconstruction and its bits.

        Args:
          x: RGB (B, H, W, 3) in [0, 1], H and W multiples of 64.
          level: fractional rate levels (B,), 0 .. levels - 1; ignored by single-rate models.
          key: noise for training; None rounds, as a decoder would.

        Returns:
          x_hat (B, H, W, 3), not clipped; `bits_y` and `bits_z` (B,), the bits of each picture;
          `metrics`, scalars by name: bpp_y, bpp_z and bpp, bits per pixel as means over the batch.

        Raises:
          ValueError: H or W is not a multiple of 64.
        """
        if x.shape[1] % Z_STRIDE or x.shape[2] % Z_STRIDE:
            raise ValueError(f"expected sides that are multiples of {Z_STRIDE}, found {x.shape}")
        y = self.analyse(x, level)

        z = self.hyper_analyse(y, level)
        z_tilde, z_hat = self.surrogates(z, key, 0)
        bits_z = self.density_z(z_tilde)
        hyper = self.hyper_synthesise(z_hat, level)

        y_tilde, y_hat = self.surrogates(y, key, 1)
        if key is None or self.surrogate == "mixed":
            # A decoder's y_hat is round(y - mean) + mean, with the mean of its own context. A first
            # pass over plainly rounded y gives means near enough to stand for that.
            mean, _ = jax.lax.stop_gradient(self.parameters(hyper, y_hat, level))
            y_hat = round_ste(y, mean)
        mean, scale = self.parameters(hyper, y_hat, level)
        if key is None or self.surrogate == "mixed":
            y_hat = round_ste(y, mean)
        bits_y = gaussian.bits(y_hat if key is None else y_tilde, mean, scale)

        bits_y, bits_z = bits_y.sum((1, 2, 3)), bits_z.sum((1, 2, 3))
        pixels = x.shape[1] * x.shape[2]
        bpp_y, bpp_z = bits_y.mean() / pixels, bits_z.mean() / pixels
        metrics = {"bpp_y": bpp_y, "bpp_z": bpp_z, "bpp": bpp_y + bpp_z}
        x_hat = self.synthesise(y_hat, level)
        return {"x_hat": x_hat, "bits_y": bits_y, "bits_z": bits_z, "metrics": metrics}

    def surrogates(self, latent: Array, key: Array | None, fold: int) -> tuple[Array, Array]:
        """What the density sees, and what the decoder side sees, in place of a rounded latent."""
        if key is None:
            return round_ste(latent), round_ste(latent)
        noisy = add_noise(jax.random.fold_in(key, fold), latent)
        return noisy, noisy if self.surrogate == "noise" else round_ste(latent)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """ValueError unless value is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, found {value!r}")


def build(**arguments: Any) -> HyperpriorModel:
    """A model from its arguments, as configs and codec models store them.

    Raises:
      ValueError: an unknown argument; the message lists the known ones.
    """
    known = {f.name for f in dataclasses.fields(HyperpriorModel)} - {"parent", "name"}
    unknown = set(arguments) - known
    if unknown:
        raise ValueError(
            f"unknown model arguments {sorted(unknown)}; expected some of {sorted(known)}"
        )
    return HyperpriorModel(**arguments)
