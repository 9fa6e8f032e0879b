"""The learned factorized density of z, one a channel (Balle et al. 2018, app. 6.1).

The cumulative is a small monotone network, c(x) = sigmoid(f_K . ... . f_2 . f_1 (x)), with
f_k(x) = g_k(softplus(H_k) x + b_k) and g_k(x) = x + tanh(a_k) * tanh(x); the last g is absent.
The maths is plain functions on a dict of arrays; the Flax module only owns the parameters.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.entropy.gaussian import LIKELIHOOD_MIN
from ycc_jax.entropy.tables import CdfTables, tables_from_pmf
from ycc_jax.rounding import lower_bound

Array = jax.Array


def layers(params: Mapping[str, Any]) -> int:
    """K, from the parameters."""
    return sum(name.startswith("matrix_") for name in params)


def cdf_logits(params: dict[str, Array], x: Array) -> Array:
    """Logits of the cumulative at x (..., C), each channel by its own density."""
    h = x[..., None]  # (..., C, r)
    for k in range(layers(params)):
        h = jnp.einsum("...cr,crs->...cs", h, jax.nn.softplus(params[f"matrix_{k}"]))
        h = h + params[f"bias_{k}"]
        if f"factor_{k}" in params:
            h = h + jnp.tanh(params[f"factor_{k}"]) * jnp.tanh(h)
    return h[..., 0]


def likelihood(params: dict[str, Array], z: Array) -> Array:
    """P(z) = c(z + 1/2) - c(z - 1/2), the density convolved with U(-1/2, 1/2); z is (..., C)."""
    lower, upper = cdf_logits(params, z - 0.5), cdf_logits(params, z + 0.5)
    # The difference of two sigmoids near 1 cancels; mirrored to the lower tail it does not.
    sign = jnp.where(lower + upper > 0, -1.0, 1.0)
    return jnp.abs(jax.nn.sigmoid(sign * upper) - jax.nn.sigmoid(sign * lower))


class FactorizedDensity(nn.Module):
    """Bits of z under the learned density.

    Attributes:
      channels: channels C of z.
      filters: widths of the hidden layers: (3, 3, 3) in the paper, (3, 3, 3, 3) in CompressAI.
      with_offset: symbols of a channel are round(z - offset), with a parameter for the offset
        (CompressAI's medians), rather than round(z).
      init_scale: the density at the start is about this wide; z beyond it costs many bits at first.
    """

    channels: int
    filters: tuple[int, ...] = (3, 3, 3)
    with_offset: bool = False
    init_scale: float = 10.0

    def setup(self):
        params = {}
        widths = (1, *self.filters, 1)
        last = len(self.filters)
        width = self.init_scale ** (1 / (last + 1))
        for k in range(last + 1):
            r, s = widths[k], widths[k + 1]
            matrix = float(np.log(np.expm1(1 / width / s)))
            fill = nn.initializers.constant(matrix)
            params[f"matrix_{k}"] = self.param(f"matrix_{k}", fill, (self.channels, r, s))
            spread = nn.initializers.uniform(1.0)
            bias = self.param(
                f"bias_{k}", lambda key, sh, f=spread: f(key, sh) - 0.5, (self.channels, s)
            )
            params[f"bias_{k}"] = bias
            if k < last:
                zeros = nn.initializers.zeros
                params[f"factor_{k}"] = self.param(f"factor_{k}", zeros, (self.channels, s))
        self.params = params
        if self.with_offset:
            self.offset = self.param("offset", nn.initializers.zeros, (self.channels,))
        else:
            self.offset = 0.0

    def __call__(self, z: Array) -> Array:
        """-log2 P(z), elementwise; z (..., C) is rounded, or has uniform noise for that."""
        return -jnp.log2(lower_bound(likelihood(self.params, z), LIKELIHOOD_MIN))


def coding_tables(
    params: dict[str, np.ndarray], tail_mass: float = 1e-6, reach: int = 2048
) -> CdfTables:
    """Frozen integer CDFs, one a channel, from the density's parameters.

    Evaluated in float64 NumPy over the symbols in [-reach, reach]; each table covers all but about
    `tail_mass` of its channel, values beyond it are coded as overflow.

    Raises:
      ValueError: a channel has more than 1 % of its mass outside the reach (a density that never
        trained, or diverged).
    """
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    offset = params.get("offset", np.zeros(len(params["matrix_0"])))
    edges = np.arange(-reach, reach + 2) - 0.5
    pmfs, offsets = [], []
    for c in range(params["matrix_0"].shape[0]):
        h = edges[:, None] + offset[c]
        for k in range(layers(params)):
            h = h @ np.logaddexp(0, params[f"matrix_{k}"][c]) + params[f"bias_{k}"][c]
            if f"factor_{k}" in params:
                h = h + np.tanh(params[f"factor_{k}"][c]) * np.tanh(h)
        logits = h[:, 0]
        sign = np.where(logits[:-1] + logits[1:] > 0, -1.0, 1.0)
        cdf = [0.5 * (1 + np.tanh(0.5 * sign * edge)) for edge in (logits[:-1], logits[1:])]
        pmf = np.abs(cdf[1] - cdf[0])
        if not 0.99 < pmf.sum() < 1.01:
            raise ValueError(
                f"channel {c} of the density of z: expected its mass within +-{reach}, "
                f"found {pmf.sum():.3f} of it there"
            )
        cumulative = np.cumsum(pmf)
        low = int(np.searchsorted(cumulative, tail_mass / 2))
        high = int(np.searchsorted(cumulative, cumulative[-1] - tail_mass / 2))
        pmfs.append(pmf[low : high + 1])
        offsets.append(low - reach)
    return tables_from_pmf(pmfs, np.asarray(offsets))
