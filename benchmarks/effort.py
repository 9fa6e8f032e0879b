"""What a search at the encoder gives, and takes: BD-rate and seconds by effort.

    python benchmarks/effort.py --images HELD_OUT [--efforts 2 4 6] [--pictures 4] [--side 256]

The middle SIDE x SIDE pixels of photographs spread over the folder are coded at four qualities, to
real bytes; BD-rates are against effort 0. Seconds are of encoding, a megapixel, compiled before.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

import ycc_jax
from ycc_jax.metrics.bd_rate import bd_rate
from ycc_jax.metrics.psnr import psnr

QUALITIES = (10, 35, 60, 85)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", help="default: the bundled model")
    parser.add_argument("--efforts", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    paths = sorted(options.images.iterdir())
    pictures = []
    for path in paths[:: max(1, len(paths) // options.pictures)][: options.pictures]:
        picture = np.asarray(Image.open(path).convert("RGB"))
        top, left = ((n - options.side) // 2 for n in picture.shape[:2])
        pictures.append(picture[top : top + options.side, left : left + options.side])
    codec = ycc_jax.load(options.model)
    codec.encode(pictures[0], effort=1)
    curves = {}
    print("| effort | bytes | BD-rate PSNR_Y | PSNR_RGB | seconds a megapixel |")
    print("|--:|--:|--:|--:|--:|")
    for effort in (0, *options.efforts):
        points, seconds = [], 0.0
        for quality in QUALITIES:
            sizes, values = [], []
            for picture in pictures:
                start = time.perf_counter()
                data = codec.encode(picture, quality, effort=effort)
                seconds += time.perf_counter() - start
                sizes.append(len(data))
                found = psnr(picture, codec.decode(data))
                values.append((found["psnr-y"], found["psnr-rgb"]))
            points.append((np.mean(sizes), *np.mean(values, axis=0)))
        curves[effort] = np.array(points).T
        rates = [bd_rate(*curves[0][[0, n]], *curves[effort][[0, n]])[0] for n in (1, 2)]
        seconds /= len(QUALITIES) * len(pictures) * options.side**2 / 1e6
        total = round(sum(size for size, *_ in points) * len(pictures))
        print(
            f"| {effort} | {total} | {rates[0]:+.2f} % | {rates[1]:+.2f} % | {seconds:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
