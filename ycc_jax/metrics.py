"""Distortion of decoded pictures and BD-rate between codecs. NumPy, float64.

Everything is measured on what a user sees: decoded 8-bit pictures, uint8 `(H, W, 3)` RGB.
PSNR = 10 log10(255^2 / MSE) in dB; identical pictures give inf.

YCbCr here is Pillow's `convert("YCbCr")`: BT.601, full range, each plane *truncated to 8 bits*. It
differs from `color.rgb_to_ycbcr` by that truncation, which lowers PSNR_Y by 0.05 dB at 42 dB and
by 1 dB at 51 dB; the anchor curves were measured so, and figures compare only if ours are too.
"""

import numpy as np
from PIL import Image
from scipy.interpolate import PchipInterpolator


def distortion(reference, decoded):
    """All PSNRs of one decoded picture, in dB, under the keys of CompressAI-form RD files.

    Args:
      reference: uint8 `(H, W, 3)` RGB, the original.
      decoded: uint8 `(H, W, 3)` RGB.

    Returns:
      dict of floats:
        "psnr-rgb": of the MSE over the three channels (CompressAI's definition);
        "psnr-rgb-mean": mean of the three channels' PSNR;
        "psnr-y", "psnr-cb", "psnr-cr": of each plane;
        "psnr-411": (4 PSNR_Y + PSNR_Cb + PSNR_Cr) / 6;
        "psnr-411-mse": of (4 MSE_Y + MSE_Cb + MSE_Cr) / 6.

    Raises:
      ValueError: not uint8, not `(H, W, 3)`, or of different shapes.
    """
    _check(reference, decoded)
    rgb = channel_mse(reference, decoded)
    ycc = channel_mse(_pillow_ycbcr(reference), _pillow_ycbcr(decoded))
    psnr_y, psnr_cb, psnr_cr = psnr_of_mse(ycc)
    weights = np.array([4, 1, 1]) / 6
    values = {
        "psnr-rgb": psnr_of_mse(rgb.mean()),
        "psnr-rgb-mean": psnr_of_mse(rgb).mean(),
        "psnr-y": psnr_y,
        "psnr-cb": psnr_cb,
        "psnr-cr": psnr_cr,
        "psnr-411": weights @ psnr_of_mse(ycc),
        "psnr-411-mse": psnr_of_mse(weights @ ycc),
    }
    return {key: float(value) for key, value in values.items()}


def luma(rgb):
    """Y of an RGB picture, uint8 `(H, W, 3)` -> `(H, W)`, as "psnr-y" is measured on it."""
    return _pillow_ycbcr(rgb)[..., 0]


def psnr_rgb(reference, decoded):
    """Mean of the three RGB channels' PSNR, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-rgb-mean"]


def psnr_rgb_mse(reference, decoded):
    """PSNR of the MSE over the three RGB channels, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-rgb"]


def psnr_y(reference, decoded):
    """PSNR of luma, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-y"]


def psnr_cb(reference, decoded):
    """PSNR of Cb, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-cb"]


def psnr_cr(reference, decoded):
    """PSNR of Cr, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-cr"]


def psnr_411(reference, decoded):
    """(4 PSNR_Y + PSNR_Cb + PSNR_Cr) / 6, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-411"]


def psnr_411_mse(reference, decoded):
    """PSNR of (4 MSE_Y + MSE_Cb + MSE_Cr) / 6, dB. Arguments as in `distortion`."""
    return distortion(reference, decoded)["psnr-411-mse"]


def channel_mse(a, b):
    """Mean squared error of each channel of two `(H, W, C)` pictures, float64 `(C,)`."""
    return np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2, axis=(0, 1))


def psnr_of_mse(mse):
    """10 log10(255^2 / mse) in dB, elementwise; inf where mse is 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.asarray(mse, np.float64))


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


def _pillow_ycbcr(rgb):
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def _check(reference, decoded):
    for name, picture in (("reference", reference), ("decoded", decoded)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
            raise ValueError(
                f"{name} must be uint8 (H, W, 3), found {picture.dtype} {picture.shape}"
            )
    if reference.shape != decoded.shape:
        raise ValueError(f"reference is {reference.shape} but decoded is {decoded.shape}")
