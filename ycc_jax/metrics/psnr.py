"""PSNR of decoded pictures. NumPy, float64.

Everything is measured on what a user sees: decoded 8-bit pictures, uint8 `(H, W, 3)` RGB.
PSNR = 10 log10(255^2 / MSE) in dB; identical pictures give inf.

YCbCr here is Pillow's `convert("YCbCr")`: BT.601, full range, each plane *truncated to 8 bits*. It
differs from `color.rgb_to_ycbcr` by that truncation, which lowers PSNR_Y by 0.05 dB at 42 dB and
by 1 dB at 51 dB; the anchor curves were measured so, and figures compare only if ours are too.
"""

import numpy as np
from PIL import Image


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


def channel_mse(a, b):
    """Mean squared error of each channel of two `(H, W, C)` pictures, float64 `(C,)`."""
    return np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2, axis=(0, 1))


def psnr_of_mse(mse):
    """10 log10(255^2 / mse) in dB, elementwise; inf where mse is 0."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / np.asarray(mse, np.float64))


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
