"""python -m train.real_latents prior|synthesis MODEL --photos FOLDER -o OUT [--steps 800 ...]

One half of a trained model, trained on latents as files have them. A whole model is trained in
parallel: y is rounded to the nearest, and the context sees what a first pass finds. A file is
coded position after position, by an encoder that weighs bits against error (`entropy/rdo.py`). What
comes behind the symbols can learn what it will really be given:

  prior      hyper synthesis, context and entropy-parameter nets, down the bits of y with uniform
             noise where the context is a file's y_hat, in proportion to what each crop took before.
             (Not of y_hat: a symbol 0 is the old mean itself, and a prior that learns to expect its
             own means finds ever fewer bits for ever worse pictures.) Then it is frozen anew.
  synthesis  and the inverse gain, down the distortion of the loss (balance 1/2), at the same bits:
             prior, its integers and the tables stay (the last stage of JPEG AI's training).

Crops are coded once at random qualities, half of them at the default chroma weight, the others at
random ones where the model has a grid. Adam on a cosine; what is written is a moving average.
`--held-out FOLDER` measures other crops before and after, by thirds of the quality.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
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
from ycc_jax.models import HyperpriorModel, build
from ycc_jax.nets.lapped import in_shortcut
from ycc_jax.pictures.color import from_uint8
from ycc_jax.registry import LIKELIHOODS
from ycc_jax.rounding import add_noise

Array = jax.Array
Params = dict[str, Any]
CROP = 256
CALIBRATION = 16  # crops that the new prior is frozen with
PARTS = {
    "prior": ("hyper_synthesis", "context", "entropy_parameters"),
    "synthesis": ("synthesis", "gain_y"),
}
KEPT = "log_gain"  # the encoder's half of the gain


class Latents(NamedTuple):
    """Crops and what a decoder has of them.

    Attributes:
      x: uint8 (n, 256, 256, 3).
      y, y_hat: (n, 16, 16, M), in quantiser steps; y is not rounded.
      z_hat: (n, 4, 4, N), in quantiser steps.
      level: (n, 1) or (n, 2).
      lmbda, chroma_weight: of the loss, (n,).
    """

    x: np.ndarray
    y: np.ndarray
    y_hat: np.ndarray
    z_hat: np.ndarray
    level: np.ndarray
    lmbda: np.ndarray
    chroma_weight: np.ndarray

    def part(self, chosen: Any) -> "Latents":
        return Latents(*(values[chosen] for values in self))


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; its exit code: 0, or 2 with a sentence."""
    parser = argparse.ArgumentParser(
        prog="train.real_latents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("model", help="codec model, by folder or name")
    parser.add_argument("--photos", required=True, help="folder of photographs to train on")
    parser.add_argument("--held-out", help="folder of photographs to measure on")
    parser.add_argument("-o", "--output", required=True, help="codec model to write")
    parser.add_argument("--crops", type=int, default=2400, help="coded once, 1 MB each")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument(
        "--worth", type=float, default=BITS_PER_SQUARED_STEP, help="of the RDO, as of Codec.encode"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        digest = run(args)
    except YccError as error:
        print(f"train.real_latents: error: {error}", file=sys.stderr)
        return 2
    print(f"Codec model {digest[:8]} in {args.output}.")
    return 0


def run(args: argparse.Namespace) -> str:
    """Trains the part and writes the model; its hash.

    Raises:
      InputError: numbers that fit nothing, photographs that are not there, or a model that was not
        trained for MSE, or has no such part.
      ModelError: no such model.
    """
    if min(args.crops, args.steps, args.batch) < 1 or args.batch > args.crops:
        raise InputError(
            "expected at least one step, and no more crops a batch than there are, found "
            f"{args.steps} steps of {args.batch} of {args.crops} crops"
        )
    path = find_model(args.model)
    model, training = load_model(path), read_header(path)["training"]
    net = build(**model.arguments)
    if not model.lambdas:
        raise InputError(f"model {args.model}: expected one trained for MSE, found another")
    if args.part == "prior" and net.context != "autoregressive":
        raise InputError(
            f"model {args.model}: expected the context 'autoregressive', found {net.context!r}"
        )
    data = latents(model, open_source(f"folder:{args.photos}"), args.crops, args.seed, args.worth)
    other = args.held_out and open_source(f"folder:{args.held_out}")
    held_out = latents(model, other, 100, args.seed + 1, args.worth) if other else None
    params = trained(args.part, model, data, held_out, args)
    said = ("crops", "steps", "batch", "learning_rate", "worth", "seed")
    own = {name: getattr(args, name) for name in said}
    return export_model(
        args.output,
        name=model.name,
        arguments=model.arguments,
        params=params,
        calibration=data.x[:CALIBRATION],
        frozen=model.frozen if args.part == "synthesis" else None,
        training=json.loads(json.dumps({**training, args.part: own})),
    )


def latents(model: CodecModel, source: Any, count: int, seed: int, worth: float) -> Latents:
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
        level = operating_point.level_at(net, point)
        y = stages.analyse(x[None], level)
        z = stages.factorized_symbols(stages.hyper_analyse(y, level))
        symbols = Writer(z, y, model.tables, worth)
        prior = stages.prior.level(*operating_point.steps_of(point)) if stages.prior else None
        y_hat = stages.y_hat(z, prior, symbols)
        lmbda = operating_point.lambda_of(model.lambdas, level)
        weight = operating_point.DEFAULT_CHROMA if point.chroma is None else point.chroma
        z_hat = z + np.float32(stages.offset)
        found.append((x, y, y_hat, z_hat, level.reshape(-1), lmbda, weight))
        if (i + 1) % 200 == 0:
            print(f"{i + 1} of {count} crops coded, {time.monotonic() - start:.0f} s", flush=True)
    columns = (np.stack(values) for values in zip(*found, strict=True))
    x, *floats = columns
    return Latents(x, *(np.asarray(values, np.float32) for values in floats))


def costs(
    part: str, net: HyperpriorModel, params: Params, data: Latents, key: Array | None
) -> Array:
    """What a part is trained to lower, (n,): bits of y, or the distortion of the loss.

    Bits with a key are those of y with its noise, with None those of a file with plain rounding.
    """
    variables = {"params": params}
    if part == "prior":
        hyper = net.apply(variables, data.z_hat, data.level, method=net.hyper_synthesise)
        if key is None:
            at = data.y, hyper, data.level, None
            return net.apply(variables, *at, method=net.quantize)[1].sum((1, 2, 3))
        densities = net.apply(variables, hyper, data.y_hat, data.level, method=net.parameters)
        noisy = add_noise(key, jnp.asarray(data.y))
        return LIKELIHOODS[net.likelihood].bits(noisy, *densities).sum((1, 2, 3))
    x_hat = net.apply(variables, data.y_hat, data.level, method=net.synthesise_rgb)
    space = "rgb" if net.color_space == "rgb" else "ycbcr"
    return distortion(from_uint8(data.x), x_hat, space=space, chroma_weight=data.chroma_weight)


def trained(
    part: str, model: CodecModel, data: Latents, held_out: Latents | None, args: argparse.Namespace
) -> Params:
    """The model's parameters after `args.steps` of its part, averaged."""
    net = build(**model.arguments)
    own = {name: model.params[name] for name in PARTS[part] if name in model.params}
    own = jax.tree.map(jnp.asarray, own)
    cost = jax.jit(lambda own, data, key: costs(part, net, {**model.params, **own}, data, key))

    def measured(own: Params, data: Latents, key: Array | None = None) -> np.ndarray:
        batches = [slice(i, i + args.batch) for i in range(0, len(data.x), args.batch)]
        return np.concatenate([cost(own, data.part(batch), key) for batch in batches])

    # Of distortion the balanced loss; of bits each crop's share of what it took before.
    weights = data.lmbda**0.5
    if part == "prior":
        weights = 1 / measured(own, data, jax.random.PRNGKey(args.seed))

    schedule = optax.warmup_cosine_decay_schedule(
        0.0, args.learning_rate, min(50, args.steps // 10), args.steps, args.learning_rate / 50
    )
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(schedule),
        optax.masked(optax.scale(0.1), in_shortcut),
        optax.masked(optax.set_to_zero(), _kept),
    )

    @jax.jit
    def step(own, average, opt, n, data, weights):
        key = jax.random.fold_in(jax.random.PRNGKey(args.seed), n)

        def loss_of(own):
            return jnp.mean(weights * costs(part, net, {**model.params, **own}, data, key))

        loss, grads = jax.value_and_grad(loss_of)(own)
        updates, opt = tx.update(grads, opt, own)
        own = optax.apply_updates(own, updates)
        decay = jnp.minimum(0.995, (1.0 + n) / (10.0 + n))
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, own)
        return own, average, opt, loss

    start, average, opt = time.monotonic(), own, tx.init(own)
    tell = _teller(part, held_out, lambda own: measured(own, held_out), own) if held_out else None
    rng, order, losses = np.random.default_rng(args.seed), [], []
    for n in range(args.steps):
        if len(order) < args.batch:
            order = rng.permutation(len(data.x)).tolist()
        chosen = np.asarray([order.pop() for _ in range(args.batch)])
        given = data.part(chosen), weights[chosen]
        own, average, opt, loss = step(own, average, opt, n, *given)
        losses.append(float(loss))
        if (n + 1) % 200 == 0 or n + 1 == args.steps:
            said = f"step {n + 1} of {args.steps}, {time.monotonic() - start:.0f} s, "
            said += f"loss {np.mean(losses[-200:]):.4f}"
            print(said + (tell(average) if tell else ""), flush=True)
    return jax.device_get({**model.params, **average})


def _kept(params: Params) -> Params:
    """Whether a parameter of a part stays as it is."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == KEPT, params)


def _teller(
    part: str, held_out: Latents, measured: Callable[[Params], np.ndarray], own: Params
) -> Callable[[Params], str]:
    """A function of parameters: what they change on held-out crops, in words."""
    before, rate = measured(own), held_out.level[:, 0]
    third = np.minimum(3 * rate // max(rate.max(), 1), 2)
    thirds = [third == i for i in range(3) if any(third == i)]
    unit = "dB of distortion" if part == "synthesis" else "% bits of y"

    def change(now: np.ndarray, chosen: np.ndarray) -> float:
        if part == "synthesis":
            return float(np.mean(10 * np.log10(now[chosen] / before[chosen])))
        return float(100 * (now[chosen].sum() / before[chosen].sum() - 1))

    def tell(own: Params) -> str:
        now = measured(own)
        by_third = ", ".join(f"{change(now, chosen):+.3f}" for chosen in thirds)
        every = np.ones(len(now), bool)
        return f", held out {change(now, every):+.3f} {unit} (by thirds of the rates {by_third})"

    return tell


if __name__ == "__main__":
    sys.exit(main())
