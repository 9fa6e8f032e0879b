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
stages for real, to bytes. What is in no paper is told in docs/model.md.

Shapes: B pictures of H x W, multiples of `stride`. y and z, with their hats, are in units of the
quantiser's step: the gain is applied before rounding, the inverse gain after.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.arguments import check
from ycc_jax.entropy import factorized
from ycc_jax.entropy.tables import CdfTables
from ycc_jax.metrics.distortion import Picture
from ycc_jax.nets import grouped
from ycc_jax.nets.gain import GainUnits, check_level
from ycc_jax.nets.grouped import Step
from ycc_jax.nets.layers import computing_in, widen
from ycc_jax.nets.prior import Prior
from ycc_jax.pictures import color
from ycc_jax.registry import CONTEXTS, LIKELIHOODS, TRANSFORMS
from ycc_jax.rounding import add_noise, round_ste

Array = jax.Array


class HyperpriorModel(nn.Module):
    """Transform coding with a learned prior: every system of the references, by its arguments.

    Attributes:
      N, M: channels of the transforms (and of z), and of y.
      transform: "joint" (three channels through one stack; Minnen et al. 2018) or "dlec" (luma and
        half-size chroma; Egilmez et al. 2021) in one of its layouts, or "residual" (the same, wider
        at strides 4 and 8, with residual blocks: `nets/residual.py`), or a registered one.
      widths: of "residual": channels at strides 2, 4 and 8; () for N, 1.5 N and 3 N.
      analysis_blocks, synthesis_blocks: of "residual": residual blocks at strides 4 and 8.
      level_aware_transform: of "residual": its layers are told the level.
      layout: of "dlec": "branched", "six_channel" or "separate" (`nets/dlec.py`).
      color_space: "rgb", or "ycbcr" with `matrix` and `color_range` as in `pictures/color.py`.
      subsampling: of pictures in and out: "444" is RGB (of which all transforms but "joint" resize
        the chroma), "420" native YCbCr planes.
      input_offset: what is subtracted from the planes before the analysis, 0.5 or CompressAI's 0.
      activation: "gdn" or "prelu".
      levels: rate levels with gain units on y and z (Cui et al. 2021); 0 is a single-rate model.
      chroma_weights: ascending, they make the gains a grid (after Ulas & Tekalp 2022).
      level_aware: the entropy model is told the level: a learned vector for each in the first
        entropy-parameter layer, mean and exp(log scale) relative to the width of y that its gain
        makes expected, arcsinh(y) before the hyper analysis, a context normalised by that width.
        In no paper; False is Cui et al. 2021.
      linear_shortcut: the lapped transform beside the network; of "joint" in RGB.
      hyperprior: "mean_scale" (Minnen et al. 2018), "scale" (zero mean; Balle et al. 2018), or
        "none": y itself has the factorized density.
      context: "autoregressive" (5x5 masked), "grouped" (`nets/grouped.py`), "none", or a
        registered one.
      groups, phases: of "grouped": channels of all groups but the last, and phases of each.
      likelihood: of y given mean and scale, a key of `registry.LIKELIHOODS`.
      density_filters, density_offset: of the factorized density.
      entropy_width: 0 for the paper's sizes of context, hyper synthesis and entropy-parameter nets
        (which grow with M), else a width E: features of context and hyperprior E, hidden layers
        2 E.
      surrogate: what stands for rounding in training. "noise": uniform noise everywhere (Minnen
        2018). "mixed": noise for the rate of y and z; all that a decoder computes from symbols is
        computed from rounded ones, with a straight-through gradient.
      passes: of "mixed" with the masked context, how many times training looks for the y_hat of a
        decoder (`_found`); as many as a picture has waves (`wavefront.py`) find it exactly.
      compute_dtype: of the convolutions and dense layers in `__call__`, which training calls:
        "float32" or "bfloat16". Parameters, latents, gains, densities and colour are float32. Not
        an argument of a codec model, which computes in float32: `build(...).clone(compute_dtype=)`.
    """

    N: int = 192
    M: int = 320
    transform: str = "dlec"
    widths: tuple[int, ...] = ()
    analysis_blocks: tuple[int, ...] = (1, 3)
    synthesis_blocks: tuple[int, ...] = (1, 3)
    level_aware_transform: bool = False
    layout: str = "branched"
    color_space: str = "ycbcr"
    matrix: str = "bt601"
    color_range: str = "full"
    subsampling: str = "444"
    input_offset: float = 0.5
    activation: str = "prelu"
    levels: int = 8
    chroma_weights: tuple[float, ...] = ()
    level_aware: bool = True
    linear_shortcut: bool = False
    hyperprior: str = "mean_scale"
    context: str = "autoregressive"
    groups: tuple[int, ...] = (16, 16, 32, 64)
    phases: int = 2
    likelihood: str = "gaussian"
    density_filters: tuple[int, ...] = (3, 3, 3)
    density_offset: bool = False
    entropy_width: int = 0
    surrogate: str = "noise"
    passes: int = 1
    compute_dtype: str = "float32"

    @property
    def stride(self) -> int:
        """What the sides of a picture must be multiples of: the stride of the last latent."""
        return 64 if self.has_hyperprior else 16

    @property
    def has_hyperprior(self) -> bool:
        """Whether there is a z; if not, y itself has the factorized density, and nothing else."""
        return self.hyperprior != "none"

    @property
    def has_nets(self) -> bool:
        """Whether 1x1 nets turn the hyper features into mean and scale, or are these features."""
        return self.has_hyperprior and (self.context != "none" or self.level_aware)

    @property
    def factorized_channels(self) -> int:
        """Channels of the latent with the factorized density, whose stride is `stride`."""
        return self.N if self.has_hyperprior else self.M

    @property
    def factorized_density(self) -> str:
        """The parameters' name of that density."""
        return "density_z" if self.has_hyperprior else "density_y"

    @property
    def strided_widths(self) -> tuple[int, ...]:
        """Channels of "residual" at strides 2, 4 and 8."""
        return self.widths or (self.N, 3 * self.N // 2, 3 * self.N)

    @property
    def width(self) -> int:
        """Channels of the transforms at stride 2, where they take the most memory."""
        return self.widths[0] if self.widths else self.N

    @property
    def colours(self) -> tuple[str, str]:
        """(matrix, range) in which RGB is coded, by the names of `vocabulary.py`."""
        return ("rgb", "full") if self.color_space == "rgb" else (self.matrix, self.color_range)

    @property
    def takes_planes(self) -> bool:
        """Whether the transform codes luma and half-size chroma, not three planes of one size."""
        return TRANSFORMS[self.transform].planes

    @property
    def grid(self) -> tuple[int, ...]:
        """The grid of trained levels: (), (levels,) or (levels, number of chroma_weights)."""
        if not self.levels:
            return ()
        return (self.levels, len(self.chroma_weights)) if self.chroma_weights else (self.levels,)

    @property
    def in_steps(self) -> bool:
        """Whether y is coded in several steps of whole planes: the grouped context and its like."""
        return self.context in CONTEXTS

    @property
    def steps(self) -> tuple[Step, ...]:
        """In what parts y is coded, each of a whole plane; one without such a context."""
        return CONTEXTS[self.context](self) if self.in_steps else grouped.steps(self.M, (), 1)

    def setup(self):
        transform = TRANSFORMS[self.transform]
        self.analysis, self.synthesis = transform.analysis(self), transform.synthesis(self)
        if self.grid:
            self.gain_y = GainUnits(self.grid, self.M)
            self.gain_z = GainUnits(self.grid, self.N)
        self.prior = Prior(
            self.N,
            self.M,
            self.hyperprior,
            self.context,
            self.likelihood,
            self.density_filters,
            self.density_offset,
            self.entropy_width,
            self.steps,
            self.grid if self.level_aware else (),
            self.has_nets,
        )
        # Its parameters stand beside the transforms'.
        nn.share_scope(self, self.prior)

    # ---- stages, shared by training and by the codec -------------------------------------------

    def gains(self, level: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """((gain, inverse) of y, (gain, inverse) of z) at a level.

        Args:
          level: fractional positions on `grid`, as in `gain.level_weights`: (B,) or (B, 1) rates,
            or (B, 2) rates and chroma weights. Ignored by single-rate models. So in all stages.

        Returns:
          (B, 1, 1, M) each of y, (B, 1, 1, N) each of z, positive; (1, 1, 1, 1) ones for one rate.
        """
        if not self.grid:
            one = jnp.ones((1, 1, 1, 1))
            return (one, one), (one, one)
        return self.gain_y(level), self.gain_z(level)

    def analyse(self, x: Picture, level: Array) -> Array:
        """Picture -> y (B, H/16, W/16, M), not rounded, in steps.

        Args:
          x: RGB (B, H, W, 3) in [0, 1]; or, unless the transform is "joint" and whatever
            `subsampling`, planes: luma (B, H, W, 1) and chroma (B, H/2, W/2, 2), 8-bit codes / 255.
          level: as in `gains`.
        """
        (gain, _), _ = self.gains(level)
        if self.takes_planes:
            luma, chroma = self.to_planes(x)
            planes = luma - self.input_offset, chroma - self.input_offset
            y = self.analysis(*planes, *self._told(level))
        else:
            if self.color_space == "ycbcr":
                x = color.rgb_to_ycbcr(x, self.matrix, self.color_range)
            y = self.analysis(jnp.asarray(x) - self.input_offset, *self._told(level))
        return widen(y) * gain

    def synthesise(self, y_hat: Array, level: Array) -> Picture:
        """y_hat (B, H/16, W/16, M), in steps -> the picture, as `subsampling` says, not clipped."""
        if self.subsampling == "420":
            return self.synthesise_planes(y_hat, level)
        return self.synthesise_rgb(y_hat, level)

    def synthesise_planes(self, y_hat: Array, level: Array) -> tuple[Array, Array]:
        """y_hat -> luma (B, H, W, 1) and chroma (B, H/2, W/2, 2) in codes / 255, not by "joint"."""
        (_, inverse), _ = self.gains(level)
        luma, chroma = self.synthesis(y_hat * inverse, *self._told(level))
        return widen(luma) + self.input_offset, widen(chroma) + self.input_offset

    def synthesise_rgb(self, y_hat: Array, level: Array) -> Array:
        """y_hat -> RGB (B, H, W, 3), in and about [0, 1], not clipped."""
        if self.takes_planes:
            planes = self.synthesise_planes(y_hat, level)
            return color.ycbcr420_to_rgb(*planes, self.matrix, self.color_range)
        (_, inverse), _ = self.gains(level)
        x = widen(self.synthesis(y_hat * inverse, *self._told(level))) + self.input_offset
        if self.color_space == "rgb":
            return x
        return color.ycbcr_to_rgb(x, self.matrix, self.color_range)

    def _told(self, level: Array) -> tuple[Array, ...]:
        """What a transform takes beside its input: the level, or nothing."""
        return (level,) if TRANSFORMS[self.transform].level else ()

    def picture(self, rgb: Array) -> Picture:
        """RGB (B, H, W, 3) in [0, 1] -> the same picture as `subsampling` says."""
        return self.to_planes(rgb) if self.subsampling == "420" else rgb

    def to_planes(self, x: Picture) -> tuple[Array, Array]:
        """RGB in [0, 1] -> 4:2:0 planes, codes / 255, of the model's matrix and range, chroma as
        2x2 means; planes stay as they are."""
        if isinstance(x, tuple):
            return x
        return color.rgb_to_ycbcr420(x, self.matrix, self.color_range)

    def hyper_analyse(self, y: Array, level: Array) -> Array:
        """y (B, H/16, W/16, M), not rounded -> z (B, H/64, W/64, N), not rounded; both in steps."""
        _, (gain, _) = self.gains(level)
        return widen(self.prior.hyper_analyse(y)) * gain

    def hyper_synthesise(self, z_hat: Array, level: Array) -> Array:
        """z_hat (B, H/64, W/64, N), in steps -> hyper features (B, H/16, W/16, F).

        F is `entropy_width` or, if 0, 2 M where entropy-parameter nets follow; without these it is
        M for each of mean and scales, which the features then are, or (hyperprior "scale") M.
        """
        _, (_, inverse) = self.gains(level)
        return self.prior.hyper_synthesis(z_hat * inverse)

    def parameters(
        self, hyper: Array, y_hat: Array, level: Array, step: Step | None = None
    ) -> tuple[Array, ...]:
        """Mean, then one or two scales of y, in quantiser steps, of the symbols of one coding step.

        Shapes are those of `Prior.parameters`; without a step named it is the first one's.
        """
        (gain, _), _ = self.gains(level)
        return self.prior.parameters(hyper, y_hat, level, gain, step or self.steps[0])

    def coding_tables(self, params: Any) -> dict[str, CdfTables]:
        """Frozen tables of the coder, from the model's parameters.

        Returns:
          "z", a row for each channel of the latent that has the factorized density (y itself
          without a hyperprior); with one also "y", a row for each `index` of the likelihood.
        """
        tables = {"z": factorized.coding_tables(params[self.factorized_density])}
        if self.has_hyperprior:
            tables["y"] = LIKELIHOODS[self.likelihood].coding_tables()
        return tables

    @property
    def table_rows(self) -> dict[str, int]:
        """How many rows the tables of `coding_tables` have."""
        if self.hyperprior == "none":
            return {"z": self.M}
        return {"y": LIKELIHOODS[self.likelihood].ROWS, "z": self.N}

    # ---- the forward pass ----------------------------------------------------------------------

    def __call__(
        self, x: Picture, level: Array, key: Array | None = None, details: bool = False
    ) -> dict[str, Any]:
        """One batch, to its reconstruction and its bits.

        Args:
          x: a batch of pictures as `subsampling` says, RGB (B, H, W, 3) or planes, in [0, 1]; H and
            W multiples of `stride`.
          level: fractional positions on the grid of levels, (B,) or (B, 1) rates 0 .. levels - 1,
            or (B, 2) rates and chroma weights; ignored by single-rate models.
            `operating_point.level_of` gives those of a quality.
          key: noise for training; None rounds, as a decoder would.
          details: whether to return the latents, too.

        Returns:
          x_hat, of x's shape, not clipped; `bits_y` and `bits_z` (B,), the bits of each picture;
          `metrics`, scalars by name: bpp_y, bpp_z and bpp, bits per pixel as means over the batch.
          With details also y (B, h, w, M), with gain and not rounded; y_hat, in steps;
          element_bits_y, the bits of each of its elements; and with a hyperprior z_hat (B, h/4,
          w/4, N) and element_bits_z. With a key, bits are those of noisy latents.

        Raises:
          ValueError: H or W is not a multiple of `stride`, x is of the other kind, the level is of
            another shape or beyond the trained ones (which only a concrete one shows; a traced one
            is clipped), or the compute_dtype is unknown.
        """
        if isinstance(x, tuple) != (self.subsampling == "420"):
            raise ValueError(f"expected a picture in {self.subsampling}, found the other form")
        height, width = (x[0] if isinstance(x, tuple) else x).shape[1:3]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"expected sides that are multiples of {self.stride}, found {height} x {width}"
            )
        if self.grid:
            check_level(level, self.grid)
        with computing_in(self.compute_dtype):
            y = self.analyse(x, level)
            coded = self.rate(y, level, key)
            x_hat = self.synthesise(coded["y_hat"], level)
        bits_y = coded["element_bits_y"].sum((1, 2, 3))
        bits_z = jnp.zeros_like(bits_y)
        if self.has_hyperprior:
            bits_z = coded["element_bits_z"].sum((1, 2, 3))
        pixels = height * width
        bpp_y, bpp_z = bits_y.mean() / pixels, bits_z.mean() / pixels
        metrics = {"bpp_y": bpp_y, "bpp_z": bpp_z, "bpp": bpp_y + bpp_z}
        out = {"x_hat": x_hat, "bits_y": bits_y, "bits_z": bits_z, "metrics": metrics}
        return out | {"y": y} | coded if details else out

    def rate(self, y: Array, level: Array, key: Array | None) -> dict[str, Array]:
        """The prior alone: gained y (B, h, w, M) -> y_hat, element_bits_y, z_hat, element_bits_z.

        Args:
          level, key: as in `__call__`, which says what these are.
        """
        if not self.has_hyperprior:
            y_tilde, y_hat = self.surrogates(y, key, 1, self.prior.density.offset)
            return {"y_hat": y_hat, "element_bits_y": self.prior.density(y_tilde)}
        z = self.hyper_analyse(y, level)
        z_tilde, z_hat = self.surrogates(z, key, 0, self.prior.density.offset)
        y_hat, bits_y = self.quantize(y, self.hyper_synthesise(z_hat, level), level, key)
        coded = {"y_hat": y_hat, "element_bits_y": bits_y}
        return coded | {"z_hat": z_hat, "element_bits_z": self.prior.density(z_tilde)}

    def quantize(
        self, y: Array, hyper: Array, level: Array, key: Array | None
    ) -> tuple[Array, Array]:
        """y_hat, and the bits of each element of y, (B, h, w, M) both, given hyper features."""
        y_tilde, y_hat = self.surrogates(y, key, 1)
        rounds = key is None or self.surrogate == "mixed"
        likelihood = LIKELIHOODS[self.likelihood]
        if self.in_steps:
            # What a decoder does, step by step.
            known, total = jnp.zeros_like(y), jnp.zeros_like(y)
            for step in self.steps:
                here = (..., slice(step.start, step.stop))
                mask = step.mask(*y.shape[1:3])[..., None]
                mean, *scales = self.parameters(hyper, known, level, step)
                found = round_ste(y[here], mean) if rounds else y_hat[here]
                bits = likelihood.bits(found if key is None else y_tilde[here], mean, *scales)
                total = total.at[here].add(jnp.where(mask, bits, 0))
                known = known.at[here].set(jnp.where(mask, found, known[here]))
            return known, total
        if rounds and self.context == "autoregressive":
            # A decoder's y_hat is round(y - mean) + mean, with the mean of its own context.
            if key is None:
                y_hat = self._settled(y, hyper, level)
            else:
                for _ in range(self.passes):
                    y_hat = self._found(y, y_hat, hyper, level)
        mean, *scales = self.parameters(hyper, y_hat, level)
        if rounds:
            y_hat = round_ste(y, mean)
        bits = likelihood.bits(y_hat if key is None else y_tilde, mean, *scales)
        return y_hat, bits

    def _found(self, y: Array, context: Array, hyper: Array, level: Array) -> Array:
        """y_hat by the means that some latent in its place gives, at all positions at once.

        In training that latent is first y plainly rounded, whose means flatter: they know roundings
        that a decoder does not, and are nearer to its own with every pass (`docs/model.md`,
        "mixed").
        """
        mean, *_ = jax.lax.stop_gradient(self.parameters(hyper, context, level))
        return round_ste(y, mean)

    def _settled(self, y: Array, hyper: Array, level: Array) -> Array:
        """y_hat as a decoder has it, of the masked context: the fixed point of `_found`.

        A position is final once all that its context sees is: after as many turns as a picture has
        waves (`wavefront.py`) nothing changes any more, and mostly much earlier.
        """
        hyper, start = jax.lax.stop_gradient((hyper, y))
        # Outside of the loop, where parameters can be made.
        first = self._found(start, jnp.round(start), hyper, level)

        def goes_on(model: Any, state: tuple[Array, Array, Array]) -> Any:
            before, now, turns = state
            return jnp.any(before != now) & (turns < y.shape[2] + 3 * y.shape[1])

        def body(model: Any, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            _, now, turns = state
            return now, model._found(start, now, hyper, level), turns + 1

        state = jnp.round(start), first, jnp.int32(1)
        _, y_hat, _ = nn.while_loop(goes_on, body, self, state)
        return y + jax.lax.stop_gradient(y_hat - y)

    def bits_of(
        self, y_hat: Array, z_hat: Array, level: Array, finer: Array | float = 1.0
    ) -> tuple[Array, Array, Array]:
        """What given latents cost, all taken as they are: neither rounded nor noisy.

        Args:
          y_hat: (B, h, w, M), what contexts see.
          z_hat: (B, h/4, w/4, N); of a model without a hyperprior ignored.
          level: as in `gains`.
          finer: as if y were quantised with a step that many times finer, and its prior the same.

        Returns:
          Bits (B,) of y and of z, and the mean of y (B, h, w, M); without a hyperprior the bits of
          y by its factorized density, 0, and the density's offset.
        """
        density = self.prior.density
        if not self.has_hyperprior:
            bits_y = density(y_hat).sum((1, 2, 3)) + jnp.log2(finer) * y_hat[0].size
            return bits_y, jnp.zeros_like(bits_y), jnp.broadcast_to(density.offset, y_hat.shape)
        hyper, total = self.hyper_synthesise(z_hat, level), jnp.zeros(y_hat.shape[0])
        means = known = jnp.zeros_like(y_hat)
        for step in self.steps:
            here = (..., slice(step.start, step.stop))
            mask = step.mask(*y_hat.shape[1:3])[..., None]
            coded = known if self.in_steps else y_hat  # the masked one sees no other
            mean, *scales = self.parameters(hyper, coded, level, step)
            bits = LIKELIHOODS[self.likelihood].bits(
                *(finer * a for a in (y_hat[here], mean, *scales))
            )
            total += jnp.where(mask, bits, 0).sum((1, 2, 3))
            means = means.at[here].set(jnp.where(mask, mean, means[here]))
            known = known.at[here].set(jnp.where(mask, y_hat[here], known[here]))
        return total, density(z_hat).sum((1, 2, 3)), means

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

    Args:
      **arguments: attributes of `HyperpriorModel`, which documents each; what is left out has its
        default there, with which `build()` is `dlec_gain`. (compute_dtype is of a training run, not
        of a model.) Lists, as JSON has them, are taken for tuples. In groups:

        - transforms: N, M, transform, widths, analysis_blocks, synthesis_blocks,
          level_aware_transform, layout, activation, linear_shortcut;
        - pictures: color_space, matrix, color_range, subsampling, input_offset;
        - rates: levels, chroma_weights, level_aware;
        - entropy model: hyperprior, context, groups, phases, likelihood, density_filters,
          density_offset, entropy_width;
        - training alone: surrogate, passes.

    Returns:
      The module without parameters: `init` makes some, a codec model has trained ones.

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
    hashable: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()
    }
    model = HyperpriorModel(**hashable)
    check(model)
    return model


def init(model: HyperpriorModel, seed: int = 0) -> dict[str, Any]:
    """Random parameters of a model, by a seed.

    Args:
      model: of `build`.
      seed: the same one gives the same parameters, on one kind of device and release of JAX.

    Returns:
      A nested dict of float32 arrays, Flax's "params". `jax.eval_shape(lambda: init(model))` has
      their shapes without computing them.
    """
    x = model.picture(jnp.zeros((1, 64, 64, 3)))
    level = jnp.zeros((1, len(model.grid)))
    # What runs once and is small is not worth the optimisation, which takes XLA five times as long.
    # Inside of another program, as of `eval_shape`, JAX takes no options.
    quick: dict[str, Any] = {}
    if jax.default_backend() == "cpu" and not isinstance(level, jax.core.Tracer):
        quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    init_once = jax.jit(model.init, compiler_options=quick or None)
    return init_once(jax.random.PRNGKey(seed), x, level)["params"]
