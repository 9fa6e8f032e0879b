"""The parameters that a run starts with: random, in closed form, or another model's."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.input.training_input import TrainingInput
from ycc_jax.codec_model import find_model, load_model, read_header
from ycc_jax.errors import InputError
from ycc_jax.models import HyperpriorModel, build, init
from ycc_jax.nets.closed_form import Axes, closed_form, params_at_levels
from ycc_jax.pictures.color import ycbcr_to_rgb


def start_params(config: Any, model: HyperpriorModel, inputs: TrainingInput) -> Any:
    """Parameters before the first step, as the section `optim` of the config chooses them."""
    axes = level_axes(model, config.loss)
    if config.optim.start_from:
        grows = config.optim.start_grows
        first = partial(init, model, config.train.seed)
        new = first() if grows else jax.eval_shape(first)
        return start_from(config.optim.start_from, model, new, axes, grows)
    params = init(model, config.train.seed)
    if config.optim.closed_form_start:
        if by_level := tuple(config.loss.level_chroma_weights):
            axes = axes[0], by_level
        return closed_form(model, params, axes, inputs.sample(32))
    return params


def level_axes(model: HyperpriorModel, loss: Any) -> Axes:
    """(lambdas, chroma weights) of a model's levels, of the "ycbcr" distortion that weighs errors
    of the planes as the loss does.

    Of "rgb", the mean of three squared errors, that is 1 for Y, and for Cb and Cr a third of the
    squares of what one unit of them does to R, G and B.
    """
    if loss.space == "ycbcr":
        return tuple(loss.lambdas), model.chroma_weights or (loss.chroma_weight,)
    rgb_of = ycbcr_to_rgb(np.eye(3)) - ycbcr_to_rgb(np.zeros(3))
    chroma_weight = float(np.mean(rgb_of[1:] ** 2, axis=-1).mean())
    return tuple(
        lmbda * (1 + 2 * chroma_weight) for lmbda in loss.lambdas
    ), model.chroma_weights or (chroma_weight,)


def start_from(
    name: str, model: HyperpriorModel, params: Any, axes: Axes, grows: bool = False
) -> Any:
    """Parameters of another codec model, as a start; its gains are carried over to other rates.

    Every parameter must be there, at the same path and in the same shape, but for those that the
    model has for each level (`closed_form.params_at_levels`). With `grows` it may also be missing
    there, or smaller (`grown`).

    Args:
      name: folder or bundled name of the codec model.
      model, params: the new one, and its initial parameters; unless it grows, only their shapes and
        dtypes are used.
      axes: of its levels.
      grows: `optim.start_grows`.

    Raises:
      ModelError: no such model.
      InputError: a parameter is missing there, or has a shape that does not fit; or the model has
        other levels and does not say of which lambdas.
    """
    path = find_model(name)
    old = load_model(path)
    old_model, old_axes = build(**old.arguments), axes
    loss = read_header(path)["training"].get("config", {}).get("loss")
    if loss:
        old_axes = level_axes(old_model, SimpleNamespace(**loss))
    elif old_model.grid != model.grid:
        raise InputError(f"model {name}: expected the lambdas of its levels, found none")
    old_params = params_at_levels(model, old.params, old_axes, axes)
    found = dict(jax.tree_util.tree_leaves_with_path(old_params))

    def value(path, new):
        where = jax.tree_util.keystr(path)
        if path not in found:
            if grows:
                return new
            raise InputError(f"model {name}: expected parameter {where}, found none")
        old = found[path]
        if old.shape == new.shape:
            return jnp.asarray(old, new.dtype)
        if not grows or not fits(old.shape, new.shape):
            raise InputError(
                f"model {name}: expected parameter {where} of shape {new.shape}, found {old.shape}"
            )
        return grown(jnp.asarray(old, new.dtype), new)

    return jax.tree_util.tree_map_with_path(value, params)


def fits(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether an array of the old shape fits into one of the new."""
    return len(old) == len(new) and all(a <= b for a, b in zip(old, new, strict=True))


def grown(old: jax.Array, new: jax.Array) -> jax.Array:
    """A trained parameter inside a larger, initial one: the network computes what it did.

    The old channels come first and take nothing from new ones; new channels take what the initial
    values say, from all (after Chen et al. 2016, "Net2Net", whose new channels are copies). Axes
    are (..., in, out).
    """
    new = jnp.asarray(new)
    if new.ndim > 1:
        new = new.at[..., : old.shape[-1]].set(0)
    return new.at[tuple(slice(n) for n in old.shape)].set(old)
