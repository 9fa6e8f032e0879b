"""What would a generalised Gaussian with a shape for each channel save, in bits of y?

    python benchmarks/likelihood_shape.py --photos FIT --held-out HELD_OUT

p(y) ~ exp(-|(y - mean) / alpha|^beta), of which beta = 2 is the Gaussian that the bundled model
has. Means and scales are those of its prior, symbols those of its encoder: what is counted is how
often each symbol was coded at each scale of the table, channel by channel. From random crops of FIT
each channel chooses a shape, and a factor of its scale, and HELD_OUT tells what they are worth. A
prior that is trained with the shape could gain a little more.
"""

import argparse

import numpy as np
from scipy.special import gammainc, gammaln

from train.input.crops import CropSampler
from train.input.pictures import open_source
from ycc_jax import operating_point
from ycc_jax.codec import load
from ycc_jax.entropy.rdo import BITS_PER_SQUARED_STEP
from ycc_jax.entropy.symbols import Writer
from ycc_jax.entropy.tables import SCALE_TABLE

FARTHEST = 60  # symbols beyond it count as this
THIRDS = 3  # of the qualities
GAUSSIAN = (2.0, 1.0)
SHAPES = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
FACTORS = tuple(np.exp(np.linspace(-0.4, 0.4, 9)))
CHOICES = {
    "a factor of the scale": [(2.0, factor) for factor in FACTORS],
    "a shape": [(shape, 1.0) for shape in SHAPES],
    "both": [(shape, factor) for shape in SHAPES for factor in FACTORS],
}


def counts(codec, folder, crops, seed):
    """How often each symbol was coded: (thirds, M, scales, 2 * FARTHEST + 1)."""
    stages, net = codec.stages, codec.net
    crop_of = CropSampler(open_source(f"folder:{folder}"), 256, seed)
    rng = np.random.default_rng(seed)
    found = np.zeros((THIRDS, net.M, len(SCALE_TABLE), 2 * FARTHEST + 1), np.int64)
    for i in range(crops):
        point = operating_point.choose(net, rng.uniform(0, 100), None)
        level = operating_point.level_at(net, point)
        y = stages.analyse(np.ascontiguousarray(crop_of(i))[None], level)
        z = stages.factorized_symbols(stages.hyper_analyse(y, level))
        writer = Writer(z, y, codec.model.tables, BITS_PER_SQUARED_STEP)
        third = min(THIRDS - 1, int(THIRDS * point.quality // 100))

        def count(place, mean, index, writer=writer, third=third):
            symbols = writer(place, mean, index)
            channels = np.broadcast_to(np.arange(net.M)[place[2]], symbols.shape)
            column = np.clip(symbols, -FARTHEST, FARTHEST) + FARTHEST
            np.add.at(found, (third, channels.ravel(), index.ravel(), column.ravel()), 1)
            return symbols

        stages.y_hat(z, stages.prior.level(*operating_point.steps_of(point)), count)
    return found


def code_lengths(shape, factor):
    """Bits of each symbol at each scale, (scales, symbols); at most those of one count in 2^16."""
    alpha = factor * SCALE_TABLE[:, None] * np.exp((gammaln(1 / shape) - gammaln(3 / shape)) / 2)
    distance = np.abs(np.arange(-FARTHEST, FARTHEST + 1))

    def half_mass(x):
        return np.sign(x) * gammainc(1 / shape, (np.abs(x) / alpha) ** shape) / 2

    mass = half_mass(distance + 0.5) - half_mass(distance - 0.5)
    return -np.log2(np.maximum(mass, 2.0**-16))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--model", help="default: the bundled model; with a Gaussian likelihood")
    parser.add_argument("--crops", type=int, default=400)
    options = parser.parse_args()
    codec = load(options.model)
    fit = counts(codec, options.photos, options.crops, 0)
    held_out = counts(codec, options.held_out, 120, 1)

    def bits(of, choice):
        return (of * code_lengths(*choice)).sum((-2, -1))  # (thirds, M)

    before = bits(held_out, GAUSSIAN).sum(1)
    print("| of each channel | " + "lowest third of the rates | middle | highest | all |")
    for name, choices in CHOICES.items():
        best = np.argmin([bits(fit, choice).sum(0) for choice in choices], axis=0)
        now = np.stack([bits(held_out, choice) for choice in choices])
        now = np.take_along_axis(now, best[None, None], axis=0)[0].sum(1)
        changes = [*(now / before - 1), now.sum() / before.sum() - 1]
        print(f"| {name} | " + " | ".join(f"{100 * change:+.2f} %" for change in changes) + " |")


if __name__ == "__main__":
    main()
