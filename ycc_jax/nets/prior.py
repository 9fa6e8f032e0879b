"""What y is expected to be: hyperprior, context and entropy parameters.

    y -> hyper analysis -> z ~ factorized density;  z_hat -> hyper synthesis -> hyper features
    hyper features, context of the coded part of y_hat -> entropy parameters -> mean, scales

Balle et al. 2018 (scales from z), Minnen et al. 2018 (mean and scale, context). Latents here are in
units of the quantiser's step: gains are applied by the model, before and after.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.entropy.factorized import FactorizedDensity
from ycc_jax.nets.context import EntropyParameters, MaskedContext, split_parameters
from ycc_jax.nets.grouped import GroupParameters, Step
from ycc_jax.nets.hyper import HyperAnalysis, HyperSynthesis
from ycc_jax.nets.layers import widen
from ycc_jax.registry import CONTEXTS, LIKELIHOODS

Array = jax.Array


class Prior(nn.Module):
    """The densities of z and of y; attributes as in `models.HyperpriorModel`.

    Attributes:
      aware: the grid of levels that the entropy model sees (`level_aware`); () if it sees none.
        With it arcsinh(y) enters the hyper analysis, the context is normalised, and 1x1 nets give
        mean and scale also without a context; docs/model.md has it in one place.
      has_nets: as of the model.
    """

    N: int
    M: int
    hyperprior: str
    context: str
    likelihood: str
    density_filters: tuple[int, ...]
    density_offset: bool
    entropy_width: int
    steps: tuple[Step, ...]
    aware: tuple[int, ...]
    has_nets: bool

    def setup(self):
        N, M, E = self.N, self.M, self.entropy_width
        density = (self.density_filters, self.density_offset)
        if self.hyperprior == "none":
            self.density = FactorizedDensity(M, *density, name="density_y")
            return
        self.density = FactorizedDensity(N, *density, name="density_z")
        scales = LIKELIHOODS[self.likelihood].SCALES
        if self.hyperprior == "scale":
            widths = (N, N, M)
        elif self.has_nets:
            widths = (E, E, E) if E else (M, M * 3 // 2, 2 * M)
        else:
            widths = (E or M, E or M * 3 // 2, (1 + scales) * M)
        self.hyper_analysis = HyperAnalysis(N, self.hyperprior == "scale")
        self.hyper_synthesis = HyperSynthesis(widths, self.hyperprior == "scale")
        if self.context == "autoregressive":
            self.context_net = MaskedContext(E or 2 * M, name="context")
        if self.context in CONTEXTS:
            self.group_parameters = {
                str(step.start): GroupParameters(step.stop - step.start, E or M, scales, self.aware)
                for step in self.steps
                if not step.phase
            }
        elif self.has_nets:
            hidden = (2 * E, 2 * E) if E else (M * 10 // 3, M * 8 // 3)
            self.entropy_parameters = EntropyParameters(M, hidden, scales, self.aware)
        if self.aware:
            # log of each channel's standard deviation before the gain.
            self.log_std = self.param("log_std", nn.initializers.zeros, (M,))

    def hyper_analyse(self, y: Array) -> Array:
        """y (B, h, w, M) -> z (B, h/4, w/4, N)."""
        if self.hyperprior == "scale":
            y = jnp.abs(y)
        # Widths of y span four decades once gains differ; the inverse hyperbolic sine is linear
        # below the quantiser's step and logarithmic above it.
        return self.hyper_analysis(jnp.arcsinh(y) if self.aware else y)

    def parameters(
        self, hyper: Array, y_hat: Array, level: Array, gain: Array, step: Step
    ) -> tuple[Array, ...]:
        """Mean and scales of y, from hyper features and, with a context, the coded part of y_hat.

        Args:
          hyper: (B, h, w, F). The nets compute in its dtype.
          y_hat: (B, h, w, M), of the grouped context zero where nothing is coded yet. Ignored
            without a context.
          level: as in `gain.level_weights`.
          gain: of y at that level, (B, 1, 1, M).
          step: one of `steps`, which matters to the grouped context.

        Returns:
          Mean, then one or two scales, each (B, h, w, m), in float32: of the step's channels, at
          all positions.
        """
        if not self.has_nets:
            hyper = widen(hyper)
        if self.hyperprior == "scale":
            return jnp.zeros_like(hyper), hyper
        if not self.has_nets:
            return split_parameters(hyper, LIKELIHOODS[self.likelihood].SCALES)
        unit = gain
        if self.aware:
            # The width to be expected from the gain alone.
            unit = gain * jnp.exp(self.log_std)
        if self.context != "none":
            if self.aware:
                # Comparable channels at every level; 1/4 keeps those small that are drowned by the
                # quantiser.
                y_hat = y_hat * jax.lax.rsqrt(unit**2 + 0.25)
            y_hat = y_hat.astype(hyper.dtype)
        if self.context in CONTEXTS:
            here = (..., slice(step.start, step.stop))
            own = y_hat[here] if step.phase else None
            nets = self.group_parameters[str(step.start)]
            return nets(hyper, y_hat[..., : step.start], own, level, unit[here])
        features = [hyper]
        if self.context == "autoregressive":
            features.append(self.context_net(y_hat))
        return self.entropy_parameters(jnp.concatenate(features, axis=-1), level, unit)
