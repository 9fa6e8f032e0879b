"""What do the contexts cost in bits and seconds, on the latents of one trained model?

    python benchmarks/context_rate.py --photos FOLDER --held-out FOLDER --workdir runs/context \
        --hours 2 [--context grouped autoregressive none]

The transforms and gains of the bundled model stay as they are, and its latents are computed once.
Priors (hyperprior and context) are trained on them from nothing, each context for the same time
with the same crops, rates and noise, for the sum of bits relative to what the bundled prior takes
at each rate. Reported, on photographs that none of this has seen: bits relative to the bundled
model's prior, rate by rate, with rounding as a decoder does; and the steps and seconds in which y
of a 768x512 picture is coded. A run goes on where it stopped.
"""

import argparse
import json
import pickle
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from train.input.pictures import open_source
from ycc_jax.codec_model import find_model, load_model
from ycc_jax.models import build
from ycc_jax.pictures.color import from_uint8

CROP = 256
PRIOR = ("gain_z", "log_std", "density_z", "hyper_", "context", "entropy_", "group_")


def crops(folder, limit, seed):
    """uint8 (n, CROP, CROP, 3), at most `limit` of each photograph."""
    source, rng, found = open_source(f"folder:{folder}"), np.random.default_rng(seed), []
    for picture in source:
        for _ in range(limit):
            y, x = (rng.integers(side - CROP + 1) for side in picture.shape[:2])
            found.append(picture[y : y + CROP, x : x + CROP])
    return np.stack(found)


def latents(net, params, pictures):
    """y before the gain, float16 (n, h, w, M)."""

    @jax.jit
    def analyse(x):
        level = jnp.zeros((x.shape[0], len(net.grid)))
        gain = net.apply({"params": params}, level, method=net.gains)[0][0]
        return net.apply({"params": params}, from_uint8(x), level, method=net.analyse) / gain

    batches = [np.asarray(analyse(p[None]), np.float16) for p in pictures]
    return np.concatenate(batches)


def relative_bits(net, params, y, level, reference, key):
    """Bits of each latent over the reference's at its level, as a mean."""
    gain = net.apply({"params": params}, level, method=net.gains)[0][0]
    return jnp.mean(bits_of(net, params, y * gain, level, key) / reference)


def bits_of(net, params, y, level, key):
    """Bits (B,) of latents, y and z together."""
    coded = net.apply({"params": params}, y, level, key, method=net.rate)
    return sum(coded[f"element_bits_{latent}"].sum((1, 2, 3)) for latent in "yz")


def levels_of(net, chroma_index=2):
    """Every rate level at one weight of chroma, (levels, axes)."""
    rates = np.arange(net.levels, dtype=np.float32)
    return np.stack([rates, np.full(net.levels, chroma_index, np.float32)], axis=1)


def measure(net, params, held_out):
    """Bits (levels,) of all held-out latents, rounded as a decoder would."""

    @jax.jit
    def bits(y, level):
        gain = net.apply({"params": params}, level, method=net.gains)[0][0]
        return bits_of(net, params, y * gain, level, None).sum()

    return np.array(
        [
            sum(float(bits(y[None].astype(np.float32), level[None])) for y in held_out)
            for level in levels_of(net)
        ]
    )


def start(net, bundled, seed):
    """Random parameters of the prior beside the bundled transforms and gains of y."""
    x, level = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, len(net.grid)))
    params = jax.jit(net.init)(jax.random.PRNGKey(seed), x, level)["params"]
    kept = {k: v for k, v in bundled.items() if not k.startswith(PRIOR) or k == "log_std"}
    return {**params, **kept}


def train(net, bundled, y, reference, path, hours, batch, rate):
    """Trains, or goes on, until `hours` of the process's own time are spent."""
    total = 3600 * hours
    schedule_rate = partial(_cosine, rate, total)
    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    )
    params = start(net, bundled, 0)
    own = {k: v for k, v in params.items() if k.startswith(PRIOR)}
    state = {"own": own, "ema": own, "opt": tx.init(own), "step": 0, "seconds": 0.0}
    if path.exists():
        state = jax.tree.map(jnp.asarray, pickle.loads(path.read_bytes()))

    @jax.jit
    def step(own, ema, opt, y, level, reference, key, rate):
        opt[1].hyperparams["learning_rate"] = rate

        def loss(own):
            return relative_bits(net, {**params, **own}, y, level, reference, key)

        value, grads = jax.value_and_grad(loss)(own)
        updates, opt = tx.update(grads, opt)
        own = optax.apply_updates(own, updates)
        ema = jax.tree.map(lambda a, b: 0.998 * a + 0.002 * b, ema, own)
        return own, ema, opt, value

    log, saved = path.with_suffix(".jsonl"), time.monotonic()
    n, seconds = int(state["step"]), float(state["seconds"])
    own, ema, opt, recent = state["own"], state["ema"], state["opt"], []
    while seconds < total:
        rng, begin = np.random.default_rng([1, n]), time.process_time()
        chosen = rng.integers(len(y), size=batch)
        rates, weights = rng.integers(net.levels, size=batch), rng.integers(4, size=batch)
        level = np.stack([rates, weights], axis=1).astype(np.float32)
        key = jax.random.fold_in(jax.random.PRNGKey(1), n)
        inputs = y[chosen].astype(np.float32), level, reference[rates].astype(np.float32)
        own, ema, opt, value = step(own, ema, opt, *inputs, key, schedule_rate(seconds))
        recent.append(float(value))
        n, seconds = n + 1, seconds + time.process_time() - begin
        if n % 100 == 0:
            line = {"step": n, "cpu_seconds": seconds, "relative_bits": float(np.mean(recent))}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            recent = []
        if time.monotonic() - saved > 120 or seconds >= total:
            state = {"own": own, "ema": ema, "opt": opt, "step": n, "seconds": seconds}
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(jax.device_get(state)))
            part.rename(path)
            saved = time.monotonic()
    return {**params, **ema}, n


def _cosine(rate, total, seconds):
    warm = min(1.0, (seconds + 20) / 60)
    return jnp.float32(warm * rate * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * seconds / total))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--context", nargs="+", default=["grouped", "autoregressive"])
    parser.add_argument("--hours", type=float, required=True, help="CPU hours of each context")
    parser.add_argument("--crops", type=int, default=4, help="of each photograph")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    options.workdir.mkdir(parents=True, exist_ok=True)
    model = load_model(find_model(options.model))
    net = build(**model.arguments)
    held_out = latents(net, model.params, crops(options.held_out, 2, 1))
    bundled = measure(net, model.params, held_out)
    reference = bundled / len(held_out)
    cached = options.workdir / "latents.npy"
    if not cached.exists():
        np.save(cached, latents(net, model.params, crops(options.photos, options.crops, 0)))
    y = np.load(cached, mmap_mode="r")
    for context in options.context:
        other = build(**{**model.arguments, "context": context})
        path = options.workdir / f"{context}.pickle"
        arguments = (path, options.hours, options.batch, options.rate)
        params, steps = train(other, model.params, y, reference, *arguments)
        percent = 100 * (measure(other, params, held_out) / bundled - 1)
        row = {"context": context, "cpu_hours": options.hours, "steps": steps}
        row |= {"against_bundled": percent.round(2).tolist(), "mean": round(percent.mean(), 2)}
        print(json.dumps(row), flush=True)
        with (options.workdir / "results.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
