"""What gains and channel widths are before any training, and at other levels after it.

With the lapped shortcut the untrained model is a linear transform codec, up to two unknowns: how
wide each channel of y is (measured on a few pictures), and how finely each level should quantise.
For a uniform quantiser of step d the distortion is d^2 / 12 and the rate falls by log2 d, so rate +
lambda' * distortion is least at d^2 = 6 / (ln 2 * lambda') (the high-resolution approximation; Gish
& Pierce 1968).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.errors import InputError
from ycc_jax.nets.gain import level_weights
from ycc_jax.nets.lapped import BLOCK, kept_channels
from ycc_jax.pictures.color import from_uint8

Array = jax.Array
# (lambdas, chroma weights) of the levels, ascending, of the "ycbcr" distortion (`loss.py`).
Axes = tuple[tuple[float, ...], tuple[float, ...]]
PER_LEVEL = ("log_gain", "log_inverse", "level")
"""Names of the parameters that have a value for each level: the gains, and the vectors by which the
entropy nets know it."""


def closed_form(model: Any, params: Any, axes: Axes, crops: Array) -> Any:
    """Parameters with the gains of y, and the widths of its channels, in closed form.

    Args:
      model: a `HyperpriorModel`, level-aware, with the linear shortcut.
      params: its initial parameters.
      axes: of its levels; several chroma weights for a line of as many rates are one a rate.
      crops: uint8 (B, H, W, 3), training crops.

    Raises:
      InputError: the model has no linear shortcut or does not know its level, or a chroma weight is
        not positive.
    """
    if not (model.linear_shortcut and model.level_aware):
        raise InputError(
            "closed_form_start expects linear_shortcut and level_aware, found "
            f"linear_shortcut={model.linear_shortcut}, level_aware={model.level_aware}"
        )
    x = from_uint8(jnp.asarray(crops))
    # Gains are 1 before this, so analyse gives the latent in units of the picture's [0, 1].
    level = jnp.zeros((x.shape[0], len(model.grid)))
    y = model.apply({"params": params}, x, level, method=model.analyse)
    std = jnp.std(y, axis=(0, 1, 2)) + 1e-4
    log_gain = jnp.asarray(closed_form_gain(model.M, axes), jnp.float32)
    if len(model.grid) == 1 and len(axes[1]) > 1:
        log_gain = jnp.stack([log_gain[n, n] for n in range(len(axes[0]))])
    log_gain = log_gain.reshape(*model.grid, model.M)
    gain_y = {"log_gain": log_gain, "log_inverse": -log_gain}
    return {**params, "gain_y": gain_y, "log_std": jnp.log(std)}


def closed_form_gain(M: int, axes: Axes) -> np.ndarray:
    """log of the gain of the shortcut's channels, (rates, chroma weights, M).

    Raises:
      InputError: a chroma weight is not positive: no gain would be right for such chroma.
    """
    lambdas, weights = (np.asarray(axis) for axis in axes)
    if weights.min() <= 0:
        raise InputError(
            f"gains in closed form expect chroma weights above 0, found {weights.min()}"
        )
    # With a chroma weight w, a luma value of the transform weighs 1 / (1 + 2 w) in the loss. One of
    # half-size chroma covers four pixels and weighs 4 w / (1 + 2 w): its step is that much finer.
    lambdas, weights = lambdas[:, None, None], weights[:, None]
    is_chroma = kept_channels(M) >= BLOCK * BLOCK
    finer = np.where(is_chroma, np.sqrt(4 * weights), 1.0)
    step = np.sqrt(6 * (1 + 2 * weights) / (np.log(2) * lambdas)) / 255
    return np.log(finer / step)


def params_at_levels(model: Any, params: Any, old: Axes, new: Axes) -> Any:
    """Parameters at other levels: what there is for each level is interpolated, the rest is kept.

    Linear in the logarithms of lambda and chroma weight; beyond the levels that were trained it
    is as at the nearest, and with the linear shortcut gains of y go on as the closed form does.

    Args:
      model: a `HyperpriorModel` with the new levels.
      params: of a model with the old ones.
      old, new: axes of the levels.
    """

    def value(path, array):
        if path[-1].key not in PER_LEVEL:
            return array
        sign = 0
        if model.linear_shortcut and path[0].key == "gain_y":
            sign = {"log_gain": 1, "log_inverse": -1}[path[-1].key]
        array = at_levels(np.asarray(array), old, new, sign)
        return array.reshape(*model.grid, array.shape[-1])

    return jax.tree_util.tree_map_with_path(value, params)


def at_levels(array: np.ndarray, old: Axes, new: Axes, closed_form: int) -> np.ndarray:
    """What a model has for each level, at other levels.

    Args:
      array: (rates, chroma weights, C), or (rates, C) of a model for one weight.
      old, new: axes of the levels.
      closed_form: 1 for log gains, -1 for their inverses: then only what was learned beyond
        `closed_form_gain` is interpolated; else 0.

    Returns:
      (new rates, new chroma weights, C).
    """
    channels = array.shape[-1]
    array = np.reshape(array, (len(old[0]), len(old[1]), channels))
    if old == new:
        return array
    if closed_form:
        array = array - closed_form * closed_form_gain(channels, old)
    for axis in (0, 1):
        position = np.interp(np.log(new[axis]), np.log(old[axis]), np.arange(len(old[axis])))
        weights = np.asarray(level_weights(jnp.asarray(position), (len(old[axis]),)))
        array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    if closed_form:
        array = array + closed_form * closed_form_gain(channels, new)
    return array
