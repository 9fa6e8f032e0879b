"""What tiles cost in bytes, by their size.

    python benchmarks/tile_rate.py --images FOLDER [--pictures 4] [--tiles 512 1024 2048]

Large pictures are needed to have borders of large tiles in them: each photograph is laid out four
times, mirrored so that it goes on without an edge, and coded by the bundled model with and without
tiles. Printed: bytes with tiles over bytes without, of all pictures so far together.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import ycc_jax

QUALITIES = (15, 45, 80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024, 2048])
    options = parser.parse_args()
    sizes = {path: Image.open(path).size for path in sorted(Path(options.images).iterdir())}
    # Of the same height as most large ones, spread over them.
    large = sorted((p for p, (w, h) in sizes.items() if h >= 960 and w >= 1280), key=str)
    codec, total = ycc_jax.load(), {}
    for path in large[:: max(1, len(large) // options.pictures)][: options.pictures]:
        picture = np.asarray(Image.open(path).convert("RGB"))[:960, :1664]
        picture = np.concatenate([picture, picture[:, ::-1]], axis=1)
        picture = np.concatenate([picture, picture[::-1]], axis=0)
        for quality in QUALITIES:
            for tile in (0, *options.tiles):
                size = len(codec.encode(picture, quality, tile=tile))
                total[quality, tile] = total.get((quality, tile), 0) + size
        costs = {
            tile: [round(100 * (total[q, tile] / total[q, 0] - 1), 2) for q in QUALITIES]
            for tile in options.tiles
        }
        print(f"{path.name} {picture.shape}: % at qualities {QUALITIES}: {costs}", flush=True)


if __name__ == "__main__":
    main()
