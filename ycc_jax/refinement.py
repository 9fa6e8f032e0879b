"""A search at the encoder: y and z of one picture, moved until rate + lambda * distortion is less.

An encoder network gives latents that are good for all pictures; those of one picture can be better
(Yang, Bamler & Mandt 2020, "Improving inference for neural image compression"). Here the unrounded
y and z go down the gradient of the rate and the distortion that a decoder will see, through the
float twin of the prior and the synthesis. A decoder cannot tell and needs to know nothing.

Rounding has no useful gradient, so a relaxed one takes its place: each value stands between the two
integers around it (for y: integers beside the mean of its prior) at a random place that is drawn to
the nearer one the more, the lower the temperature, which falls (stochastic Gumbel annealing, their
section 3.2). The means are those of the step before, which saves a pass through the prior.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.metrics.distortion import distortion
from ycc_jax.models import HyperpriorModel
from ycc_jax.pictures.color import from_uint8
from ycc_jax.pictures.framing import Input

Array = jax.Array

ITERATIONS = (0, 10, 20, 30, 50, 80, 120, 200, 300, 500)
"""Of effort 0 to 9."""

# Chosen on two held-out photographs at two qualities, 50 iterations. Worse there: RATE 0.02; EPS
# 0.5 and 20; HOT 1; COLD 0.2; soft or plain rounding without chance.
RATE = 0.03  # of Adam, in quantiser steps, falling along a cosine
EPS = 5.0  # bits a step: where gradients are smaller, what moves is the gradient, not its sign
HOT, COLD = 0.5, 0.1  # temperatures of the first and of the last iteration
NEARBY = 1.25  # ratio of the quantiser's steps that are compared to find lambda


class Task(NamedTuple):
    """What is to be coded, and what its bits are worth.

    Attributes:
      picture: a window of the picture, a batch of one.
      latent: y of all the window, (1, h, w, M), rounded where the tile is not.
      row, column: where in it the tile begins.
      level: as in `HyperpriorModel.gains`.
      chroma: weight of a chroma plane in the distortion.
      lmbda: bits a pixel that a unit of the distortion (`metrics/distortion.py`, "mse") is worth.
    """

    picture: Input
    latent: np.ndarray
    row: int
    column: int
    level: np.ndarray
    chroma: float
    lmbda: float


class Refinement:
    """The search with one model, compiled once for each shape.

    Args:
      net, params: of the codec model.
    """

    def __init__(self, net: HyperpriorModel, params: Any):
        self._has_z = net.has_hyperprior
        self._means = partial(jax.jit(partial(_means, net)), params)
        self._step = partial(jax.jit(partial(_step, net), donate_argnums=1), params)
        self._distortion = partial(jax.jit(partial(_distortion, net)), params)
        self._lmbda = partial(jax.jit(partial(_lmbda, net)), params)

    def __call__(
        self,
        task: Task,
        y: np.ndarray,
        z: np.ndarray,
        iterations: int,
        progress: Callable[[int], None] = lambda n: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Better y and z than those of the encoder networks, not rounded either.

        Args:
          y, z: of the tile, (h, w, M) and (h/4, w/4, N); of a model without hyperprior y twice.
          iterations: at least 1. All that is random comes from their numbers.
          progress: called after each with how many there were.
        """
        latents = jnp.asarray(y)[None], jnp.asarray(z)[None]
        mean = self._means(task.level, *latents)
        state = {"latents": latents, "mean": mean, "adam": _adam().init(latents)}
        for n in range(iterations):
            state = jax.block_until_ready(self._step(state, task, n, iterations))
            progress(n + 1)
        y, z = (np.asarray(latent[0]) for latent in state["latents"])
        return y, z if self._has_z else y

    def cost(self, task: Task, y_hat: np.ndarray, size: int) -> float:
        """Bits and distortion of the window, as one number.

        Args:
          y_hat: of the tile, as a decoder has it.
          size: of what codes it, in bytes.
        """
        return 8 * size + task.lmbda * float(self._distortion(task, y_hat[None]))

    def lmbda(self, task: Task, y: np.ndarray, z: np.ndarray) -> float:
        """What the model itself trades, of one that does not say it: what a somewhat finer step of
        y costs in bits, over what it saves of the distortion. Training balances the two."""
        return float(self._lmbda(task, jnp.asarray(y)[None], jnp.asarray(z)[None]))


def _apply(net, params, method, *inputs):
    return net.apply({"params": params}, *inputs, method=method)


def _means(net, params, level: Array, y: Array, z: Array) -> Array:
    return _apply(net, params, net.bits_of, y, jnp.round(z), level)[2]


def _distortion(net, params, task: Task, y_hat: Array) -> Array:
    """That of the window times its pixels: of RGB for models that code RGB, else of YCbCr."""
    x: Any = task.picture
    latent = jax.lax.dynamic_update_slice(task.latent, y_hat, (0, task.row, task.column, 0))
    if isinstance(x, tuple):
        pixels, shown = x[0].size, _apply(net, params, net.synthesise_planes, latent, task.level)
    else:
        pixels, x = x.size // 3, from_uint8(x)
        shown = _apply(net, params, net.synthesise_rgb, latent, task.level)
    space = "rgb" if net.color_space == "rgb" else "ycbcr"
    return pixels * distortion(x, shown, space=space, chroma_weight=task.chroma)[0]


def _lmbda(net, params, task: Task, y: Array, z: Array) -> Array:
    z_hat, mean = jnp.round(z), _means(net, params, jnp.asarray(task.level), y, z)

    def at(finer: float) -> tuple[Array, Array]:
        y_hat = mean + jnp.round(finer * (y - mean)) / finer
        bits, *_ = _apply(net, params, net.bits_of, y_hat, z_hat, task.level, finer)
        return bits.sum(), _distortion(net, params, task, y_hat)

    (more, small), (less, large) = at(NEARBY), at(1 / NEARBY)
    return (more - less) / (large - small)


def _adam() -> Any:
    import optax  # part of a second, which only a search has to wait for

    return optax.scale_by_adam(0.9, 0.95, EPS)


def _step(net, params, state: dict[str, Any], task: Task, n: Array, iterations: Array):
    """One iteration: the state after it."""
    progress = n / iterations
    temperature = HOT * (COLD / HOT) ** progress
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), n))

    def loss(latents: tuple[Array, Array]) -> tuple[Array, Array]:
        y, z = latents
        y_hat = state["mean"] + relaxed(keys[0], y - state["mean"], temperature)
        z_hat = relaxed(keys[1], z, temperature)
        bits_y, bits_z, mean = _apply(net, params, net.bits_of, y_hat, z_hat, task.level)
        bits = bits_y.sum() + bits_z.sum()
        return bits + task.lmbda * _distortion(net, params, task, y_hat), mean

    gradient, mean = jax.grad(loss, has_aux=True)(state["latents"])
    update, adam = _adam().update(gradient, state["adam"])
    rate = RATE / 2 * (1 + jnp.cos(jnp.pi * progress))
    latents = jax.tree.map(lambda x, u: x - rate * u, state["latents"], update)
    return {"latents": latents, "mean": mean, "adam": adam}


def relaxed(key: Array, x: Array, temperature: Array) -> Array:
    """A random place between floor(x) and floor(x) + 1: of a cold one, nearly always the nearer.

    Args:
      key: of the chance.
      x: any shape, in quantiser steps.
      temperature: scalar above 0.
    """
    low = jax.lax.stop_gradient(jnp.floor(x))
    # Kept from the ends, where the logarithms are infinite.
    up = jnp.clip(x - low, 1e-4, 1 - 1e-4)
    odds = (jnp.arctanh(up) - jnp.arctanh(1 - up)) / temperature
    return low + jax.nn.sigmoid((odds + jax.random.logistic(key, x.shape)) / temperature)
