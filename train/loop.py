"""The story of a run: data, model, resume, steps, validation, export."""

import contextlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.checkpoints import Checkpoints
from train.data import crop_batches
from train.log import RunLog
from train.pictures import open_source
from train.start import closed_form_start, start_from
from train.step import init_params, init_state, make_eval_step, make_train_step, optimizer
from ycc_jax.checkpoint import check_export_path, export_model
from ycc_jax.models import build

State = dict[str, Any]
log = logging.getLogger(__name__)


def train_and_evaluate(config: Any, workdir: str) -> State:
    """Trains by a config and leaves the codec model in WORKDIR/model; returns the final state.

    Args:
      config: as the files in `configs/` give it.
      workdir: folder of the run; a run found there is resumed at its newest checkpoint and ends
        with the parameters that an uninterrupted run would have.

    Raises:
      ValueError: config and data or devices do not fit.
      FloatingPointError: the loss became NaN or infinite; the message names step and metric, and
        the last good checkpoint stays.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)

    levels = max(config.model.levels, 1)
    if len(config.loss.lambdas) != levels:
        raise ValueError(f"expected {levels} lambdas, found {len(config.loss.lambdas)}")
    model = build(**config.model.to_dict())
    if config.data.crop % model.stride:
        raise ValueError(
            f"expected a crop of a multiple of {model.stride}, found {config.data.crop}"
        )
    check_export_path(workdir / "model")
    keep_config(config, workdir / "config.json")

    # ---- data ----------------------------------------------------------------------------------
    if config.data.source == "samples":
        log.info(
            "No data named: training on the embedded sample photographs. For your own use "
            "--config.data.source=folder:PATH or --config.data.source=tfds:NAME."
        )
    source = open_source(config.data.source, data_dir=config.data.data_dir or None)
    reading = dict(
        batch_size=config.data.batch_size,
        crop=config.data.crop,
        loader=config.data.loader,
        workers=config.data.workers,
    )

    # ---- model and state -----------------------------------------------------------------------
    devices = jax.device_count()
    if config.data.batch_size % devices:
        raise ValueError(
            f"expected a batch size divisible by the {devices} devices, "
            f"found {config.data.batch_size}"
        )
    mesh = Mesh(np.asarray(jax.devices()), ("data",))
    replicated, by_picture = (NamedSharding(mesh, PartitionSpec(*p)) for p in ((), ("data",)))
    tx = optimizer(config)
    params = init_params(model, config.train.seed)
    lambdas, alpha = tuple(config.loss.lambdas), config.loss.alpha
    if config.optim.start_from:
        params = start_from(config.optim.start_from, model, params, lambdas, alpha)
    elif config.optim.closed_form_start:
        # A seed of its own: these crops only measure, and no step sees them again.
        with contextlib.closing(
            crop_batches(source, seed=config.train.seed + 1, **reading)
        ) as sample:
            count = math.ceil(32 / config.data.batch_size)
            crops = np.concatenate([next(sample) for _ in range(count)])
        params = closed_form_start(model, params, lambdas, alpha, crops)
    state = jax.device_put(init_state(params, tx), replicated)
    train_step = jax.jit(
        make_train_step(model, tx, config),
        in_shardings=(replicated, by_picture),
        out_shardings=(replicated, replicated),
        donate_argnums=0,
    )
    eval_step = jax.jit(make_eval_step(model, config), out_shardings=replicated)
    validation = validation_batch(config, source, reading)

    # ---- steps ---------------------------------------------------------------------------------
    # Leaving this block, also by an error, waits for a checkpoint that is still being written.
    with Checkpoints(workdir, config.train.keep_checkpoints) as checkpoints:
        state = checkpoints.restore(state) or state
        first = int(state["step"])
        if first:
            log.info("Resuming at step %d of %d.", first, config.train.steps)
        record = RunLog(
            workdir,
            total_steps=config.train.steps,
            batch_size=config.data.batch_size,
            resume_step=first,
        )
        batches = crop_batches(source, seed=config.train.seed, start_step=first, **reading)
        with record, contextlib.closing(batches):
            for step in range(first + 1, config.train.steps + 1):
                state, metrics = train_step(state, jax.device_put(next(batches), by_picture))
                last = step == config.train.steps
                saving = last or step % config.train.checkpoint_every == 0
                # Looking at the metrics waits for the device; before a checkpoint it must be done.
                record.progress(step, metrics)
                if saving or step % config.train.log_every == 0:
                    values = {name: float(value) for name, value in metrics.items()}
                    check_finite(values, step)
                    record.write(step, values)
                if last or step % config.train.eval_every == 0:
                    for level in range(len(config.loss.lambdas)):
                        values = eval_step(state["ema"], validation, level)
                        values = {f"eval_{level}/{k}": float(v) for k, v in values.items()}
                        check_finite(values, step)
                        record.write(step, values)
                if saving:
                    checkpoints.save(state)

    # ---- the codec model -----------------------------------------------------------------------
    digest = export_model(
        workdir / "model",
        name=config.name,
        arguments=config.model.to_dict(),
        params=jax.device_get(state["ema"]),
        training={"steps": int(state["step"]), "config": json.loads(config.to_json())},
    )
    log.info("Codec model %s in %s: use it by --model.", digest[:8], workdir / "model")
    return state


# What may change between a run and its continuation.
FREE = ("steps", "log_every", "eval_every", "checkpoint_every", "keep_checkpoints")
FREE += ("loader", "workers", "validation")


def keep_config(config: Any, path: Path) -> None:
    """Writes the config of a run; for a continuation compares it with the one found first.

    Raises:
      ValueError: a field that decides the parameters differs; the message names it.
    """
    new = json.loads(config.to_json())
    old = json.loads(path.read_text()) if path.exists() else new
    for section in ("model", "loss", "optim", "data", "train"):
        for name, value in new[section].items():
            if name not in FREE and old[section].get(name) != value:
                raise ValueError(
                    f"{path.parent} holds a run with {section}.{name} = {old[section].get(name)}, "
                    f"found {value}; continue with its config, or choose another workdir"
                )
    path.write_text(json.dumps(new, indent=2) + "\n")


def validation_batch(config: Any, source: Any, reading: dict[str, Any]) -> np.ndarray:
    """Fixed crops for validation, of the source named for it or else of the training data."""
    if config.data.validation:
        source = open_source(config.data.validation, data_dir=config.data.data_dir or None)
    with contextlib.closing(crop_batches(source, seed=config.train.seed + 2, **reading)) as batches:
        return next(batches)


def check_finite(values: dict[str, float], step: int) -> None:
    """FloatingPointError if a metric is NaN or infinite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"step {step}: expected finite metrics, found {bad[0]} = {values[bad[0]]}; "
            "the last checkpoint is from before"
        )
