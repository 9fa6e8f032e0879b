"""The story of a run: data, model, resume, steps, validation, export."""

import contextlib
import json
import logging
import math
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs.common import default
from train import hosts
from train.check import check_config
from train.checkpoints import Checkpoints
from train.data import crop_batches
from train.log import RunLog
from train.pictures import open_source
from train.start import closed_form_start, start_from
from train.step import init_params, init_state, make_eval_step, make_train_step, optimizer
from train.stopping import StopRequest
from train.validation import best_score, validate, validation_batch
from ycc_jax.checkpoint import check_export_path, export_model
from ycc_jax.files import write_bytes
from ycc_jax.models import HyperpriorModel

State = dict[str, Any]
log = logging.getLogger(__name__)


def train_and_evaluate(config: Any, workdir: str) -> State:
    """Trains by a config and leaves the codec model in WORKDIR/model; returns the final state.

    WORKDIR/best is the model with the lowest score so far: the mean over the rate levels of the
    loss of the fixed validation crops, with the averaged weights. Score and step are in its
    model.json.

    A run found in the folder is resumed at its newest checkpoint. However often it was stopped or
    killed, it ends with the parameters that an uninterrupted run would have: to the bit on a CPU
    with the same number of devices and processes and the same versions. With other numbers it sees
    the same pictures, rates and noise, and sums gradients in another order.

    Args:
      config: as the files in `configs/` give it.
      workdir: folder of the run; of several processes (`train.hosts`) the first alone uses it.

    Raises:
      ValueError: config and data or devices do not fit.
      FloatingPointError: the loss became NaN or infinite; the message names step and metric, and
        the last good checkpoint stays.
      SystemExit: SIGTERM or SIGINT came before the last step (`train.stopping`); the step under way
        is finished and its state saved. The code is 128 + the signal's number, as in shells: 143
        or 130.
    """
    workdir = Path(workdir)
    model, levels = check_config(config), len(config.loss.lambdas)
    batch_size = hosts.local_batch_size(config.data.batch_size)
    if hosts.is_first():
        workdir.mkdir(parents=True, exist_ok=True)
        for name in ("model", "best"):
            check_export_path(workdir / name)
        keep_config(config, workdir / "config.json")

    with StopRequest() as stop:
        # ---- data ------------------------------------------------------------------------------
        if config.data.source == "samples":
            log.info(
                "No data named: training on the embedded sample photographs. For your own use "
                "--config.data.source=folder:PATH or --config.data.source=tfds:NAME."
            )
        source = open_source(config.data.source, data_dir=config.data.data_dir or None)
        reading = dict(
            batch_size=batch_size,
            shard=(jax.process_index(), jax.process_count()),
            crop=config.data.crop,
            loader=config.data.loader,
            workers=config.data.workers,
        )

        # ---- model and state -------------------------------------------------------------------
        tx = optimizer(config)
        replicated, by_picture = hosts.shardings()
        train_step = jax.jit(
            make_train_step(model, tx, config),
            in_shardings=(replicated, by_picture),
            out_shardings=(replicated, replicated),
            donate_argnums=0,
        )
        eval_step = jax.jit(
            make_eval_step(model, config),
            in_shardings=(replicated, by_picture, replicated),
            out_shardings=replicated,
        )
        crops = hosts.to_devices(validation_batch(config, source, reading), by_picture)
        params = start_params(config, model, source, reading)
        state = jax.device_get(init_state(params, tx))
        del params

        # ---- steps -----------------------------------------------------------------------------
        # Leaving this block, also by an error, waits for a checkpoint that is still being written.
        with Checkpoints(workdir, config.train.keep_checkpoints) as checkpoints:
            state = hosts.from_first(checkpoints.restore(state) or state)
            state = hosts.to_devices(state, replicated)
            step = int(state["step"])
            if step:
                log.info("Resuming at step %d of %d.", step, config.train.steps)
            best = best_score(workdir / "best", config)
            batches = crop_batches(source, seed=config.train.seed, start_step=step, **reading)
            about = dict(total_steps=config.train.steps, batch_size=config.data.batch_size)
            record = RunLog(workdir, resume_step=step, **about) if hosts.is_first() else None
            stopped, metrics = 0, {}
            with record or contextlib.nullcontext(), contextlib.closing(batches):
                while step < config.train.steps and not (stopped := stop.agreed()):
                    end = chunk_end(step, config.train)
                    for _ in range(step, end):
                        batch = hosts.to_devices(next(batches), by_picture)
                        state, metrics = train_step(state, batch)
                    step = end
                    last = step == config.train.steps
                    saving = last or step % config.train.checkpoint_every == 0
                    values = {}
                    # Looking at the metrics waits for the devices; before a checkpoint it must be.
                    if saving or step % config.train.log_every == 0:
                        values |= {name: float(value) for name, value in metrics.items()}
                        check_finite(values, step)
                    if last or step % config.train.eval_every == 0:
                        values |= validate(eval_step, state["ema"], crops, levels)
                        check_finite(values, step)
                        if values["eval/loss"] < best:
                            best = values["eval/loss"]
                            export(config, workdir / "best", state, score=best)
                    if record:
                        record.progress(step, metrics)
                        if values:
                            record.write(step, values)
                    if saving:
                        checkpoints.save(state)
            if stopped:
                check_finite({name: float(value) for name, value in metrics.items()}, step)
                checkpoints.save(state)

        # ---- the codec model -------------------------------------------------------------------
        if not stopped:
            export(config, workdir / "model", state)
        hosts.wait_for_all("what the first process writes")
    if stopped:
        name = signal.Signals(stopped).name
        log.warning("Stopped by %s at step %d; the same command continues there.", name, step)
        raise SystemExit(128 + stopped)
    return state


# What may change between a run and its continuation. With `steps` the learning rates change, with
# `validation` the scores: then the model in WORKDIR/best is replaced at the next validation.
FREE = ("steps", "steps_per_call", "log_every", "eval_every", "checkpoint_every")
FREE += ("keep_checkpoints", "loader", "workers", "validation")


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
            if name not in FREE and found != value:
                raise ValueError(
                    f"{path.parent} holds a run with {section}.{name} = {found}, "
                    f"found {value}; continue with its config, or choose another workdir"
                )
    write_bytes(path, (json.dumps(new, indent=2) + "\n").encode())


def start_params(config: Any, model: HyperpriorModel, source: Any, reading: dict[str, Any]) -> Any:
    """Parameters before the first step: random, another model's, or in closed form."""
    params = init_params(model, config.train.seed)
    lambdas, alpha = tuple(config.loss.lambdas), config.loss.alpha
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


def chunk_end(step: int, train: Any) -> int:
    """The step up to which the run may go on without looking at anything: records, signals.

    `steps_per_call` steps on, or less where a record, a validation, a checkpoint or the end comes
    first; with intervals that are multiples of it all chunks are equally long.
    """
    every = (train.steps_per_call, train.log_every, train.eval_every, train.checkpoint_every)
    return min(train.steps, *(n * (step // n + 1) for n in every))


def check_finite(values: dict[str, float], step: int) -> None:
    """FloatingPointError if a metric is NaN or infinite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"step {step}: expected finite metrics, found {bad[0]} = {values[bad[0]]}; "
            "the last checkpoint is from before"
        )


def export(config: Any, path: Path, state: State, **training: Any) -> None:
    """Writes the codec model of a state; on the first process only."""
    if hosts.is_first():
        digest = export_model(
            path,
            name=config.name,
            arguments=config.model.to_dict(),
            params=jax.device_get(state["ema"]),
            training={
                "steps": int(state["step"]),
                **training,
                "config": json.loads(config.to_json()),
            },
        )
        log.info("Codec model %s in %s: use it by --model.", digest[:8], path)
