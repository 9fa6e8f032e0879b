"""RD files: a codec's rate-distortion points in CompressAI's JSON form, and BD-rate between two.

    {"name": "...", "description": "...", "results": {"bpp": [...], "psnr-rgb": [...], ...}}

Each list has an entry a quality, null where there is none; docs/evaluation.md defines the keys.
Other keys may stand beside them.
"""

import json
import math
import os
import reprlib

from ycc_jax.errors import InputError
from ycc_jax.metrics.bd_rate import bd_rate as bd_rate_of_curves
from ycc_jax.pictures import files

METRICS = ("psnr-rgb", "psnr-y", "psnr-411", "ms-ssim-rgb", "ms-ssim-y")
"""Those that `ycc bd-rate` compares in, where both files have them, if none is named."""


def read(path: str | os.PathLike) -> dict:
    """The record of an RD file: at least "name" and "results", a dict of lists of one length.

    Raises:
      InputError: unreadable, or not such a file.
    """
    data = files.read_bytes(path)
    try:
        record = json.loads(data, parse_int=_integer)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, or of its depth
        raise InputError(f"{path}: expected an RD file in JSON, found none: {error}") from error
    results = record.get("results") if isinstance(record, dict) else None
    if not isinstance(results, dict):
        raise InputError(f'{path}: expected an RD file with "results", found JSON without')
    if "bpp" not in results:
        raise InputError(f'{path}: expected results with "bpp", found {_names(results)}')
    lengths = {key: len(v) if isinstance(v, list) else None for key, v in results.items()}
    if None in lengths.values() or len(set(lengths.values())) != 1 or not results["bpp"]:
        found = ", ".join(f"{key} {n or 'none'}" for key, n in lengths.items())
        raise InputError(f"{path}: expected lists of one length, an entry a quality, found {found}")
    stem = os.path.splitext(os.path.basename(path))[0]
    return {**record, "name": str(record.get("name", stem))}


def write(path: str | os.PathLike, record: dict) -> None:
    """Writes the record, whole or not at all; what is not finite becomes null, as JSON has it.

    Raises:
      OSError: the file cannot be written.
    """
    results = {key: [_finite(x) for x in values] for key, values in record["results"].items()}
    text = json.dumps({**record, "results": results}, indent=1, allow_nan=False)
    files.write_bytes(path, (text + "\n").encode())


def curve(record: dict, metric: str) -> tuple[list[float], list[float]]:
    """Rates in bpp and values of a metric, of the qualities that have it, all in dB.

    MS-SSIM is converted to -10 log10(1 - MS-SSIM): as it is, most of a curve lies between 0.95
    and 1. Published files may have the dB themselves, under "ms-ssim-db-rgb" for "ms-ssim-rgb".

    Raises:
      InputError: the record does not have the metric, or something other than numbers.
    """
    results, name = record["results"], record["name"]
    similarity = metric.startswith("ms-ssim-") and not metric.startswith("ms-ssim-db-")
    in_db = metric.replace("ms-ssim-", "ms-ssim-db-") if similarity else metric
    if metric not in results and in_db not in results:
        raise InputError(f"{name}: expected results with {metric}, found {_names(results)}")
    values = results.get(metric, results.get(in_db))
    points = [(r, v) for r, v in zip(results["bpp"], values, strict=True) if v is not None]
    for value in (x for point in points for x in point):
        # Beyond all that was ever measured, sums and exponentials overflow.
        if not isinstance(value, int | float) or 1e9 < abs(value) < math.inf:
            found = reprlib.repr(value)  # short, however long or deep
            raise InputError(f"{name}: expected numbers in bpp and {metric}, found {found}")
    if similarity and metric in results:
        points = [(rate, _decibels(value)) for rate, value in points]
    return [rate for rate, _ in points], [value for _, value in points]


def compare(anchor: dict, test: dict, metric: str) -> dict:
    """BD-rate of the record `test` against the record `anchor` (`metrics.bd_rate`).

    Returns:
      {"anchor", "test": names, "metric", "bd_rate": percent, negative if `test` needs fewer bits,
      "low", "high": the common range of the metric in dB}

    Raises:
      InputError: no such metric in one of them, or curves that give no BD-rate.
    """
    curves = [curve(record, metric) for record in (anchor, test)]
    names = {"anchor": anchor["name"], "test": test["name"], "metric": metric}
    try:
        percent, (low, high) = bd_rate_of_curves(*curves[0], *curves[1])
    except ValueError as error:
        message = f"{metric} of {test['name']} (b) against {anchor['name']} (a): {error}"
        raise InputError(message) from error
    return {**names, "bd_rate": percent, "low": low, "high": high}


def shared_metrics(anchor: dict, test: dict) -> list[str]:
    """Those of `METRICS` that both records have."""

    def known(record):
        return {key.replace("-db-", "-") for key in record["results"]}

    return [metric for metric in METRICS if metric in known(anchor) & known(test)]


def _decibels(value):
    # Not `ms_ssim.decibels`, which takes the seconds of importing JAX with it.
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def _finite(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _integer(digits):
    if len(digits) > 300:
        raise ValueError(f"an integer of {len(digits)} characters, which no float holds")
    return int(digits)


def _names(results):
    return ", ".join(results) or "nothing"
