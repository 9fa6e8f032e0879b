"""What can be told of a config before any work: whether its choices fit together."""

from typing import Any

from ycc_jax.models import HyperpriorModel, build
from ycc_jax.ms_ssim import smallest_side


def check_config(config: Any) -> HyperpriorModel:
    """The model of a config, whose other choices fit it.

    Raises:
      ValueError: they do not; the message names the field, what it expects and what was found.
    """
    model, loss = build(**config.model.to_dict()), config.loss
    levels = max(model.levels, 1)
    if len(loss.lambdas) != levels:
        raise ValueError(f"expected {levels} lambdas, found {len(loss.lambdas)}")
    if min(loss.lambdas) <= 0 or loss.alpha < 0:
        raise ValueError(
            f"expected lambdas above 0 and an alpha of at least 0, found {loss.lambdas} and "
            f"{loss.alpha}"
        )
    for field, value, allowed in (
        ("loss.space", loss.space, ("rgb", "ycbcr")),
        ("loss.metric", loss.metric, ("mse", "ms_ssim")),
    ):
        if value not in allowed:
            raise ValueError(f"{field} must be one of {', '.join(allowed)}, found {value!r}")
    planes = model.subsampling == "420"
    if planes and loss.space == "rgb":
        raise ValueError("loss.space must be 'ycbcr' for 4:2:0 planes, found 'rgb'")
    crop = config.data.crop
    if crop < 1 or crop % model.stride:
        raise ValueError(f"expected a crop of a multiple of {model.stride}, found {crop}")
    smallest = smallest_side() * (2 if planes else 1)
    if loss.metric == "ms_ssim" and crop < smallest:
        raise ValueError(
            f"loss.metric 'ms_ssim' expects data.crop of at least {smallest}"
            f"{', for chroma planes have half of it' if planes else ''}, found {crop}"
        )
    closed_form = config.optim.closed_form_start and not config.optim.start_from
    if closed_form and (loss.metric, loss.space) != ("mse", "ycbcr"):
        raise ValueError(
            "optim.closed_form_start expects loss.metric 'mse' and loss.space 'ycbcr', found "
            f"{loss.metric!r} and {loss.space!r}"
        )
    return model
