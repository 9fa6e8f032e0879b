"""RD records as the report's curves: what is plotted, what is compared, and what is refused.

Keys and names are those of docs/evaluation.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ycc_jax.errors import InputError
from ycc_jax.evaluation import rd


@dataclass(frozen=True)
class Metric:
    """What is plotted and compared.

    Attributes:
      keys: of RD files, the one meant first; a curve without it is shown by the next.
      title: of the plot.
      unit: of its ordinate.
      column: of the BD-rate table.
      substitute: what the next key is.
    """

    keys: tuple[str, ...]
    title: str
    unit: str
    column: str
    substitute: str = ""


LUMA = Metric(("psnr-y",), "PSNR_Y", "PSNR_Y / dB", "PSNR_Y")
METRICS = (
    Metric(
        ("psnr-rgb-mean", "psnr-rgb"),
        "PSNR_RGB: mean of the three channels",
        "PSNR_RGB, mean of channels / dB",
        "PSNR_RGB",
        "PSNR_RGB of the MSE over the three channels, for want of the other",
    ),
    Metric(
        ("psnr-411",),
        "PSNR of YCbCr: (4Y+Cb+Cr)/6",
        "PSNR (4Y+Cb+Cr)/6 / dB",
        "PSNR (4Y+Cb+Cr)/6",
    ),
    LUMA,
    Metric(
        ("ms-ssim-rgb",),
        "MS-SSIM of RGB: −10 log₁₀(1 − MS-SSIM)",
        "MS-SSIM / dB",
        "MS-SSIM RGB",
    ),
)
MARK = "†"  # of what the next key of a metric stands in for


@dataclass(frozen=True)
class Curve:
    """A codec's RD record (`rd.read`), and whether it is a published anchor."""

    record: dict
    published: bool

    @property
    def name(self) -> str:
        return self.record["name"]

    def key(self, metric: Metric) -> str | None:
        """The first of the metric's keys that the curve has, or None."""
        return next((key for key in metric.keys if self.has(key)), None)

    def has(self, key: str) -> bool:
        """Whether the record has the metric, as it is or (MS-SSIM) in dB."""
        return not {key, key.replace("ms-ssim-", "ms-ssim-db-")}.isdisjoint(self.record["results"])

    def points(self, metric: Metric) -> list[tuple[float, float]]:
        """(bpp, value), ascending, where both are finite; none of a metric it does not have."""
        key = self.key(metric)
        pairs = zip(*rd.curve(self.record, key), strict=True) if key else ()
        return sorted(p for p in pairs if all(math.isfinite(x) for x in p))

    def seconds(self) -> tuple[float, float] | None:
        """Of encoding and of decoding a picture, mean over qualities, if measured with a record
        of where: published times are those of other machines."""
        results = self.record["results"]
        lists = [results.get(key) for key in ("encoding_time", "decoding_time")]
        if self.published or not isinstance(self.record.get("provenance"), dict) or None in lists:
            return None
        encode, decode = (
            [x for x in values or () if isinstance(x, int | float) and x > 0] for values in lists
        )
        return (fmean(encode), fmean(decode)) if encode and decode else None

    def machine(self) -> str:
        """Where it was measured, as far as the record tells."""
        found = self.record.get("provenance", {})
        settings = found.get("settings")
        device = (settings if isinstance(settings, dict) else found).get("device")
        known = [str(part) for part in (found.get("machine"), device) if part]
        return ", ".join(known) or "an unnamed machine"


def check(curves: Sequence[Curve], against: str | None = None) -> int:
    """The index of the BD-rates' anchor: the one named, else the first published curve, else the
    first one.

    Raises:
      InputError: two curves of one name, one without a known metric, no curve of the anchor's name,
        or no BD-rate at all against it.
    """
    names = [curve.name for curve in curves]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"expected curves of different names, found {name!r} more than once")
    for curve in curves:
        if not any(curve.points(metric) for metric in METRICS):
            known = ", ".join(key for metric in METRICS for key in metric.keys)
            raise InputError(f"{curve.name}: expected results with one of {known}, found none")
    if against is not None and against not in names:
        raise InputError(f"expected an anchor of {', '.join(names)}, found {against!r}")
    published = [i for i, curve in enumerate(curves) if curve.published]
    anchor = names.index(against) if against is not None else (published or [0])[0]
    cells = [
        bd_cell(curves[anchor], curve, metric)
        for curve in curves if curve is not curves[anchor] for metric in METRICS
    ]  # fmt: skip
    if cells and all("refused" in cell for cell in cells):
        reason = next((c["refused"] for c in cells if "has no" not in c["refused"]), None)
        raise InputError(reason or f"{names[anchor]}: shares no metric with another curve")
    return anchor


def bd_cell(anchor: Curve, test: Curve, metric: Metric) -> dict:
    """A cell of the BD-rate table: {"percent", "range", "mark"}, or {"refused": why}."""
    both = [k for k in metric.keys if anchor.has(k) and test.has(k)]
    if not both:
        lacking = anchor if anchor.key(metric) is None else test
        return {"refused": f"{lacking.name} has no {metric.keys[0]}"}
    try:
        found = rd.compare(anchor.record, test.record, both[0])
    except InputError as error:
        return {"refused": str(error)}
    return {
        "percent": found["bd_rate"],
        "range": f"over {found['low']:.2f} to {found['high']:.2f} dB",
        "mark": "" if both[0] == metric.keys[0] else f" {MARK}",
    }
