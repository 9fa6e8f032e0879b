"""BD-rate: how many more bytes one codec needs than another at equal quality. NumPy, float64."""

import numpy as np
from scipy.interpolate import PchipInterpolator

MIN_OVERLAP = 0.5
"""Least part of the shorter curve's metric range that `bd_rate` wants in common.

Below it the number would leave out most of what was measured of either codec, and rest on the ends
of curves, where codecs are least themselves and an interpolation knows one neighbour only.
"""


def bd_rate(rate_a, metric_a, rate_b, metric_b):
    """Rate of codec b relative to codec a at equal quality: the Bjontegaard delta rate.

    log(rate) is interpolated over the metric by monotone piecewise cubics (PCHIP, as in the JVET
    common test conditions; not the single cubic of VCEG-M33) and averaged over the range of the
    metric that both curves cover.

    Args:
      rate_a: `(n,)` rates of the anchor, n >= 4, any unit and order, positive.
      metric_a: `(n,)` its quality, higher is better, finite. Must rise strictly with the rate:
        a curve that does not is refused rather than mended, for it has no rate at a given quality.
      rate_b: `(m,)` rates of the codec under test, in the same unit.
      metric_b: `(m,)` its quality.

    Returns:
      (percent, (low, high)): 100 (mean rate of b / mean rate of a - 1), the means being geometric
      over the common metric range [low, high]. Negative: b needs fewer bits than a.

    Raises:
      ValueError: fewer than four points, unusable points, or a common range that is less than
        `MIN_OVERLAP` of the shorter curve's.
    """
    log_rate_a, metric_a = _curve("a", rate_a, metric_a)
    log_rate_b, metric_b = _curve("b", rate_b, metric_b)
    low, high = max(metric_a[0], metric_b[0]), min(metric_a[-1], metric_b[-1])
    if low >= high:
        raise ValueError(
            f"no common metric range: a covers [{metric_a[0]:g}, {metric_a[-1]:g}], "
            f"b covers [{metric_b[0]:g}, {metric_b[-1]:g}]"
        )
    overlap = (high - low) / min(metric_a[-1] - metric_a[0], metric_b[-1] - metric_b[0])
    if overlap < MIN_OVERLAP:
        raise ValueError(
            f"expected a common metric range of at least {MIN_OVERLAP:.0%} of the shorter curve's, "
            f"found {overlap:.0%}: a covers [{metric_a[0]:g}, {metric_a[-1]:g}], "
            f"b covers [{metric_b[0]:g}, {metric_b[-1]:g}]"
        )
    area_a = PchipInterpolator(metric_a, log_rate_a).integrate(low, high)
    area_b = PchipInterpolator(metric_b, log_rate_b).integrate(low, high)
    percent = 100 * np.expm1((area_b - area_a) / (high - low))
    return float(percent), (float(low), float(high))


def _curve(name, rate, metric):
    rate, metric = np.asarray(rate, np.float64), np.asarray(metric, np.float64)
    if rate.ndim != 1 or rate.shape != metric.shape:
        raise ValueError(f"curve {name}: shapes {rate.shape} and {metric.shape} are not (n,), (n,)")
    if len(rate) < 4:
        raise ValueError(f"curve {name}: BD-rate needs at least 4 points, found {len(rate)}")
    if not (np.all(np.isfinite(rate) & (rate > 0)) and np.all(np.isfinite(metric))):
        raise ValueError(f"curve {name}: rates must be positive and all values finite")
    order = np.argsort(rate)
    rate, metric = rate[order], metric[order]
    if np.any(np.diff(metric) <= 0):
        raise ValueError(
            f"curve {name}: the metric must rise strictly with the rate, found {metric.tolist()}"
        )
    return np.log(rate), metric
