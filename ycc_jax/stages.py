"""The stages of a model, compiled: what `codec.py` runs between pictures and symbols.

Transforms are floating point: pixels, and at the encoder latents. All from the symbols of z to the
tables that code y is the integer prior of `exact/`, whose numbers are the same everywhere.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from ycc_jax import wavefront
from ycc_jax.codec_model import CodecModel
from ycc_jax.exact.fixed_point import dequantise, to_float
from ycc_jax.exact.prior import ExactPrior, Level
from ycc_jax.models import build
from ycc_jax.pictures.color import from_uint8
from ycc_jax.pictures.framing import Input
from ycc_jax.refinement import Refinement

Array = jax.Array


class Stages:
    """Analysis, prior and synthesis of one picture, from NumPy to NumPy.

    Args:
      model: the codec model.

    Attributes:
      net: its `HyperpriorModel`.
      prior: its integer prior; None without a hyperprior.
      refinement: the search for better latents.

    Raises:
      ValueError: arguments that make no model, or integers that are not proved to be exact.
    """

    def __init__(self, model: CodecModel):
        self.net = net = build(**model.arguments)
        self.prior = ExactPrior(net, model.frozen) if net.has_hyperprior else None
        self.offset = model.params[net.factorized_density].get("offset", np.float32(0))
        stages = (_analyse, _hyper_analyse, _synthesise, _synthesise_planes)
        params = jax.device_put(model.params)
        self.refinement = Refinement(net, params)
        self._analyse, self._hyper_analyse, self._synthesise, self._planes = (
            partial(jax.jit(partial(stage, net)), params) for stage in stages
        )

    def analyse(self, picture: Input, level: np.ndarray) -> np.ndarray:
        """y (h, w, M), with gain, not rounded."""
        return np.asarray(self._analyse(picture, level))

    def hyper_analyse(self, y: np.ndarray, level: np.ndarray) -> np.ndarray:
        """z (h/4, w/4, N), with gain, not rounded; of a model without a hyperprior y itself."""
        return np.asarray(self._hyper_analyse(y, level)) if self.net.has_hyperprior else y

    def factorized_symbols(self, latent: np.ndarray) -> np.ndarray:
        """Symbols, int32, of the latent that has the factorized density: z, or y without a z."""
        return np.rint(latent - self.offset).astype(np.int32)

    def y_hat(self, z: np.ndarray, level: Level | None, exchange: wavefront.Exchange) -> np.ndarray:
        """y_hat (h, w, M), float32, from the symbols of z and those of y that `exchange` gives.

        With the autoregressive context y goes wave by wave (`wavefront.y_hat`), else in whole
        planes (`net.steps`; one, without a context), each in raster order; without a hyperprior
        nothing is left to exchange.

        Args:
          z: symbols (h/4, w/4, N).
          level: of `prior.level`; None without a hyperprior.
          exchange: as in `wavefront.y_hat`.
        """
        if self.prior is None or level is None:
            return z.astype(np.float32) + self.offset
        net, prior = self.net, self.prior
        hyper = prior.hyper(z, level)
        if net.context == "autoregressive":
            every, (step,) = slice(None), net.steps

            def of_wave(*positions):
                return prior.parameters(*positions, level, step)

            def see(y_hat):
                return prior.seen(y_hat, level, every)

            return to_float(wavefront.y_hat(hyper, net.M, of_wave, see, exchange))
        y_hat = np.zeros((*hyper.shape[:2], net.M), np.int32)
        seen = np.zeros(y_hat.shape, np.int16)
        for step in net.steps:
            rows, columns = np.nonzero(step.mask(*y_hat.shape[:2]))
            channels = slice(step.start, step.stop)
            place = rows, columns, channels
            parameters = prior.parameters(hyper, seen, level, step)
            mean, index = (a[rows, columns] for a in parameters)
            y_hat[place] = dequantise(exchange(place, mean, index), mean)
            if net.context != "none":
                seen[place] = prior.seen(y_hat[place], level, channels)
        return to_float(y_hat)

    def synthesise(self, y_hat: np.ndarray, level: np.ndarray) -> np.ndarray:
        """y_hat (h, w, M) -> RGB (H, W, 3), floats, not clipped."""
        return np.asarray(self._synthesise(y_hat, level))

    def synthesise_planes(
        self, y_hat: np.ndarray, level: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """y_hat (h, w, M) -> luma (H, W, 1) and chroma (H/2, W/2, 2), floats, not clipped."""
        luma, chroma = self._planes(y_hat, level)
        return np.asarray(luma), np.asarray(chroma)


def _apply(net, params: Any, method: Callable, *args: Any) -> Any:
    # Accelerators would otherwise multiply in bf16 or tf32.
    with jax.default_matmul_precision("highest"):
        return net.apply({"params": params}, *args, method=method)


def _analyse(net, params, picture: Input, level: Array) -> Array:
    x = picture if isinstance(picture, tuple) else from_uint8(picture)
    return _apply(net, params, net.analyse, x, level)[0]


def _hyper_analyse(net, params, y: Array, level: Array) -> Array:
    return _apply(net, params, net.hyper_analyse, y[None], level)[0]


def _synthesise(net, params, y_hat: Array, level: Array) -> Array:
    return _apply(net, params, net.synthesise_rgb, y_hat[None], level)[0]


def _synthesise_planes(net, params, y_hat: Array, level: Array) -> tuple[Array, Array]:
    luma, chroma = _apply(net, params, net.synthesise_planes, y_hat[None], level)
    return luma[0], chroma[0]
