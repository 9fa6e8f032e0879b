"""What can be told of a config before any work: that its choices fit, and the run they continue."""

import json
from pathlib import Path
from typing import Any

from configs.common import default
from ycc_jax.metrics.ms_ssim import smallest_side
from ycc_jax.models import HyperpriorModel, build
from ycc_jax.pictures.files import write_bytes


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
        ("data.loader", config.data.loader, ("memory", "grain", "resident")),
        ("train.compute_dtype", config.train.compute_dtype, ("auto", "float32", "bfloat16")),
    ):
        if value not in allowed:
            raise ValueError(f"{field} must be one of {', '.join(allowed)}, found {value!r}")
    planes = model.subsampling == "420"
    if planes and loss.space == "rgb":
        raise ValueError("loss.space must be 'ycbcr' for 4:2:0 planes, found 'rgb'")
    crop = config.data.crop
    if crop < 1 or crop % model.stride:
        raise ValueError(f"expected a crop of a multiple of {model.stride}, found {crop}")
    late = tuple(config.data.late)
    if late and (len(late) != 3 or min(late) < 1 or late[1] % model.stride or late[1] < crop):
        raise ValueError(
            "data.late expects () or a step, a crop that is no smaller and a multiple of "
            f"{model.stride}, and a batch size, found {late}"
        )
    smallest = smallest_side() * (2 if planes else 1)
    if loss.metric == "ms_ssim" and crop < smallest:
        raise ValueError(
            f"loss.metric 'ms_ssim' expects data.crop of at least {smallest}"
            f"{', for chroma planes have half of it' if planes else ''}, found {crop}"
        )
    closed_form = config.optim.closed_form_start and not config.optim.start_from
    if closed_form and loss.metric != "mse":
        raise ValueError(
            f"optim.closed_form_start expects loss.metric 'mse', found {loss.metric!r}"
        )
    return model


# What may change between a run and its continuation. With `steps` the learning rates change, with
# `validation` the scores: then the model in WORKDIR/best is replaced at the next validation.
FREE = ("steps", "steps_per_call", "log_every", "eval_every", "checkpoint_every")
FREE += ("keep_checkpoints", "workers", "validation")


def keep_config(config: Any, path: Path) -> None:
    """Writes the config of a run; for a continuation compares it with the one found first.

    Raises:
      ValueError: a field that decides the parameters differs; the message names it.
    """
    new = json.loads(config.to_json())
    old = json.loads(path.read_text()) if path.exists() else new
    # A field that the run did not have when it began has been what is now its default.
    absent = json.loads(default().to_json())
    for section in ("model", "loss", "optim", "data", "train"):
        for name, value in new[section].items():
            found = old[section].get(name, absent[section].get(name))
            # Loaders on the host give the same batches.
            same = name == "loader" and "resident" not in (found, value)
            if name not in FREE and found != value and not same:
                raise ValueError(
                    f"{path.parent} holds a run with {section}.{name} = {found}, "
                    f"found {value}; continue with its config, or choose another workdir"
                )
    write_bytes(path, (json.dumps(new, indent=2) + "\n").encode())
