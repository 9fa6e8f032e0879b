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

from ycc_jax.arguments import check
from ycc_jax.entropy import factorized
from ycc_jax.entropy.tables import CdfTables
from ycc_jax.nets.dlec import DlecAnalysis, DlecSynthesis
from ycc_jax.nets.gain import GainUnits
from ycc_jax.nets.joint import JointAnalysis, JointSynthesis
from ycc_jax.nets.layers import computing_in, widen
from ycc_jax.nets.prior import LIKELIHOODS, Prior
from ycc_jax.pictures import color
from ycc_jax.rounding import add_noise, round_ste

Array = jax.Array
# RGB (B, H, W, 3); or 4:2:0 YCbCr, luma (B, H, W, 1) and chroma (B, H/2, W/2, 2).
Picture = Array | tuple[Array, Array]


class HyperpriorModel(nn.Module):
    """Transform coding with a learned prior: every system of the references, by its arguments.

    Attributes:
      N, M: channels of the transforms (and of z), and of y.
      transform: "joint" (three channels through one stack; Minnen et al. 2018) or "dlec" (luma and
        half-size chroma; Egilmez et al. 2021) in one of its layouts.
      layout: of "dlec": "branched", "six_channel" or "separate" (`nets/dlec.py`).
      color_space: "rgb", or "ycbcr" with `matrix` and `color_range` as in `pictures/color.py`.
      subsampling: of pictures in and out: "444" is RGB (of which "dlec" resizes the chroma), "420"
        native YCbCr planes.
      input_offset: what is subtracted from the planes before the analysis, 0.5 or CompressAI's 0.
      activation: "gdn" or "prelu".
      levels: rate levels with gain units on y and z (Cui et al. 2021); 0 is a single-rate model.
      alphas: chroma weights, ascending, that make the gains a grid (after Ulas & Tekalp 2022).
      level_aware: the entropy-parameter nets see the level (see `context.EntropyParameters`).
      linear_shortcut: the lapped transform beside the network; of "joint" in RGB.
      hyperprior: "mean_scale" (Minnen et al. 2018), "scale" (zero mean; Balle et al. 2018), or
        "none": y itself has the factorized density.
      context: "autoregressive" (5x5 masked) or "none".
      likelihood: of y given mean and scale, a key of `LIKELIHOODS`.
      density_filters, density_offset: of the factorized density.
      entropy_width: 0 for the paper's sizes of context, hyper synthesis and entropy-parameter nets
        (which grow with M), else a width E: features of context and hyperprior E, hidden layers
        2 E.
      surrogate: what stands for rounding in training. "noise": uniform noise everywhere (Minnen
        2018). "mixed": noise for the rate of y and z; all that a decoder computes from symbols is
        computed from rounded ones, with a straight-through gradient.
      compute_dtype: of the convolutions and dense layers in `__call__`, which training calls:
        "float32" or "bfloat16". Parameters, latents, gains, densities and colour are float32. Not
        an argument of a codec model, which computes in float32: `build(...).clone(compute_dtype=)`.
    """

    N: int = 192
    M: int = 320
    transform: str = "dlec"
    layout: str = "branched"
    color_space: str = "ycbcr"
    matrix: str = "bt601"
    color_range: str = "full"
    subsampling: str = "444"
    input_offset: float = 0.5
    activation: str = "prelu"
    levels: int = 8
    alphas: tuple[float, ...] = ()
    level_aware: bool = True
    linear_shortcut: bool = False
    hyperprior: str = "mean_scale"
    context: str = "autoregressive"
    likelihood: str = "gaussian"
    density_filters: tuple[int, ...] = (3, 3, 3)
    density_offset: bool = False
    entropy_width: int = 0
    surrogate: str = "noise"
    compute_dtype: str = "float32"

    @property
    def stride(self) -> int:
        """What the sides of a picture must be multiples of: the stride of the last latent."""
        return 16 if self.hyperprior == "none" else 64

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of trained levels: (), (levels,) or (levels, number of alphas)."""
        if not self.levels:
            return ()
        return (self.levels, len(self.alphas)) if self.alphas else (self.levels,)

    def setup(self):
        N, M = self.N, self.M
        if self.transform == "dlec":
            options = (self.activation, self.linear_shortcut, self.layout)
            self.analysis_net = DlecAnalysis(N, M, *options, name="analysis")
            self.synthesis_net = DlecSynthesis(N, *options, name="synthesis")
        else:
            linear = dict(linear_shortcut=self.linear_shortcut)
            self.analysis_net = JointAnalysis(N, M, self.activation, name="analysis", **linear)
            self.synthesis_net = JointSynthesis(N, self.activation, name="synthesis", **linear)
        if self.grid:
            self.gain_y = GainUnits(self.grid, M)
            self.gain_z = GainUnits(self.grid, N)
        self.prior = Prior(
            N,
            M,
            self.hyperprior,
            self.context,
            self.likelihood,
            self.density_filters,
            self.density_offset,
            self.entropy_width,
            self.grid if self.level_aware else (),
        )
        # Its parameters stand beside the transforms'.
        nn.share_scope(self, self.prior)

    # ---- stages, shared by training and by the codec -------------------------------------------

    def gains(self, level: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """((gain, inverse) of y, (gain, inverse) of z) at levels (B, ...); ones for one rate."""
        if not self.grid:
            one = jnp.ones((1, 1, 1, 1))
            return (one, one), (one, one)
        return self.gain_y(level), self.gain_z(level)

    def analyse(self, x: Picture, level: Array) -> Array:
        """Picture, samples in [0, 1] -> gained latent y (B, H/16, W/16, M).

        A model with the transform "dlec" takes RGB or planes, whatever its subsampling.
        """
        (gain, _), _ = self.gains(level)
        if self.transform == "dlec":
            luma, chroma = self.to_planes(x)
            y = self.analysis_net(luma - self.input_offset, chroma - self.input_offset)
        else:
            if self.color_space == "ycbcr":
                x = color.rgb_to_ycbcr(x, self.matrix, self.color_range)
            y = self.analysis_net(x - self.input_offset)
        return widen(y) * gain

    def synthesise(self, y_hat: Array, level: Array) -> Picture:
        """Gained latent y_hat -> the picture, RGB or (`subsampling` "420") planes, not clipped."""
        if self.subsampling == "420":
            return self.synthesise_planes(y_hat, level)
        return self.synthesise_rgb(y_hat, level)

    def synthesise_planes(self, y_hat: Array, level: Array) -> tuple[Array, Array]:
        """Gained latent y_hat -> luma (B, H, W, 1) and chroma (B, H/2, W/2, 2), by "dlec"."""
        (_, inverse), _ = self.gains(level)
        planes = self.synthesis_net(y_hat * inverse)
        return tuple(widen(plane) + self.input_offset for plane in planes)

    def synthesise_rgb(self, y_hat: Array, level: Array) -> Array:
        """Gained latent y_hat -> RGB (B, H, W, 3), not clipped."""
        if self.transform == "dlec":
            planes = self.synthesise_planes(y_hat, level)
            return color.ycbcr420_to_rgb(*planes, self.matrix, self.color_range)
        (_, inverse), _ = self.gains(level)
        x = widen(self.synthesis_net(y_hat * inverse)) + self.input_offset
        if self.color_space == "rgb":
            return x
        return color.ycbcr_to_rgb(x, self.matrix, self.color_range)

    def picture(self, rgb: Array) -> Picture:
        """RGB (B, H, W, 3) in [0, 1] -> the same picture as `subsampling` says."""
        return self.to_planes(rgb) if self.subsampling == "420" else rgb

    def to_planes(self, x: Picture) -> tuple[Array, Array]:
        """RGB -> 4:2:0 planes of the model's matrix and range; planes stay as they are."""
        if isinstance(x, tuple):
            return x
        return color.rgb_to_ycbcr420(x, self.matrix, self.color_range)

    def hyper_analyse(self, y: Array, level: Array) -> Array:
        """Gained y -> gained hyper-latent z (B, H/64, W/64, N)."""
        _, (gain, _) = self.gains(level)
        return widen(self.prior.hyper_analyse(y)) * gain

    def hyper_synthesise(self, z_hat: Array, level: Array) -> Array:
        """Gained z_hat -> hyper features (B, H/16, W/16, F)."""
        _, (_, inverse) = self.gains(level)
        return self.prior.hyper_synthesis(z_hat * inverse)

    def parameters(self, hyper: Array, y_hat: Array | None, level: Array) -> tuple[Array, ...]:
        """Mean and scales of y, as in `Prior.parameters`."""
        (gain, _), _ = self.gains(level)
        return self.prior.parameters(hyper, y_hat, level, gain)

    def coding_tables(self, params: Any) -> dict[str, CdfTables]:
        """Frozen tables of the coder: "z" of the factorized latent, "y" of y given its scales."""
        if self.hyperprior == "none":
            return {"z": factorized.coding_tables(params["density_y"])}
        likelihood = LIKELIHOODS[self.likelihood]
        density = factorized.coding_tables(params["density_z"])
        return {"y": likelihood.coding_tables(), "z": density}

    @property
    def table_rows(self) -> dict[str, int]:
        """How many rows the tables of `coding_tables` have."""
        if self.hyperprior == "none":
            return {"z": self.M}
        return {"y": LIKELIHOODS[self.likelihood].ROWS, "z": self.N}

    # ---- the forward pass ----------------------------------------------------------------------

    def __call__(self, x: Picture, level: Array, key: Array | None = None) -> dict[str, Any]:
        """One batch, to its reconstruction and its bits.

        Args:
          x: a batch of pictures as `subsampling` says, RGB (B, H, W, 3) or planes, in [0, 1]; H and
            W multiples of `stride`.
          level: fractional positions on the grid of levels, (B,) rates 0 .. levels - 1 or (B, 2)
            rates and chroma weights; ignored by single-rate models.
          key: noise for training; None rounds, as a decoder would.

        Returns:
          x_hat, of x's shape, not clipped; `bits_y` and `bits_z` (B,), the bits of each picture;
          `metrics`, scalars by name: bpp_y, bpp_z and bpp, bits per pixel as means over the batch.

        Raises:
          ValueError: H or W is not a multiple of `stride`, x is of the other kind, or the
            compute_dtype is unknown.
        """
        if isinstance(x, tuple) != (self.subsampling == "420"):
            raise ValueError(f"expected a picture in {self.subsampling}, found the other form")
        height, width = (x[0] if isinstance(x, tuple) else x).shape[1:3]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"expected sides that are multiples of {self.stride}, found {height} x {width}"
            )
        with computing_in(self.compute_dtype):
            y = self.analyse(x, level)
            if self.hyperprior == "none":
                y_tilde, y_hat = self.surrogates(y, key, 1, self.prior.density.offset)
                bits_y = self.prior.density(y_tilde).sum((1, 2, 3))
                bits_z = jnp.zeros_like(bits_y)
            else:
                z = self.hyper_analyse(y, level)
                z_tilde, z_hat = self.surrogates(z, key, 0, self.prior.density.offset)
                bits_z = self.prior.density(z_tilde).sum((1, 2, 3))
                y_hat, bits_y = self.code(y, self.hyper_synthesise(z_hat, level), level, key)
            x_hat = self.synthesise(y_hat, level)
        pixels = height * width
        bpp_y, bpp_z = bits_y.mean() / pixels, bits_z.mean() / pixels
        metrics = {"bpp_y": bpp_y, "bpp_z": bpp_z, "bpp": bpp_y + bpp_z}
        return {"x_hat": x_hat, "bits_y": bits_y, "bits_z": bits_z, "metrics": metrics}

    def code(self, y: Array, hyper: Array, level: Array, key: Array | None) -> tuple[Array, Array]:
        """y_hat, and the bits (B,) of y, given hyper features."""
        y_tilde, y_hat = self.surrogates(y, key, 1)
        rounds = key is None or self.surrogate == "mixed"
        if rounds and self.context == "autoregressive":
            # A decoder's y_hat is round(y - mean) + mean, with the mean of its own context. A first
            # pass over plainly rounded y gives means near enough to stand for that.
            mean, *_ = jax.lax.stop_gradient(self.parameters(hyper, y_hat, level))
            y_hat = round_ste(y, mean)
        mean, *scales = self.parameters(hyper, y_hat, level)
        if rounds:
            y_hat = round_ste(y, mean)
        likelihood = LIKELIHOODS[self.likelihood]
        bits = likelihood.bits(y_hat if key is None else y_tilde, mean, *scales)
        return y_hat, bits.sum((1, 2, 3))

    def surrogates(
        self, latent: Array, key: Array | None, fold: int, offset: Array | float = 0.0
    ) -> tuple[Array, Array]:
        """What the density sees, and what the decoder side sees, in place of a rounded latent."""
        if key is None:
            return round_ste(latent, offset), round_ste(latent, offset)
        noisy = add_noise(jax.random.fold_in(key, fold), latent)
        return noisy, noisy if self.surrogate == "noise" else round_ste(latent, offset)


def build(**arguments: Any) -> HyperpriorModel:
    """A model from its arguments, as configs and codec models store them.

    Raises:
      ValueError: an unknown argument, one out of range, or several that do not fit together; the
        message says what was expected.
    """
    known = {f.name for f in dataclasses.fields(HyperpriorModel)} - {"parent", "name"}
    known -= {"compute_dtype"}  # of a training run, not of the model
    unknown = set(arguments) - known
    if unknown:
        raise ValueError(
            f"unknown model arguments {sorted(unknown)}; expected some of {sorted(known)}"
        )
    # JSON has no tuples, and modules are hashed.
    model = HyperpriorModel(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    )
    check(model)
    return model
