"""What turning a prior into integers costs: rate, and the seconds that it takes.

    python benchmarks/freezing.py --photos FOLDER --held-out FOLDER

Of the bundled model, and of CompressAI's mbt2018-mean and mbt2018 at (192, 320) with random weights
lifted so that y and z take tens of steps. y and z of the middle of each held-out photograph are
rounded plainly, and both priors are asked for the bits of the same y: the float one through
`HyperpriorModel.parameters`, the integer one through `ExactPrior`, each by the coder's tables. The
integers are calibrated on 24 photographs of the other folder.

Then the seconds in which y of a 768x512 picture is coded by the integer priors of each context,
with random weights in the bundled model's sizes, without the range coder.
"""

import argparse
import statistics
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from ycc_jax.codec_model import find_model, load_model
from ycc_jax.entropy.tables import SCALE_TABLE, gaussian_tables
from ycc_jax.exact.freeze import freeze
from ycc_jax.exact.prior import ExactPrior
from ycc_jax.models import build
from ycc_jax.nets.context import TAPS
from ycc_jax.pictures.color import from_uint8
from ycc_jax.stages import Stages

PUBLISHED = dict(
    N=192,
    M=320,
    transform="joint",
    color_space="rgb",
    input_offset=0.0,
    activation="gdn",
    levels=0,
    level_aware=False,
    density_filters=(3, 3, 3, 3),
    density_offset=True,
)
QUALITIES = (10, 50, 90)


def photographs(folder, count=None):
    """uint8 RGB arrays of a folder's pictures, spread over it."""
    paths = sorted(Path(folder).iterdir())
    paths = paths[:: max(1, len(paths) // (count or len(paths)))]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def published(context):
    """(model, parameters), random."""
    net = build(**PUBLISHED, context=context)
    level = np.zeros((1, 0), np.float32)
    params = jax.jit(net.init)(jax.random.PRNGKey(0), np.zeros((1, 64, 64, 3)), level)["params"]
    params = jax.tree.map(np.array, params)
    params["analysis"]["Conv_3"]["kernel"] *= 30
    params["hyper_analysis"]["Conv_2"]["kernel"] *= 3
    nets = params.get("entropy_parameters", params["hyper_synthesis"])
    nets.get("output", nets.get("Conv_0"))["bias"][: net.M] += 4  # scales of some steps
    return net, params


def bits_of(net, params, prior, picture, quality):
    """Bits of y by the float prior and by the integer one."""
    level = np.zeros((1, len(net.grid)), np.float32)
    if net.grid:
        level[0] = [quality / 100 * (net.levels - 1), 2.0]

    @jax.jit
    def floats(x):
        def apply(method, *inputs):
            return net.apply({"params": params}, *inputs, level, method=method)

        with jax.default_matmul_precision("highest"):
            y = apply(net.analyse, net.picture(from_uint8(x)))
            z = jax.numpy.rint(apply(net.hyper_analyse, y))
            hyper = apply(net.hyper_synthesise, z)
            mean, scale = apply(net.parameters, hyper, jax.numpy.rint(y))
        return y[0], z[0], mean[0], scale[0]

    y, z, mean, scale = map(np.asarray, floats(picture[None]))
    chroma = round(2048 * np.log2(net.chroma_weights[2])) if net.chroma_weights else None
    at = prior.level(quality * 512, chroma)
    hyper, shape = prior.hyper(z.astype(np.int32), at), y.shape
    seen = prior.seen((np.rint(y) * 256).astype(np.int32), at, slice(None))
    if net.context == "autoregressive":
        h, w, M = shape
        padded = np.pad(seen, ((2, 0), (2, 2), (0, 0)))
        taps = [padded[2 + i : 2 + i + h, 2 + j : 2 + j + w] for i, j in TAPS]
        seen, hyper = np.stack(taps, axis=2).reshape(h * w, -1), hyper.reshape(h * w, -1)
    integers = prior.parameters(hyper, seen, at, net.steps[0])
    mean_256, index = (a.reshape(shape) for a in integers)
    middles = np.sqrt(SCALE_TABLE[1:] * SCALE_TABLE[:-1])
    tables = gaussian_tables()
    return (
        tables.bits(np.rint(y - mean).astype(int), np.searchsorted(middles, scale)).sum(),
        tables.bits(np.rint(y - mean_256 / 256).astype(int), index).sum(),
    )


def seconds_of(arguments, context, repeats=9):
    """Median seconds of `Stages.y_hat` for (32, 48) positions, and the steps it takes."""
    net = build(**{**arguments, "context": context})
    x, level = np.zeros((1, 64, 64, 3)), np.zeros((1, len(net.grid)), np.float32)
    shapes = jax.eval_shape(net.init, jax.random.PRNGKey(0), x, level)["params"]
    rng = np.random.default_rng(0)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) or 1
        return (rng.standard_normal(leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

    params = jax.tree.map(draw, shapes)
    stages = Stages.__new__(Stages)
    stages.net, stages.prior = net, ExactPrior(net, freeze(net, params))
    at = stages.prior.level(25600, round(2048 * np.log2(0.25)))
    z, calls, seconds = rng.integers(-2, 3, (8, 12, net.N)).astype(np.int32), [], []
    for _ in range(1 + repeats):
        calls.clear()
        start = time.perf_counter()
        stages.y_hat(z, at, lambda place, mean, index: calls.append(0) or np.zeros_like(mean))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), len(calls)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--held-out", required=True)
    options = parser.parse_args()
    calibration, held_out = photographs(options.photos, 24), photographs(options.held_out)
    bundled = load_model(find_model(None))
    for name, net, params in (
        (bundled.name, build(**bundled.arguments), bundled.params),
        ("mbt2018-mean", *published("none")),
        ("mbt2018", *published("autoregressive")),
    ):
        start = time.perf_counter()
        prior = ExactPrior(net, freeze(net, params, calibration))
        seconds = time.perf_counter() - start
        for quality in QUALITIES if net.levels else (50,):
            bits = [
                bits_of(net, params, prior, picture[:256, :256], quality) for picture in held_out
            ]
            floats, integers = np.sum(bits, axis=0)
            print(
                f"{name}, quality {quality}: y {100 * (integers / floats - 1):+.3f} %, "
                f"frozen in {seconds:.1f} s",
                flush=True,
            )
    for context in ("autoregressive", "grouped"):
        seconds, steps = seconds_of(bundled.arguments, context)
        print(f"{context}: y of 768x512 in {steps} steps, {seconds:.3f} s", flush=True)


if __name__ == "__main__":
    main()
