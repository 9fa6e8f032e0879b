"""The stages of a model, compiled: what `codec.py` runs between pictures and symbols.

Those between z_hat and the tables are each one function for encoder and decoder: the same compiled
program on the same shapes gives both the same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from ycc_jax import wavefront
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.grouped import Step
from ycc_jax.nets.prior import LIKELIHOODS
from ycc_jax.pictures.color import from_uint8
from ycc_jax.pictures.framing import Input

Array = jax.Array


class Stages:
    """Analysis, prior and synthesis of one picture, from NumPy to NumPy.

    Args:
      net: the model.
      params: its parameters.
    """

    def __init__(self, net: HyperpriorModel, params: dict[str, Any]):
        self.net = net
        self.offset = params[net.factorized_density].get("offset", np.float32(0))
        stages = (_analyse, _hyper, _synthesise, _synthesise_planes)
        params = jax.device_put(params)
        self._analyse, self._hyper, self._synthesise, self._planes = (
            partial(jax.jit(partial(stage, net)), params) for stage in stages
        )
        step = jax.jit(partial(_parameters, net), static_argnums=4)
        self._parameters = partial(step, params)

    def analyse(self, picture: Input, level: np.ndarray) -> list[np.ndarray]:
        """The latents with gain, not rounded: y (h, w, M), and z (h/4, w/4, N) if there is one."""
        return [np.asarray(latent) for latent in self._analyse(picture, level)]

    def factorized_symbols(self, latent: np.ndarray) -> np.ndarray:
        """Symbols, int32, of the latent that has the factorized density: z, or y without a z."""
        return np.rint(latent - self.offset).astype(np.int32)

    def y_hat(self, z: np.ndarray, level: np.ndarray, exchange: wavefront.Exchange) -> np.ndarray:
        """y_hat (h, w, M), float32, from the symbols of z and those of y that `exchange` gives.

        With the autoregressive context y goes wave by wave (`wavefront.y_hat`), else in whole
        planes (`net.steps`; one, without a context), each in raster order; without a hyperprior
        nothing is left to exchange.
        """
        z_hat = z.astype(np.float32) + self.offset
        if not self.net.has_hyperprior:
            return z_hat
        hyper = self._hyper(z_hat, level)
        if self.net.context == "autoregressive":

            def of_wave(*positions):
                parameters = self._parameters(level, *positions, self.net.steps[0])
                return tuple(np.asarray(a) for a in parameters)

            return wavefront.y_hat(np.asarray(hyper), self.net.M, of_wave, exchange)

        y_hat = np.zeros((*hyper.shape[:2], self.net.M), np.float32)
        for step in self.net.steps:
            rows, columns = np.nonzero(step.mask(*y_hat.shape[:2]))
            place = rows, columns, slice(step.start, step.stop)
            parameters = self._parameters(level, hyper[None], y_hat[None], step)
            mean, index = (np.asarray(a)[0, rows, columns] for a in parameters)
            y_hat[place] = exchange(place, mean, index) + mean
        return y_hat

    def synthesise(self, y_hat: np.ndarray, level: np.ndarray) -> np.ndarray:
        """y_hat (h, w, M) -> RGB (H, W, 3), floats, not clipped."""
        return np.asarray(self._synthesise(y_hat, level))

    def synthesise_planes(
        self, y_hat: np.ndarray, level: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """y_hat (h, w, M) -> luma (H, W, 1) and chroma (H/2, W/2, 2), floats, not clipped."""
        luma, chroma = self._planes(y_hat, level)
        return np.asarray(luma), np.asarray(chroma)


def _apply(net: HyperpriorModel, params: Any, method: Callable, *args: Any) -> Any:
    # Accelerators would otherwise multiply in bf16 or tf32.
    with jax.default_matmul_precision("highest"):
        return net.apply({"params": params}, *args, method=method)


def _analyse(net, params, picture: Input, level: Array) -> list[Array]:
    x = picture if isinstance(picture, tuple) else from_uint8(picture)
    latents = [_apply(net, params, net.analyse, x, level)]
    if net.has_hyperprior:
        latents.append(_apply(net, params, net.hyper_analyse, latents[0], level))
    return [latent[0] for latent in latents]


def _hyper(net, params, z_hat: Array, level: Array) -> Array:
    """Hyper features (h, w, F)."""
    return _apply(net, params, net.hyper_synthesise, z_hat[None], level)[0]


def _parameters(
    net, params, level: Array, hyper: Array, y_hat: Array, step: Step
) -> tuple[Array, Array]:
    """Mean and table index of y: in a step of a whole plane, from hyper features (1, h, w, F) and
    y_hat (1, h, w, M); or, with the autoregressive context, of the `wavefront.POSITIONS` positions
    of a wave, from (K, F) and their neighbours (K, 12, M)."""
    mean, *scales = _apply(net, params, net.parameters, hyper, y_hat, level, step)
    return mean, LIKELIHOODS[net.likelihood].index(*scales)


def _synthesise(net, params, y_hat: Array, level: Array) -> Array:
    return _apply(net, params, net.synthesise_rgb, y_hat[None], level)[0]


def _synthesise_planes(net, params, y_hat: Array, level: Array) -> tuple[Array, Array]:
    luma, chroma = _apply(net, params, net.synthesise_planes, y_hat[None], level)
    return luma[0], chroma[0]
