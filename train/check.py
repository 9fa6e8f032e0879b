"""What can be told of a config before any work: that its choices fit, and the run they continue."""

import json
from pathlib import Path
from typing import Any

from configs.common import default
from ycc_jax.errors import InputError
from ycc_jax.metrics.ms_ssim import smallest_side
from ycc_jax.models import HyperpriorModel, build
from ycc_jax.pictures.files import write_bytes
from ycc_jax.storage import on_disk

CHOICES = {
    "loss.space": ("rgb", "ycbcr"),
    "loss.metric": ("mse", "ms_ssim"),
    "optim.optimizer": ("adam", "muon", "soap"),
    "data.loader": ("memory", "grain", "resident"),
    "train.compute_dtype": ("auto", "float32", "bfloat16"),
}
# Least and largest value of each field that has bounds.
BOUNDS = {
    "loss.chroma_weight": (0, None),
    "optim.learning_rate": (0, None),
    "optim.warmup_steps": (0, None),
    "optim.final_fraction": (0, 1),
    "optim.clip_norm": (0, None),
    "optim.ema_decay": (0, 1),
    "optim.shortcut_rate": (0, None),
    "optim.kernel_rate": (0, None),
    "data.batch_size": (1, None),
    "data.workers": (0, None),
    "data.late.step": (0, None),
    "train.steps": (0, None),
    "train.seed": (0, None),
    "train.steps_per_call": (0, None),
    "train.log_every": (1, None),
    "train.eval_every": (1, None),
    "train.checkpoint_every": (1, None),
    "train.keep_checkpoints": (1, None),
}


def check_config(config: Any) -> HyperpriorModel:
    """The model of a config, whose other choices fit it.

    Raises:
      InputError: they do not; the message names the field, what it expects and what was found.
    """
    try:
        model = build(**config.model.to_dict())
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error
    loss, data = config.loss, config.data
    levels = max(model.levels, 1)
    if len(loss.lambdas) != levels:
        raise InputError(f"expected {levels} lambdas, found {len(loss.lambdas)}")
    if not all(isinstance(lmbda, float | int) and lmbda > 0 for lmbda in loss.lambdas):
        raise InputError(f"expected lambdas above 0, found {tuple(loss.lambdas)}")
    by_level = loss.level_chroma_weights
    if by_level and (len(by_level) != levels or min(by_level) <= 0 or model.chroma_weights):
        raise InputError(
            f"loss.level_chroma_weights expects one above 0 for each of {levels} levels, and no "
            f"model.chroma_weights, found {tuple(by_level)} and {model.chroma_weights}"
        )
    for field, (low, high) in BOUNDS.items():
        value = of(config, field)
        if not low <= value <= (value if high is None else high):
            limits = f"at least {low}" if high is None else f"in {low}..{high}"
            raise InputError(f"{field} must be {limits}, found {value}")
    for field, allowed in CHOICES.items():
        if of(config, field) not in allowed:
            found = of(config, field)
            raise InputError(f"{field} must be one of {', '.join(allowed)}, found {found!r}")
    planes = model.subsampling == "420"
    if planes and loss.space == "rgb":
        raise InputError("loss.space must be 'ycbcr' for 4:2:0 planes, found 'rgb'")
    if data.crop < 1 or data.crop % model.stride:
        raise InputError(f"expected a crop of a multiple of {model.stride}, found {data.crop}")
    late = data.late
    if late.step and (late.crop < data.crop or late.crop % model.stride):
        raise InputError(
            f"data.late.crop expects a multiple of {model.stride} no smaller than data.crop = "
            f"{data.crop}, found {late.crop}"
        )
    if late.step and late.batch_size < 1:
        raise InputError(f"data.late.batch_size must be at least 1, found {late.batch_size}")
    smallest = smallest_side() * (2 if planes else 1)
    if loss.metric == "ms_ssim" and data.crop < smallest:
        raise InputError(
            f"loss.metric 'ms_ssim' expects data.crop of at least {smallest}"
            f"{', for chroma planes have half of it' if planes else ''}, found {data.crop}"
        )
    closed_form = config.optim.closed_form_start and not config.optim.start_from
    if closed_form and loss.metric != "mse":
        raise InputError(
            f"optim.closed_form_start expects loss.metric 'mse', found {loss.metric!r}"
        )
    return model


def of(config: Any, field: str) -> Any:
    """The value of a field, as in "data.late.step"."""
    for name in field.split("."):
        config = config[name]
    return config


# What may change between a run and its continuation. With `steps` the learning rates change, with
# `validation` the scores: then the model in WORKDIR/best is replaced at the next validation.
FREE = ("steps", "steps_per_call", "log_every", "eval_every", "checkpoint_every")
FREE += ("keep_checkpoints", "workers", "validation")


def check_continuation(config: Any, path: Path) -> None:
    """Compares a config with that of the run which `write_config` wrote, if there is one.

    Raises:
      InputError: a field that decides the parameters differs; the message names it. Or what is
        there is not the config of a run.
    """
    if not path.exists():
        return
    new = json.loads(config.to_json())
    # A field that the run did not have when it began has been what is now its default.
    absent = json.loads(default().to_json())
    try:
        old = json.loads(path.read_text())
        sections = {name: dict(old[name]) for name in ("model", "loss", "optim", "data", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected the config of a run, found something else; choose another workdir"
        ) from error
    for section, old in sections.items():
        for name, value in new[section].items():
            found = old.get(name, absent[section].get(name))
            if name == "late":
                found, value = as_late(found), as_late(value)
            # Loaders on the host give the same batches.
            same = name == "loader" and "resident" not in (found, value)
            if name not in FREE and found != value and not same:
                raise InputError(
                    f"{path.parent} holds a run with {section}.{name} = {found}, "
                    f"found {value}; continue with its config, or choose another workdir"
                )


def as_late(late: Any) -> dict[str, int] | None:
    """`data.late`, None if there is none; also of runs whose config has it as (step, crop, batch
    size) or ()."""
    if isinstance(late, list):
        late = dict(zip(("step", "crop", "batch_size"), late, strict=False))
    return late if late and late.get("step") else None


def write_config(config: Any, path: Path) -> None:
    """Writes the config of a run, for those that continue it."""
    content = json.dumps(json.loads(config.to_json()), indent=2) + "\n"
    if on_disk(path):
        write_bytes(path, content.encode())
    else:
        path.write_text(content)
