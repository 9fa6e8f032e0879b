"""Which transform do two CPU cores train best? Candidates at equal time, on photographs held out.

    python benchmarks/transform_search.py split PHOTOGRAPHS --fit FIT --held-out HELD_OUT
    python benchmarks/transform_search.py cost --budget 700 [--candidates baseline gdn ...]
    (the commands that `cost` prints: one training each)
    python benchmarks/transform_search.py report RUNS/baseline RUNS/gdn ... --images HELD_OUT

Equal time is made so: `cost` times a training step of each candidate in turns, and gives each as
many steps as fit the budget. What counts is the process' CPU time on one core, which other work on
the machine hardly changes; seconds on all cores stand beside it. The learning rate's cosine ends
with the budget, so no run is another's beginning.

The photographs of `held_out.txt`, every 24th by name, are in no training. Of each the middle
512x512 pixels are coded at qualities 0, 30, 60 and 90, to real bytes; BD-rates are against the
first run named. Several seeds of one candidate say what a difference is worth.
"""

import argparse
import json
import math
import shlex
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from train_throughput import products

from configs.common import default
from configs.dlec_gain_small import get_config
from train.optimizer import optimizer
from train.step import init_state, make_train_chunk
from ycc_jax.evaluation import rd, run, subject
from ycc_jax.models import build, init

# Arguments of the model, beside those of the bundled one; eight rates, one chroma weight.
NARROW = {"widths": (), "level_aware_transform": False, "entropy_width": 160}
DLEC = NARROW | {"transform": "dlec"}
CANDIDATES = {
    "baseline": DLEC,
    "N64": DLEC | {"N": 64},
    "N96": DLEC | {"N": 96},
    "gdn": DLEC | {"activation": "gdn"},
    "residual": NARROW | {"analysis_blocks": (1, 3), "synthesis_blocks": (1, 3)},
    "bundled": {},
}
QUALITIES = (0, 30, 60, 90)
SIDE = 512


def main(argv=None):
    args = parse(argv)
    args.run(args)


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("split", help="photographs to train on, and those held out")
    command.add_argument("photographs", type=Path, help="folder")
    command.add_argument("--fit", type=Path, required=True, help="folder to make, of links")
    command.add_argument("--held-out", type=Path, required=True, help="folder to make")
    command.set_defaults(run=split)
    command = commands.add_parser("cost", help="time steps, print the commands that train")
    command.add_argument("--candidates", nargs="+", default=list(CANDIDATES), choices=CANDIDATES)
    command.add_argument("--budget", type=float, default=700, help="core-seconds a candidate")
    command.add_argument("--rounds", type=int, default=7)
    command.set_defaults(run=cost)
    command = commands.add_parser("report", help="the table of the finished runs")
    command.add_argument("runs", type=Path, nargs="+", help="workdirs, the anchor first")
    command.add_argument("--images", required=True, help="folder of held-out photographs")
    command.set_defaults(run=report)
    return parser.parse_args(argv)


def split(args):
    """Links the photographs to train on, and cuts the middle of the others."""
    names = Path(__file__).with_name("held_out.txt").read_text().split()
    args.fit.mkdir(parents=True, exist_ok=True)
    args.held_out.mkdir(parents=True, exist_ok=True)
    for path in sorted(args.photographs.glob("*.jpg")):
        if path.name not in names:
            (args.fit / path.name).symlink_to(path.resolve())
            continue
        with Image.open(path) as image:
            x, y = ((side - SIDE) // 2 for side in image.size)
            image.crop((x, y, x + SIDE, y + SIDE)).save(args.held_out / f"{path.stem}.png")


def candidate_config(name):
    """The bundled model's config with the candidate's arguments, without grid of chroma weights."""
    config = get_config().unlock()
    config.model.update(chroma_weights=(), levels=8, **CANDIDATES[name])
    config.loss.lambdas = default().loss.lambdas
    config.optim.warmup_steps = 100
    config.data.late.step = 0
    return config


def cost(args):
    """Prints what a step of each candidate costs, and the command that trains it."""
    steps = {name: training_step(candidate_config(name)) for name in args.candidates}
    seconds = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            cpu, wall = time.process_time(), time.perf_counter()
            step()
            seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    print("| candidate | kMAC/pixel: analysis, synthesis, prior | CPU s a step | seconds | steps |")
    print("|---|---|--:|--:|--:|")
    commands = []
    for name in steps:
        cpu, wall = (statistics.median(column) for column in zip(*seconds[name], strict=True))
        parts = ", ".join(f"{part:.1f}" for part in multiply_adds(candidate_config(name)))
        count = round(args.budget / cpu)
        print(f"| {name} | {parts} | {cpu:.3f} | {wall:.3f} | {count} |")
        commands.append(command_line(name, count))
    print("", *commands, sep="\n")


def command_line(name, steps):
    """What trains the candidate; the config's file with flags for what differs."""
    base, changed = get_config(), candidate_config(name)
    changed.train.steps = steps
    flags = [
        f"--config.{section}.{field}={shlex.quote(str(value))}"
        for section in ("model", "loss", "optim", "data", "data.late", "train")
        for field, value in changed[section].items()
        if field != "late" and value != base[section][field]
    ]
    start = f"python -m train.main --config dlec_gain_small --workdir RUNS/{name}"
    return " ".join([start, *flags, "--config.data.source=folder:FIT"])


def training_step(config):
    """A function that takes one training step, of batch and crop as configured, and waits."""
    model, tx = build(**config.model.to_dict()), optimizer(config)
    shape = (1, config.data.batch_size, config.data.crop, config.data.crop, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    chunk = jax.jit(make_train_chunk(model, tx, config, 1), donate_argnums=0)
    state = init_state(init(model, 0), tx)

    def step():
        nonlocal state
        state, metrics = chunk(state, batch)
        jax.block_until_ready((state, metrics))

    step()
    return step


def multiply_adds(config):
    """Thousands a pixel of the picture, forwards: analysis, synthesis, and the prior in training.

    In training the context and the entropy parameters run twice (`HyperpriorModel.code`).
    """
    model = build(**config.model.to_dict())
    params = jax.eval_shape(lambda: init(model, 0))
    level, x = jnp.zeros((1, 1)), jnp.zeros((1, SIDE, SIDE, 3))
    y = jnp.zeros((1, SIDE // model.stride * 4, SIDE // model.stride * 4, model.M))

    def thousands(method, *inputs):
        jaxpr = jax.make_jaxpr(lambda p: model.apply({"params": p}, *inputs, method=method))(params)
        return products(jaxpr.jaxpr) / 2 / SIDE**2 / 1e3

    analysis, synthesis = thousands("analyse", x, level), thousands("synthesise", y, level)
    return analysis, synthesis, thousands("__call__", x, level) - analysis - synthesis


def report(args):
    """Codes the held-out photographs with each run's model; writes RUN/held_out.json."""
    print("| run | steps | BD-rate PSNR_Y | PSNR_RGB | encode s | decode s |")
    print("|---|--:|--:|--:|--:|--:|")
    anchor = None
    for path in args.runs:
        file = path / "held_out.json"
        if not file.exists():
            pictures = run.list_pictures(args.images)
            run.evaluate(subject.load(str(path / "model")), pictures, QUALITIES, str(file))
        record = rd.read(file)
        anchor = anchor or record
        rates = (rd.compare(anchor, record, metric) for metric in ("psnr-y", "psnr-rgb"))
        rates = " | ".join(f"{rate['bd_rate']:+.1f} %" for rate in rates)
        steps = json.loads((path / "model" / "model.json").read_text())["training"]["steps"]
        times = (record["results"][f"{key}_time"] for key in ("encoding", "decoding"))
        times = " | ".join(f"{math.fsum(values) / len(values):.2f}" for values in times)
        print(f"| {path.name} | {steps} | {rates} | {times} |")


if __name__ == "__main__":
    main()
