"""The story of a run: data, model, resume, steps, validation, export."""

import contextlib
import functools
import json
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train import hosts
from train.check import check_config, check_continuation, write_config
from train.checkpoints import Checkpoints
from train.input.feed import Feed
from train.input.training_input import TrainingInput
from train.log import RunLog
from train.optimizer import optimizer
from train.start import start_params
from train.step import blank_state, init_state, make_eval_step, make_train_chunk
from train.stopping import StopRequest
from train.validation import best_score, validate
from ycc_jax.codec_model import check_export_path, export_model
from ycc_jax.errors import InputError
from ycc_jax.storage import place

State = dict[str, Any]
log = logging.getLogger(__name__)

CALIBRATION = 16  # training crops, of which the integer prior learns how large its values get


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
      workdir: folder of the run, on a disk or "gs://BUCKET/FOLDER" (`ycc_jax.storage`); of several
        processes (`train.hosts`) the first alone uses it.

    Raises:
      InputError: the config is not one that can be run, with these data, on these devices or in
        this folder, which then holds no config that another command would have to fit.
      ModelError: there is no such model to start from.
      MissingBackendError: a package that loader or data need is not installed.
      FloatingPointError: the loss became NaN or infinite; the message names step and metric, and
        the last good checkpoint stays.
      SystemExit: SIGTERM or SIGINT came before the last step (`train.stopping`); the step under way
        is finished and its state saved. The code is 128 + the signal's number, as in shells: 143
        or 130.
    """
    workdir = place(workdir)
    model, levels = check_config(config), len(config.loss.lambdas)
    if hosts.is_first():
        if workdir.exists() and not workdir.is_dir():
            raise InputError(f"{workdir}: expected a folder for the run, found a file")
        for name in ("model", "best"):
            check_export_path(workdir / name)
        check_continuation(config, workdir / "config.json")

    with StopRequest() as stop:
        # ---- data ------------------------------------------------------------------------------
        if config.data.source == "samples":
            log.info(
                "No data named: training on the embedded sample photographs. For your own use "
                "--config.data.source=folder:PATH or --config.data.source=tfds:NAME."
            )
        inputs = TrainingInput.open(config)

        # ---- model and state -------------------------------------------------------------------
        tx = optimizer(config)
        replicated, by_picture = hosts.shardings()
        eval_step = jax.jit(
            make_eval_step(model, config),
            in_shardings=(replicated, by_picture, replicated),
            out_shardings=replicated,
        )
        crops = hosts.to_devices(inputs.validation_batch(), by_picture)

        # ---- steps -----------------------------------------------------------------------------
        # Leaving this block, also by an error, waits for a checkpoint that is still being written.
        with Checkpoints(workdir, config.train.keep_checkpoints) as checkpoints:
            state = checkpoints.restore(blank_state(model, tx))
            if not int(hosts.largest(state is not None)):
                params = start_params(config, model, inputs)
                state = jax.device_get(init_state(params, tx))
                del params
            state = hosts.from_first(state or blank_state(model, tx))
            state = hosts.to_devices(state, replicated)
            step = int(state["step"])
            if step:
                log.info("Resuming at step %d of %d.", step, config.train.steps)
            best = best_score(workdir / "best", config)
            feed = Feed(inputs)
            training = model.clone(compute_dtype=compute_dtype(config.train.compute_dtype))

            @functools.cache
            def train_chunk(steps: int, shape: tuple[int, int]):
                return jax.jit(
                    make_train_chunk(training, tx, config, steps, shape, by_picture=by_picture),
                    in_shardings=(replicated, feed.sharding),
                    out_shardings=replicated,
                    donate_argnums=0,
                )

            if hosts.is_first():  # only now: a folder with a config is a run that can be continued
                write_config(config, workdir / "config.json")
            about = dict(total_steps=config.train.steps, resume_step=step)
            record = RunLog(workdir, **about) if hosts.is_first() else None
            stopped, metrics = 0, {}
            with record or contextlib.nullcontext(), contextlib.closing(feed):
                while step < config.train.steps and not (stopped := stop.agreed()):
                    steps = chunk_end(step, config) - step
                    shape = inputs.shape(step)
                    state, metrics = train_chunk(steps, shape)(state, feed(step, steps))
                    step += steps
                    last = step == config.train.steps
                    saving = last or step % config.train.checkpoint_every == 0
                    values = {}
                    # Looking at the metrics waits for the devices; before a checkpoint it must be.
                    if saving or step % config.train.log_every == 0:
                        check_finite(metrics, step)
                        values |= {name: float(value[-1]) for name, value in metrics.items()}
                    if last or step % config.train.eval_every == 0:
                        scores = validate(eval_step, state["ema"], crops, levels)
                        check_finite(scores, step)
                        values |= scores
                        if values["eval/loss"] < best:
                            best = values["eval/loss"]
                            export(config, workdir / "best", state, inputs, score=best)
                    if record:
                        record.progress(step, metrics, shape[0])
                        if values:
                            record.write(step, values)
                    if saving:
                        if record:
                            record.upload()  # no step is lost that a continued run has behind it
                        checkpoints.save(state)
            if stopped:
                check_finite(metrics, step)
                checkpoints.save(state)

        # ---- the codec model -------------------------------------------------------------------
        if not stopped:
            export(config, workdir / "model", state, inputs)
        hosts.wait_for_all("what the first process writes")
    if stopped:
        name = signal.Signals(stopped).name
        log.warning("Stopped by %s at step %d; the same command continues there.", name, step)
        raise SystemExit(128 + stopped)
    return state


def compute_dtype(name: str) -> str:
    """`train.compute_dtype` with "auto" resolved: bfloat16 where matrix units have it."""
    if name != "auto":
        return name
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def chunk_end(step: int, config: Any) -> int:
    """The step up to which the run may go on without looking at anything: records, signals.

    `steps_per_call` steps on, or less where a record, a validation, a checkpoint, other crops or
    the end come first; with intervals that are multiples of it all chunks are equally long, and
    compiled once.
    """
    train, late = config.train, config.data.late.step
    together = train.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    every = (together, train.log_every, train.eval_every, train.checkpoint_every)
    ends = [n * (step // n + 1) for n in every] + ([late] if late > step else [])
    return min(train.steps, *ends)


def check_finite(metrics: Mapping[str, Any], step: int) -> None:
    """FloatingPointError if a metric is NaN or infinite; arrays hold the steps up to `step`."""
    bad = []
    for name, values in metrics.items():
        values = np.atleast_1d(np.asarray(values))
        for i in np.flatnonzero(~np.isfinite(values))[:1]:
            bad.append((step - len(values) + 1 + int(i), name, values[i]))
    if bad:
        at, name, value = min(bad, key=lambda found: found[0])
        raise FloatingPointError(
            f"step {at}: expected finite metrics, found {name} = {value}; "
            "the last checkpoint is from before"
        )


def export(config: Any, path: Path, state: State, inputs: TrainingInput, **training: Any) -> None:
    """Writes the codec model of a state; on the first process only."""
    if hosts.is_first():
        digest = export_model(
            path,
            name=config.name,
            arguments=config.model.to_dict(),
            params=jax.device_get(state["ema"]),
            calibration=inputs.sample(CALIBRATION),
            training={
                "steps": int(state["step"]),
                **training,
                "config": json.loads(config.to_json()),
            },
        )
        log.info("Codec model %s in %s: use it by --model.", digest[:8], path)
