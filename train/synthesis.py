"""python -m train.synthesis MODEL --photos FOLDER -o OUT [--crops 2400 --steps 800 ...]

The synthesis alone, trained on y_hat as files have it. In training y is rounded to the nearest; an
encoder that weighs bits against error takes smaller symbols (`entropy/rdo.py`), and the integer
prior has its means on a grid. A synthesis that has seen such latents reconstructs them better, at
the same bits (the last stage of JPEG AI's training). Analysis, prior, its integers and the tables
stay as they are, so what is trained is small, and the latents are coded once.

Crops are coded at random qualities, half of them at the default chroma weight, the others at random
ones where the model has a grid. The loss is that of `loss.rate_distortion` with balance 1/2 without
its bits. The optimiser is Adam on a cosine.
"""

import argparse
import json
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.input.crops import CropSampler
from train.input.pictures import open_source
from ycc_jax import operating_point
from ycc_jax.codec import Codec
from ycc_jax.codec_model import CodecModel, export_model, find_model, load_model, read_header
from ycc_jax.entropy.rdo import BITS_PER_SQUARED_STEP
from ycc_jax.entropy.symbols import Writer
from ycc_jax.errors import InputError, YccError
from ycc_jax.metrics.distortion import distortion
from ycc_jax.models import build
from ycc_jax.nets.lapped import in_shortcut
from ycc_jax.pictures.color import from_uint8

Array = jax.Array
CROP = 256


class Latents(NamedTuple):
    """Crops and what a decoder has of them: x uint8 (n, 256, 256, 3), y_hat (n, 16, 16, M), level
    (n, 1 or 2), lmbda and chroma weight (n,)."""

    x: np.ndarray
    y_hat: np.ndarray
    level: np.ndarray
    lmbda: np.ndarray
    chroma_weight: np.ndarray


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; its exit code: 0, or 2 with a sentence."""
    parser = argparse.ArgumentParser(prog="train.synthesis", description=__doc__.splitlines()[2])
    parser.add_argument("model", help="codec model, by folder or name")
    parser.add_argument("--photos", required=True, help="folder of photographs to train on")
    parser.add_argument("-o", "--output", required=True, help="codec model to write")
    parser.add_argument("--crops", type=int, default=2400, help="coded once, 1 MB each")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if min(args.crops, args.steps, args.batch) < 1 or args.batch > args.crops:
            raise InputError(
                "expected at least one step, and no more crops a batch than there are, found "
                f"{args.steps} steps of {args.batch} of {args.crops} crops"
            )
        path = find_model(args.model)
        model, training = load_model(path), read_header(path)["training"]
        if not model.lambdas:
            raise InputError(f"model {args.model}: expected one trained for MSE, found another")
        data = latents(model, open_source(f"folder:{args.photos}"), args.crops, args.seed)
        params = trained(model, data, args.steps, args.batch, args.learning_rate, args.seed)
        own = {k: getattr(args, k) for k in ("crops", "steps", "batch", "learning_rate", "seed")}
        digest = export_model(
            args.output,
            name=model.name,
            arguments=model.arguments,
            params=params,
            frozen=model.frozen,
            training=json.loads(json.dumps({**training, "synthesis": own})),
        )
    except YccError as error:
        print(f"train.synthesis: error: {error}", file=sys.stderr)
        return 2
    print(f"Codec model {digest[:8]} in {args.output}.")
    return 0


def latents(model: CodecModel, source: Any, count: int, seed: int) -> Latents:
    """Random crops of a source, coded as `Codec.encode` does at effort 0."""
    codec = Codec(model)
    stages, net = codec.stages, codec.net
    crop_of, rng = CropSampler(source, CROP, seed), np.random.default_rng(seed)
    found, start = [], time.monotonic()
    for i in range(count):
        x = np.ascontiguousarray(crop_of(i))
        chroma, least = None, net.chroma_weights[:1]
        if least and rng.integers(2):
            ends = np.log((least[0], net.chroma_weights[-1]))
            chroma = float(np.exp(rng.uniform(*ends)))
        quality = rng.uniform(0, 100) if net.levels else None
        point = operating_point.choose(net, quality, chroma)
        level = operating_point.level_of(net, point.quality, point.chroma)
        y = stages.analyse(x[None], level)
        z = stages.factorized_symbols(stages.hyper_analyse(y, level))
        symbols = Writer(z, y, model.tables, BITS_PER_SQUARED_STEP)
        prior = stages.prior.level(*operating_point.steps_of(point)) if stages.prior else None
        y_hat = stages.y_hat(z, prior, symbols)
        lmbda = operating_point.lambda_of(model.lambdas, level)
        weight = operating_point.DEFAULT_CHROMA if point.chroma is None else point.chroma
        found.append((x, y_hat, level.reshape(-1), lmbda, weight))
        if (i + 1) % 200 == 0:
            print(f"{i + 1} of {count} crops coded, {time.monotonic() - start:.0f} s", flush=True)
    x, y_hat, level, *numbers = zip(*found, strict=True)
    weights = (np.asarray(values, np.float32) for values in numbers)
    return Latents(np.stack(x), np.stack(y_hat), np.stack(level), *weights)


def trained(
    model: CodecModel, data: Latents, steps: int, batch: int, learning_rate: float, seed: int
) -> dict[str, Any]:
    """The model's parameters after `steps` of its synthesis and inverse gain, averaged."""
    net = build(**model.arguments)
    own: dict[str, Any] = {"synthesis": model.params["synthesis"]}
    if net.grid:
        own["inverse"] = model.params["gain_y"]["log_inverse"]
    own = jax.tree.map(jnp.asarray, own)

    def whole(own: dict[str, Any]) -> dict[str, Any]:
        params = {**model.params, "synthesis": own["synthesis"]}
        if net.grid:
            params["gain_y"] = {**model.params["gain_y"], "log_inverse": own["inverse"]}
        return params

    def loss(own: dict[str, Any], data: Latents) -> Array:
        params = {"params": whole(own)}
        x_hat = net.apply(params, data.y_hat, data.level, method=net.synthesise_rgb)
        space = "rgb" if net.color_space == "rgb" else "ycbcr"
        x, weight = from_uint8(data.x), data.chroma_weight
        d = distortion(x, x_hat, space=space, chroma_weight=weight)
        return jnp.mean(data.lmbda**0.5 * d)

    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(50, steps // 10), steps, learning_rate / 50
    )
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(schedule),
        optax.masked(optax.scale(0.1), in_shortcut),
    )

    @jax.jit
    def step(own, average, opt, n, data):
        value, grads = jax.value_and_grad(loss)(own, data)
        updates, opt = tx.update(grads, opt, own)
        own = optax.apply_updates(own, updates)
        decay = jnp.minimum(0.995, (1.0 + n) / (10.0 + n))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, own)
        return own, average, opt, value

    average, opt, rng = own, tx.init(own), np.random.default_rng(seed)
    order: list[int] = []
    losses: list[float] = []
    start = time.monotonic()
    for n in range(steps):
        if len(order) < batch:
            order = rng.permutation(len(data.x)).tolist()
        chosen = np.asarray([order.pop() for _ in range(batch)])
        part = Latents(*(values[chosen] for values in data))
        own, average, opt, value = step(own, average, opt, n, part)
        losses.append(float(value))
        if (n + 1) % 50 == 0:
            mean, seconds = np.mean(losses[-50:]), time.monotonic() - start
            print(f"step {n + 1} of {steps}, {seconds:.0f} s, loss {mean:.4f}", flush=True)
    return jax.device_get(whole(average))


if __name__ == "__main__":
    sys.exit(main())
