"""Starts that already are codecs: gains and channel widths in closed form, or another model's.

With the lapped shortcut the untrained model is a linear transform codec, up to two unknowns, which
this sets: how wide each channel of y is (measured on a few training crops), and how finely each
rate level should quantise. For a uniform quantiser of step d the distortion is d^2 / 12 and the
rate falls by log2 d, so rate + lambda' * distortion is least at d^2 = 6 / (ln 2 * lambda') (the
high-resolution approximation; Gish & Pierce 1968).
"""

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.input.crops import crop_batches
from train.step import init_params
from ycc_jax.codec_model import find_model, load_model, read_header
from ycc_jax.models import HyperpriorModel, build
from ycc_jax.nets.gain import level_weights
from ycc_jax.nets.lapped import kept_channels
from ycc_jax.pictures.color import from_uint8, ycbcr_to_rgb

Array = jax.Array
Axes = tuple[tuple[float, ...], tuple[float, ...]]


def start_params(config: Any, model: HyperpriorModel, source: Any, reading: dict[str, Any]) -> Any:
    """Parameters before the first step: random, another model's, or in closed form."""
    params = init_params(model, config.train.seed)
    lambdas, alpha = in_ycbcr(config.loss)
    if config.optim.start_from:
        return start_from(config.optim.start_from, model, params, lambdas, alpha)
    if not config.optim.closed_form_start:
        return params
    # A seed of its own: these crops only measure, and no step sees them again. Every process reads
    # all of them, so that the measure does not depend on the number of processes.
    whole = reading | dict(batch_size=config.data.batch_size, shard=(0, 1))
    with contextlib.closing(crop_batches(source, seed=config.train.seed + 1, **whole)) as sample:
        crops = [next(sample) for _ in range(math.ceil(32 / config.data.batch_size))]
    return closed_form_start(model, params, lambdas, alpha, np.concatenate(crops))


def in_ycbcr(loss: Any) -> tuple[tuple[float, ...], float]:
    """(lambdas, alpha) of the "ycbcr" distortion that weighs errors of the planes as the loss does.

    Of "rgb", the mean of three squared errors, that is 1 for Y, and for Cb and Cr a third of the
    squares of what one unit of them does to R, G and B.
    """
    if loss.space == "ycbcr":
        return tuple(loss.lambdas), loss.alpha
    rgb_of = ycbcr_to_rgb(np.eye(3)) - ycbcr_to_rgb(np.zeros(3))
    alpha = float(np.mean(rgb_of[1:] ** 2, axis=-1).mean())
    return tuple(lmbda * (1 + 2 * alpha) for lmbda in loss.lambdas), alpha


def closed_form_start(
    model: HyperpriorModel, params: Any, lambdas: tuple[float, ...], alpha: float, crops: Array
) -> Any:
    """Parameters with `gain_y` and `log_std` set.

    Args:
      model: level-aware, with the linear shortcut.
      params: its initial parameters.
      lambdas, alpha: from `in_ycbcr`; a grid of gains has its own alphas.
      crops: uint8 (B, H, W, 3), training crops.

    Raises:
      ValueError: the model has no linear shortcut or does not know its level, or alpha is 0.
    """
    if not (model.linear_shortcut and model.level_aware):
        raise ValueError(
            "closed_form_start expects linear_shortcut and level_aware, found "
            f"linear_shortcut={model.linear_shortcut}, level_aware={model.level_aware}"
        )
    x = from_uint8(jnp.asarray(crops))
    # Gains are 1 before this, so analyse gives the latent in units of the picture's [0, 1].
    level = jnp.zeros((x.shape[0], len(model.grid)))
    y = model.apply({"params": params}, x, level, method=model.analyse)
    std = jnp.std(y, axis=(0, 1, 2)) + 1e-4
    log_gain = closed_form_gain(model.M, lambdas, model.alphas or (alpha,))
    log_gain = jnp.asarray(log_gain, jnp.float32).reshape(*model.grid, model.M)
    gain_y = {"log_gain": log_gain, "log_inverse": -log_gain}
    return {**params, "gain_y": gain_y, "log_std": jnp.log(std)}


def closed_form_gain(M: int, lambdas: tuple[float, ...], alphas: tuple[float, ...]) -> np.ndarray:
    """log of the gain of the shortcut's channels, (rates, alphas, M).

    Raises:
      ValueError: an alpha is not positive: no gain would be right for chroma that has no weight.
    """
    if min(alphas) <= 0:
        raise ValueError(f"gains in closed form expect alpha above 0, found {min(alphas)}")
    # A luma value of the transform weighs 1 / (1 + 2 alpha) in the loss. One of half-size chroma
    # covers four pixels and weighs 4 alpha / (1 + 2 alpha), so its step is that much finer.
    lambdas, alphas = np.asarray(lambdas)[:, None, None], np.asarray(alphas)[:, None]
    is_chroma = kept_channels(M) >= 256
    finer = np.where(is_chroma, np.sqrt(4 * alphas), 1.0)
    step = np.sqrt(6 * (1 + 2 * alphas) / (np.log(2) * lambdas)) / 255
    return np.log(finer / step)


def start_from(
    name: str, model: HyperpriorModel, params: Any, lambdas: tuple[float, ...], alpha: float
) -> Any:
    """Parameters of another codec model, as a start; its gains are carried over to other rates.

    Every parameter must be there, at the same path and in the same shape. But what there is for
    each level (gains, the vectors by which the entropy nets know it) is interpolated to the rates
    and chroma weights of the new model, in their logarithms; beyond those that were trained it is
    as at the nearest, and with the linear shortcut gains of y go on as the closed form does.

    Args:
      name: folder or bundled name of the codec model.
      model, params: the new one, and its initial parameters.
      lambdas, alpha: from `in_ycbcr`.

    Raises:
      ModelError: no such model.
      ValueError: a parameter is missing there, or has a shape that does not fit; or the model has
        other levels and does not say of which lambdas.
    """
    path = find_model(name)
    old = load_model(path)
    found = dict(jax.tree_util.tree_leaves_with_path(old.params))
    new_axes = (lambdas, model.alphas or (alpha,))
    old_axes = new_axes
    loss = read_header(path)["training"].get("config", {}).get("loss")
    if loss:
        old_lambdas, old_alpha = in_ycbcr(SimpleNamespace(**loss))
        old_axes = (old_lambdas, tuple(old.arguments.get("alphas") or (old_alpha,)))
    elif build(**old.arguments).grid != model.grid:
        raise ValueError(f"model {name}: expected the lambdas of its levels, found none")

    def value(path, new):
        where = jax.tree_util.keystr(path)
        if path not in found:
            raise ValueError(f"model {name}: expected parameter {where}, found none")
        array = np.asarray(found[path])
        if path[-1].key in ("log_gain", "log_inverse", "level"):
            closed_form = {"log_gain": 1, "log_inverse": -1}.get(path[-1].key, 0)
            closed_form *= model.linear_shortcut and path[0].key == "gain_y"
            array = to_levels(array, old_axes, new_axes, closed_form).reshape(
                *model.grid, array.shape[-1]
            )
        if array.shape != new.shape:
            raise ValueError(
                f"model {name}: expected parameter {where} of shape {new.shape}, "
                f"found {array.shape}"
            )
        return jnp.asarray(array, new.dtype)

    return jax.tree_util.tree_map_with_path(value, params)


def to_levels(array: np.ndarray, old: Axes, new: Axes, closed_form: int) -> np.ndarray:
    """What a model has for each level, at other levels.

    Args:
      array: (rates, alphas, C), or (rates, C) of a model for one alpha.
      old, new: (lambdas, alphas) of the levels; ascending.
      closed_form: 1 for log gains, -1 for their inverses: then only what was learned beyond
        `closed_form_gain` is interpolated; else 0.

    Returns:
      (new rates, new alphas, C).
    """
    channels = array.shape[-1]
    array = np.reshape(array, (len(old[0]), len(old[1]), channels))
    if old == new:
        return array
    if closed_form:
        array = array - closed_form * closed_form_gain(channels, *old)
    for axis in (0, 1):
        position = np.interp(np.log(new[axis]), np.log(old[axis]), np.arange(len(old[axis])))
        weights = np.asarray(level_weights(position, (len(old[axis]),)))
        array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    if closed_form:
        array = array + closed_form * closed_form_gain(channels, *new)
    return array
