"""Pictures x qualities, really encoded and decoded -> a CSV line each, and their means."""

import os
import statistics
import sys
import zlib

import numpy as np
from tqdm import tqdm

from ycc_jax.errors import InputError
from ycc_jax.evaluation import rd, rows
from ycc_jax.evaluation.measure import measure
from ycc_jax.evaluation.provenance import describe, provenance
from ycc_jax.pictures import files, images
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, PICTURE_SUFFIXES

_SHOWN = ("bpp", "psnr-rgb", "psnr-y", "psnr-411", "ms-ssim-rgb", "encoding_time", "decoding_time")


def list_pictures(folder: str) -> list[str]:
    """Paths of the folder's pictures, by name; not of folders in it.

    Raises:
      InputError: no such folder, or none in it.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: expected a folder of pictures, found none")
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(PICTURE_SUFFIXES))
    if not names:
        raise InputError(f"{folder}: expected pictures ({' '.join(PICTURE_SUFFIXES)}), found none")
    return [os.path.join(folder, name) for name in names]


def read_picture(path: str, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """A picture file as codecs are measured on it: uint8 RGB (H, W, 3), grey in three channels.

    Raises:
      YccError: as of `images.read`.
    """
    rgb = images.read(path, max_pixels=max_pixels)
    return np.repeat(rgb[..., None], 3, axis=-1) if rgb.ndim == 2 else rgb


def evaluate(
    codec,
    paths,
    qualities,
    output: str,
    *,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    quiet: bool = False,
) -> dict:
    """Measures every picture at every quality; writes NAME.csv meanwhile and NAME.json at the end.

    What NAME.csv has already is not measured again. A picture that fails is reported on standard
    error, named under "failed" of the provenance, and left out of every mean.

    Args:
      codec: a `peers.Peer` or `subject.Model`.
      paths: picture files, of any sizes.
      qualities: numbers, the order of the lists in the record; None for the codec's own.
      output: NAME.json.
      max_pixels: as of `images.read`; a larger picture is one that fails. None for no limit.
      quiet: no progress bar.

    Returns:
      The record written (`rd.py`); docs/evaluation.md defines its keys.

    Raises:
      InputError: a quality that the codec does not have; NAME.csv or NAME.json are of another
        codec, model or settings, or no such files at all; or no picture could be measured.
    """
    qualities = [q if q is None else float(q) for q in qualities or codec.qualities]
    for quality in qualities:
        codec.check(quality)
    origin = provenance(codec)
    identity = {"codec": codec.name, "settings": describe(codec.settings)}
    _check_replaceable(output, identity)
    table = os.path.splitext(output)[0] + ".csv"
    known = rows.read(table, **identity)
    os.makedirs(os.path.dirname(os.path.realpath(output)), exist_ok=True)

    measured, failed = [], []
    bar = tqdm(total=len(paths) * len(qualities), unit="file", disable=quiet, file=sys.stderr)
    with rows.open_to_append(table) as file, bar:
        for path in paths:
            image = os.path.basename(path)
            bar.set_postfix_str(image, refresh=False)
            try:
                lines = []
                for line, is_new in _picture(codec, path, qualities, identity, known, max_pixels):
                    if is_new:
                        rows.append(file, line)
                    lines.append(line)
                    bar.update()
                measured.append(lines)
            except _Failure as failure:
                bar.write(f"{image}: not measured: {failure}", file=sys.stderr)
                bar.update(len(qualities) - len(lines))
                failed.append(image)
    if not measured:
        raise InputError(f"expected pictures that can be measured, found none in {len(paths)}")
    if failed:
        origin["failed"] = failed
    record = {
        "name": os.path.splitext(os.path.basename(output))[0],
        "description": _description(measured, len(paths)),
        "provenance": origin,
        "results": means(zip(*measured, strict=True)),
    }
    rd.write(output, record)
    return record


def means(points) -> dict[str, list]:
    """The lists of an RD file from the CSV's lines, given as an iterable of lines a quality.

    Means over the pictures that have the value; of times the median, for other work of the machine
    disturbs some, and of compilation the longest, for only the first picture of a size waits.
    """
    results: dict[str, list] = {
        key: [] for key in ("quality", "bpp", *rows.DISTORTION, *rows.TIMES)
    }
    for lines in points:
        for key, values in results.items():
            found = [line[key] for line in lines if line[key] is not None]
            average = statistics.median if key in rows.TIMES else statistics.fmean
            values.append((max if "compile" in key else average)(found) if found else None)
    return {key: values for key, values in results.items() if key == "quality" or _any(values)}


def table(results: dict) -> list[str]:
    """The means as lines to print, a quality each."""
    columns = [key for key in _SHOWN if key in results]
    lines = ["quality " + " ".join(f"{key:>13}" for key in columns)]
    for i, quality in enumerate(results["quality"]):
        values = [results[key][i] for key in columns]
        texts = ("-" if value is None else f"{value:.4f}" for value in values)
        start = "-" if quality is None else f"{quality:g}"
        lines.append(f"{start:>7} " + " ".join(f"{text:>13}" for text in texts))
    return lines


class _Failure(Exception):
    """One picture could not be measured."""


def _picture(codec, path, qualities, identity, known, max_pixels):
    """Yields (line, whether it is new) of a picture at each quality."""
    rgb = None
    try:
        data = files.read_bytes(path)
        name = {"image": os.path.basename(path), "crc32": f"{zlib.crc32(data):08x}"}
        for quality in qualities:
            line = {**identity, **name, "quality": quality}
            if rows.key(line) in known:
                line, is_new = known[rows.key(line)], False
            else:
                rgb = read_picture(path, max_pixels) if rgb is None else rgb
                line.update(measure(codec, rgb, quality))
                is_new = True
            yield line, is_new
    except Exception as error:  # a codec stumbles over whatever it stumbles over
        raise _Failure(" ".join(str(error).split()) or type(error).__name__) from error


def _check_replaceable(output, identity):
    if not os.path.exists(output):
        return
    found = rd.read(output).get("provenance")
    found = found if isinstance(found, dict) else {}
    settings = found.get("settings")
    settings = describe(settings) if isinstance(settings, dict) else "unknown settings"
    if {"codec": found.get("codec"), "settings": settings} != identity:
        raise InputError(
            f"{output}: expected results of {identity['codec']} ({identity['settings']}), found "
            f"those of {found.get('codec', 'an unknown codec')} ({settings}); move it away or name "
            "another -o"
        )


def _description(measured, total):
    count = len(measured) if len(measured) == total else f"{len(measured)} of {total}"
    with_similarity = sum(lines[0]["ms-ssim-rgb"] is not None for lines in measured)
    text = (
        f"{count} pictures: mean of per-picture values, decoded 8-bit picture, file bytes; YCbCr "
        f"is Pillow's (BT.601 full range); MS-SSIM of the {with_similarity} with sides above 160"
    )
    in_colour = sum(lines[0]["psnr-cb"] is not None for lines in measured)
    return text if in_colour == len(measured) else f"{text}; chroma of the {in_colour} in colour"


def _any(values):
    return any(value is not None for value in values)
