"""How good does the bundled model get in so many seconds of one GPU?

    python benchmarks/timed_training.py train --photos FIT --seconds 670 -o RUN
    python benchmarks/timed_training.py export RUN --photos FIT     # RUN/model; any machine

Steps, optimiser, crops and start are those of `train.main` with the settings below (loader
"resident", bfloat16). Two things differ, for a machine that is lent by the minute. The number of
steps, which the cosine needs to know, is what fits the seconds at the rate measured so far, so that
the schedule ends when they do. And the learning rate is multiplied by 0.6 when the loss, as the
median of ten seconds, is a third above the lowest before: nobody is there to start anew.

RUN gets `weights.npz`, the average in half precision, every minute, and `log.csv`. The program is
compiled for `--pixels` and `--pictures`, whatever the folder has of them.
"""

import argparse
import csv
import json
import os
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

import train.optimizer
from configs.dlec_gain_small import get_config
from train.check import check_config
from train.input.pictures import open_source
from train.input.resident import ResidentPictures, load_resident, random_crops
from train.input.training_input import TrainingInput
from train.start import start_params
from train.step import init_state, make_train_step
from ycc_jax.codec_model import export_model

STEPS_PER_CALL = 10
LOOK = 10.0  # seconds between two lines of the log
SAVE = 60.0
CUT, RISE, PATIENCE = 0.6, 1.35, 40.0


def run_config(photos):
    """The config of the bundled model with the settings of its run on a GPU."""
    config = get_config().unlock()
    config.optim.update(optimizer="muon", learning_rate=1e-3, kernel_rate=1.5, warmup_steps=500)
    config.data.update(source=f"folder:{photos}", loader="resident", crop=256, batch_size=16)
    config.data.late.step = 0
    return config


def timed_optimizer(config):
    """`train.optimizer.optimizer` with a cosine whose end is in its state: (tx, set_schedule)."""
    warmup, final = config.optim.warmup_steps, config.optim.final_fraction
    config = config.copy_and_resolve_references()
    config.train.steps, config.optim.final_fraction = 10**9, 1.0  # constant after the warm-up

    def update(updates, state, params=None):
        n, total, factor = state
        share = jnp.clip((n - warmup) / (total - warmup), 0, 1)
        scale = factor * (final + (1 - final) * (1 + jnp.cos(jnp.pi * share)) / 2)
        return jax.tree.map(lambda u: u * scale, updates), (n + 1, total, factor)

    def init(params):
        return jnp.float32(0), jnp.float32(1e9), jnp.float32(1)

    def set_schedule(state, total, factor):
        *rest, (n, _, _) = state["opt"]
        return state | {"opt": (*rest, (n, jnp.float32(total), jnp.float32(factor)))}

    tx = train.optimizer.optimizer(config)
    return optax.chain(tx, optax.GradientTransformation(init, update)), set_schedule


def load(photos, pixels, pictures, crop):
    """The pictures of a folder on the device, in arrays of a size that no folder changes."""
    with jax.default_device(jax.devices("cpu")[0]):
        found = jax.device_get(load_resident(open_source(f"folder:{photos}")))
    (sheets, length, _), count = found.sheets.shape, len(found.place)
    if sheets != 1 or length > pixels or count > pictures:
        raise SystemExit(f"expected {pixels} pixels, found {sheets * length} in {count} pictures")
    more = pictures - count
    padded = ResidentPictures(
        np.pad(found.sheets, ((0, 0), (0, pixels - length), (0, 0))),
        np.pad(found.place, ((0, more), (0, 0))),
        np.pad(found.size, ((0, more), (0, 0)), constant_values=crop),
        np.pad(found.bounds, (0, more), constant_values=2**32 - 1),
    )
    return jax.device_put(padded, jax.devices()[0])


def train_for(args):
    config = run_config(args.photos)
    config.data.update(crop=args.crop, batch_size=args.batch)
    model, device = check_config(config), jax.devices()[0]
    tx, set_schedule = timed_optimizer(config)
    with jax.default_device(jax.devices("cpu")[0]):
        params = start_params(config, model, TrainingInput.open(config))
        state = jax.device_get(init_state(params, tx))
    state = jax.device_put(state, device)
    dtype = "float32" if device.platform == "cpu" else "bfloat16"
    step_of = make_train_step(model.clone(compute_dtype=dtype), tx, config)

    def chunk(state, pictures):
        def one(state, _):
            data = config.data
            batch = random_crops(
                pictures, config.train.seed, state["step"], data.batch_size, data.crop
            )
            return step_of(state, batch)

        return jax.lax.scan(one, state, None, length=STEPS_PER_CALL)

    pictures = load(args.photos, args.pixels, args.pictures, args.crop)
    run = jax.jit(chunk, donate_argnums=0).lower(state, pictures).compile()
    args.output.mkdir(parents=True, exist_ok=True)
    with open(args.output / "log.csv", "w", buffering=1) as file:
        state = steps_until(args, run, state, pictures, set_schedule, csv.writer(file))
    save(state, args.output)


def steps_until(args, run, state, pictures, set_schedule, record):
    """The state after `args.seconds` of steps."""
    start = looked = saved = cut = time.monotonic()
    end, total, factor, lowest, step, seen = start + args.seconds, np.inf, 1.0, np.inf, 0, 0
    losses, before = [], None
    while step < total and time.monotonic() < end:
        state, metrics = run(state, pictures)
        step += STEPS_PER_CALL
        if before is not None:  # of the call before, so that the device never waits
            losses += np.asarray(before["loss"]).tolist()
        before = metrics
        now = time.monotonic()
        if now - looked < LOOK:
            continue
        jax.block_until_ready(metrics)
        now = time.monotonic()
        rate, loss = (step - seen) / (now - looked), statistics.median(losses)
        total = step + int(rate * max(0, end - now)) // STEPS_PER_CALL * STEPS_PER_CALL
        lowest = min(lowest, loss)
        if loss > RISE * lowest and now - cut > PATIENCE:
            factor, cut = factor * CUT, now
        state = set_schedule(state, total, factor)
        values = {name: float(value[-1]) for name, value in metrics.items()}
        line = dict(seconds=now - start, step=step, total=total, factor=factor, median=loss)
        if not seen:
            record.writerow([*line, *values])
        record.writerow([f"{value:.6g}" for value in (*line.values(), *values.values())])
        images = rate * args.batch
        said = f"{now - start:.0f} s, step {step}/{total}, {images:.0f} images/s, loss {loss:.4f}"
        print(said, flush=True)
        losses, looked, seen = [], now, step
        if now - saved > SAVE:
            save(state, args.output)
            saved = looked = time.monotonic()
    return state


def save(state, folder):
    """The averaged parameters, in half precision."""
    average = flatten_dict(jax.device_get(state["ema"]), sep="/")
    arrays = {key: np.asarray(x, np.float16) for key, x in average.items()}
    np.savez(folder / "weights.new.npz", step=int(state["step"]), **arrays)
    os.replace(folder / "weights.new.npz", folder / "weights.npz")


def export(args):
    """RUN/weights.npz -> RUN/model."""
    with np.load(args.run / "weights.npz") as file:
        arrays = {key: file[key] for key in file.files if key != "step"}
        steps = int(file["step"])
    config = run_config(args.photos)
    config.train.steps = steps
    digest = export_model(
        args.run / "model",
        name=config.name,
        arguments=config.model.to_dict(),
        params=unflatten_dict(arrays, sep="/"),
        calibration=TrainingInput.open(config).sample(16),
        training={"steps": steps, "config": json.loads(config.to_json())},
    )
    print(digest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train")
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument("--seconds", type=float, required=True, help="after compilation")
    command.add_argument("-o", "--output", type=Path, required=True)
    command.add_argument("--batch", type=int, default=16)
    command.add_argument("--crop", type=int, default=256)
    command.add_argument("--pixels", type=int, default=420_000_000)
    command.add_argument("--pictures", type=int, default=640)
    command.set_defaults(call=train_for)
    command = commands.add_parser("export")
    command.add_argument("run", type=Path)
    command.add_argument("--photos", type=Path, required=True)
    command.set_defaults(call=export)
    args = parser.parse_args()
    args.call(args)


if __name__ == "__main__":
    main()
