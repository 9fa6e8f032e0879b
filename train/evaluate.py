"""Rate-distortion of a model on a folder of pictures, from real files and decoded 8-bit pictures.

    python -m train.evaluate --model bundled --images data/kodak --out results/ycc.json \\
        --anchor results/anchors/jpeg-420.json

For each quality and picture: encode to bytes (the header counts), decode the bytes, compare. Two
files come out: results/NAME.csv with a line a picture, written as it goes, and results/NAME.json
in CompressAI's form: `name`, `description` and `results`, whose lists have an entry a quality,
the mean over pictures (the median for times, because the first picture of each size also waits
for compilation). Keys are those of `metrics.distortion`, `bpp`, `quality`, and `encoding_time` and
`decoding_time` in seconds. Then the BD-rate against each anchor, a JSON of the same form.
"""

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import ycc_jax
from ycc_jax import bitstream, files, metrics

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
TIMES = ("encoding_time", "decoding_time")
COLUMNS = ("bpp", "psnr-rgb", "psnr-y", "psnr-411", *TIMES)


def main(argv=None):
    args = parse(argv)
    paths = sorted(path for path in args.images.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{args.images}: no pictures ({', '.join(sorted(SUFFIXES))})")
    anchors = [json.loads(path.read_text()) for path in args.anchor]  # fail now, not hours later
    codec = ycc_jax.load(None if args.model == "bundled" else args.model)
    args.out.parent.mkdir(parents=True, exist_ok=True)

    with open(args.out.with_suffix(".csv"), "w", newline="") as file:
        # A single-rate model has one point and takes no quality.
        qualities = args.qualities if codec.net.levels else [None]
        options = {} if args.chroma is None else {"alpha": args.chroma}
        results, weights_hash = evaluate(codec, paths, qualities, file, **options)
    record = {
        "name": args.out.stem,
        "description": f"{len(paths)} pictures of {args.images.name}: mean of per-picture values, "
        "decoded 8-bit picture, file bytes; YCbCr is Pillow (BT.601 full range)",
        "provenance": {**provenance(args.model, weights_hash), **options},
        "results": results,
    }
    files.write_bytes(args.out, (json.dumps(record, indent=1) + "\n").encode())
    for anchor in anchors:
        for key in ("psnr-y", "psnr-rgb"):
            print(compare(results, anchor, key))


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="bundled", help='a model for ycc_jax.load, or "bundled"')
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--qualities", type=numbers, default=numbers("0,15,30,45,60,75,90,100"))
    parser.add_argument("--chroma", type=float, help="weight of chroma, as of `ycc encode`")
    parser.add_argument("--out", type=Path, required=True, help="results/NAME.json")
    parser.add_argument(
        "--anchor", type=Path, nargs="+", action="extend", default=[], help="RD files"
    )
    return parser.parse_args(argv)


def numbers(text):
    """ "0,15.5" -> [0.0, 15.5], sorted."""
    return sorted(float(number) for number in text.split(","))


def evaluate(codec, paths, qualities, csv_file, **options):
    """Measures every picture at every quality.

    Args:
      codec: has `encode(uint8 (H, W, 3), quality=q) -> bytes` and `decode(bytes) -> uint8`.
      paths: picture files.
      qualities: floats, the order of the lists returned.
      csv_file: open text file that gets a line a picture.
      options: further ones of `encode`.

    Returns:
      (dict of lists, an entry a quality; the weights hash named by the streams, hex)
    """
    print("quality", *(f"{column:>13}" for column in COLUMNS), flush=True)
    results, writer, data = {}, None, b""
    for quality in qualities:
        rows = []
        for path in paths:
            with Image.open(path) as image:
                rgb = np.asarray(image.convert("RGB"))
            row, data = measure(codec, rgb, quality, **options)
            row = {"image": path.name, "quality": quality, **row}
            if writer is None:
                writer = csv.DictWriter(csv_file, list(row))
                writer.writeheader()
            writer.writerow(row)
            csv_file.flush()
            rows.append(row)
        results.setdefault("quality", []).append(quality)
        for key in rows[0].keys() - {"image", "quality"}:
            average = statistics.median if key in TIMES else statistics.fmean
            results.setdefault(key, []).append(average(row[key] for row in rows))
        means = (f"{results[column][-1]:13.4f}" for column in COLUMNS)
        print(f"{'-' if quality is None else f'{quality:g}':>7}", *means, flush=True)
    return results, bitstream.info(data)["weights_hash"]


def measure(codec, rgb, quality, **options):
    """One picture there and back: its bpp, PSNRs and seconds, and the bytes of its file."""
    start = time.perf_counter()
    data = codec.encode(rgb, quality=quality, **options)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    seconds = (encoded - start, time.perf_counter() - encoded)
    bpp = 8 * len(data) / (rgb.shape[0] * rgb.shape[1])
    distortion = metrics.distortion(rgb, decoded)
    return {"bpp": bpp, **distortion, **dict(zip(TIMES, seconds, strict=True))}, data


def compare(results, anchor, key):
    """A line that says the BD-rate in one metric against one anchor, or why there is none."""
    line = f"BD-rate in {key} against {anchor['name']}: "
    other = anchor["results"]
    if key not in other:
        return line + f"none, the anchor has no {key}"
    try:
        percent, (low, high) = metrics.bd_rate(
            other["bpp"], other[key], results["bpp"], results[key]
        )
    except ValueError as error:
        return line + f"none, {error}"
    return line + f"{percent:+.1f} % over {low:.2f} to {high:.2f} dB"


def provenance(model, weights_hash):
    """What a figure depends on beside the pictures."""
    device = jax.devices()[0]
    return {
        "model": Path(model).name,
        "weights_hash": weights_hash,
        "ycc_jax": ycc_jax.__version__,
        "jax": jax.__version__,
        "device": f"{device.platform}: {device.device_kind}",
    }


if __name__ == "__main__":
    main()
