"""The pure functions of a run: initial state, one training step, one validation batch.

The state is a plain dict: step (int32 scalar), params, ema (their moving average, which is what is
validated and exported) and opt (optax state).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.input.resident import ResidentPictures, random_crops
from ycc_jax.loss import rate_distortion
from ycc_jax.models import HyperpriorModel, init
from ycc_jax.nets.gain import chroma_position
from ycc_jax.pictures.color import from_uint8

Array = jax.Array
State = dict[str, Any]


def bound(loss: Any) -> Callable:
    """`rate_distortion` with a config's section `loss`: (out, x, lmbda, chroma_weight=)."""
    choices = dict(space=loss.space, metric=loss.metric, balance=loss.balance)
    return partial(rate_distortion, **choices)


def init_state(params: Any, tx: optax.GradientTransformation) -> State:
    """The state before the first step."""
    ema = jax.tree.map(jnp.array, params)
    return {"step": jnp.int32(0), "params": params, "ema": ema, "opt": tx.init(params)}


def blank_state(model: HyperpriorModel, tx: optax.GradientTransformation) -> State:
    """NumPy zeros in structure, shapes and dtypes of a state, for one to be read into."""
    shapes = jax.eval_shape(lambda: init_state(init(model), tx))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def level_chroma_weights(loss: Any) -> Array:
    """The chroma weight of each rate level, (levels,), of a config's section `loss`."""
    weights = loss.level_chroma_weights or (loss.chroma_weight,) * len(loss.lambdas)
    return jnp.asarray(weights, jnp.float32)


def make_train_step(model: HyperpriorModel, tx: optax.GradientTransformation, config: Any):
    """One step of a run, for `jax.jit`: (state, batch) -> (state, metrics).

    Each picture of the batch is coded at a level of its own: a rate, and with a grid of gains also
    a chroma weight, drawn uniformly among those trained (whole levels, not between them). The loss
    is `loss.rate_distortion` with the lambda and chroma weight of each picture; there is no second
    loss and no second optimiser, as other libraries have for quantiles. Its gradient is clipped to
    a global norm of `optim.clip_norm` and goes to the optimiser. Then the moving average `ema`
    takes 1 - d of the new parameters, with d = min(optim.ema_decay, (1 + n) / (10 + n)) after n
    steps.

    Levels and noise of the step come from `train.seed` and `state["step"]` alone; nothing else is
    random, so that a step repeated from a checkpoint is the same step.

    Args:
      model: in the compute dtype of the run.
      tx: `train.optimizer.optimizer(config)`.
      config: sections loss, optim and train.

    Returns:
      A pure function of
        state: of `init_state`.
        batch: uint8 RGB (B, H, W, 3), H and W multiples of the model's stride; converted to the
          model's subsampling first.
      to the state after the step, and float32 scalars by name, means over the batch as it was
      before the step: those of `rate_distortion`, and grad_norm, before clipping.
    """
    lambdas = jnp.asarray(config.loss.lambdas, jnp.float32)
    loss = bound(config.loss)

    def train_step(state: State, batch: Array) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.PRNGKey(config.train.seed), state["step"])
        level_key, noise_key = jax.random.split(key)
        x = model.picture(from_uint8(batch))
        # One level a picture: a batch then holds several rates, and its gradient is less noisy.
        rate = jax.random.randint(level_key, (batch.shape[0],), 0, len(config.loss.lambdas))
        level, chroma_weight = rate[:, None], level_chroma_weights(config.loss)[rate]
        if model.chroma_weights:
            chroma_key = jax.random.fold_in(level_key, 1)
            position = jax.random.randint(chroma_key, rate.shape, 0, len(model.chroma_weights))
            level = jnp.stack([rate, position], axis=1)
            chroma_weight = jnp.asarray(model.chroma_weights)[position]

        def loss_fn(params: Any) -> tuple[Array, dict[str, Array]]:
            out = model.apply({"params": params}, x, level.astype(jnp.float32), noise_key)
            return loss(out, x, lambdas[rate], chroma_weight=chroma_weight)

        grads, metrics = jax.grad(loss_fn, has_aux=True)(state["params"])
        metrics["grad_norm"] = optax.tree.norm(grads)
        updates, opt = tx.update(grads, state["opt"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        step = state["step"] + 1
        # A short memory at first, so that the average forgets the initial weights.
        decay = jnp.minimum(config.optim.ema_decay, (1.0 + step) / (10.0 + step))
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
        return {"step": step, "params": params, "ema": ema, "opt": opt}, metrics

    return train_step


def make_train_chunk(
    model: HyperpriorModel,
    tx: optax.GradientTransformation,
    config: Any,
    steps: int,
    shape: tuple[int, int] | None = None,
    *,
    by_picture: jax.sharding.Sharding | None = None,
    unroll: bool | None = None,
):
    """Several steps as one program: (state, data) -> (state, metrics of each step, (steps,) each).

    Data are the batches, uint8 (steps, B, H, W, 3), or `ResidentPictures`, of which each step cuts
    its own batch. The device then waits for the host once a chunk, not once a step.

    Args:
      model, tx, config: of `make_train_step`.
      steps: how many; the batches must be as many.
      shape: batch size and crop of the batches that are cut; None for those of the config.
      by_picture: how the batches that are cut are spread over the devices; None for one device.
      unroll: no loop, but the steps one after the other, which compiles for `steps` times as long;
        None does so on CPUs, where a loop runs a tenth as fast: XLA compiles the gradients of
        convolutions well only outside of loops there.

    Raises:
      ValueError: another number of batches.
    """
    train_step = make_train_step(model, tx, config)
    if unroll is None:
        unroll = jax.default_backend() == "cpu"

    def cut_and_step(
        pictures: ResidentPictures, state: State, _: None
    ) -> tuple[State, dict[str, Array]]:
        batch_size, crop = shape or (config.data.batch_size, config.data.crop)
        batch = random_crops(pictures, config.train.seed, state["step"], batch_size, crop)
        if by_picture is not None:
            batch = jax.lax.with_sharding_constraint(batch, by_picture)
        return train_step(state, batch)

    def train_chunk(state: State, data: Array | ResidentPictures) -> tuple[State, dict[str, Array]]:
        step, batches = train_step, data
        if isinstance(data, ResidentPictures):
            step, batches = partial(cut_and_step, data), None
        elif data.shape[0] != steps:
            raise ValueError(f"expected {steps} batches, found {data.shape[0]}")
        if not unroll:
            return jax.lax.scan(step, state, batches, length=steps)
        history = []
        for i in range(steps):
            state, metrics = step(state, None if batches is None else batches[i])
            history.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.stack(values), *history)

    return train_chunk


def make_eval_step(model: HyperpriorModel, config: Any):
    """What a decoder would get at one rate, for `jax.jit`: (params, batch, level) -> metrics.

    Latents are rounded, nothing is random, and levels are not weighted (`loss.balance` is 0). A
    model with a grid of gains is validated at the chroma weight `loss.chroma_weight`, one with
    `loss.level_chroma_weights` at each level's own.

    Args:
      model: in float32, as codecs compute.
      config: section loss.

    Returns:
      A pure function of
        params: of the model; the run gives it the moving average.
        batch: uint8 RGB (B, H, W, 3), as of `make_train_step`.
        level: int scalar, index of one of `loss.lambdas`, for all pictures.
      to the metrics of `rate_distortion`, float32 scalars by name, means over the batch.
    """
    lambdas = jnp.asarray(config.loss.lambdas, jnp.float32)
    loss = partial(bound(config.loss), balance=0.0)
    position = (
        [chroma_position(config.loss.chroma_weight, model.chroma_weights)]
        if model.chroma_weights
        else []
    )

    def eval_step(params: Any, batch: Array, level: Array) -> dict[str, Array]:
        x = model.picture(from_uint8(batch))
        levels = jnp.tile(jnp.array([level, *position], jnp.float32), (batch.shape[0], 1))
        out = model.apply({"params": params}, x, levels)
        chroma_weight = level_chroma_weights(config.loss)[level]
        lmbda = jnp.full(batch.shape[:1], lambdas[level])
        return loss(out, x, lmbda, chroma_weight=chroma_weight)[1]

    return eval_step
