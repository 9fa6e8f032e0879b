"""PSNR of decoded pictures. NumPy, float64.

Everything is measured on what a user sees: decoded 8-bit pictures, uint8 `(H, W, 3)` RGB.
PSNR = 10 log10(255^2 / MSE) in dB.

Every value is finite, so that one picture cannot take the mean of a folder with it. Without any
error the MSE is taken to be the smallest that another picture could have, of one sample off by one
level: 48.13 dB + 10 log10(samples), 104 dB for a plane of 768x512. And what the original does not
have is not measured: a grey one has no chroma. A codec that keeps it grey exactly would else lead
by tens of dB where there is nothing to see, and shift the mean of all.

YCbCr here is Pillow's `convert("YCbCr")`: BT.601, full range, each plane *truncated to 8 bits*. It
differs from `color.rgb_to_ycbcr` by that truncation, which lowers PSNR_Y by 0.05 dB at 42 dB and
by 1 dB at 51 dB; the anchor curves were measured so, and figures compare only if ours are too.
"""

import numpy as np
from PIL import Image

CHROMA_KEYS = ("psnr-cb", "psnr-cr", "psnr-411", "psnr-411-mse")
"""Those that a grey picture does not have."""
KEYS = ("psnr-rgb", "psnr-rgb-mean", "psnr-y", *CHROMA_KEYS)
"""What `psnr` returns, by the keys of RD files: CompressAI's "psnr-rgb", and others in its form."""


def psnr(reference, decoded):
    """All PSNRs of one decoded picture, in dB, by `KEYS`.

    Args:
      reference: uint8 `(H, W, 3)` RGB, the original.
      decoded: uint8 `(H, W, 3)` RGB.

    Returns:
      dict of floats, finite as the module docstring says:

      - "psnr-rgb": of the MSE over the three channels (CompressAI's definition);
      - "psnr-rgb-mean": mean of the three channels' PSNR;
      - "psnr-y", "psnr-cb", "psnr-cr": of each plane;
      - "psnr-411": (4 PSNR_Y + PSNR_Cb + PSNR_Cr) / 6;
      - "psnr-411-mse": of (4 MSE_Y + MSE_Cb + MSE_Cr) / 6.

      The last four (`CHROMA_KEYS`) are None where the reference is grey: R = G = B everywhere.

    Raises:
      ValueError: not uint8, not `(H, W, 3)`, or of different shapes.
    """
    _check(reference, decoded)
    rgb = channel_mse(reference, decoded)
    ycc = channel_mse(_pillow_ycbcr(reference), _pillow_ycbcr(decoded))
    weights = np.array([4, 1, 1]) / 6
    smallest = 1 / reference[..., 0].size  # MSE of a plane with one sample off by one level
    psnr_y, psnr_cb, psnr_cr = planes = _decibels(ycc, smallest)
    values = {
        "psnr-rgb": _decibels(rgb.mean(), smallest / 3),
        "psnr-rgb-mean": _decibels(rgb, smallest).mean(),
        "psnr-y": psnr_y,
        "psnr-cb": psnr_cb,
        "psnr-cr": psnr_cr,
        "psnr-411": weights @ planes,
        "psnr-411-mse": _decibels(weights @ ycc, smallest / 6),
    }
    values = {key: float(value) for key, value in values.items()}
    grey = (reference == reference[..., :1]).all()
    return values | dict.fromkeys(CHROMA_KEYS) if grey else values


def luma(rgb):
    """Y of an RGB picture, uint8 `(H, W, 3)` -> `(H, W)`, as "psnr-y" is measured on it."""
    return _pillow_ycbcr(rgb)[..., 0]


def channel_mse(a, b):
    """Mean squared error of each channel of two `(H, W, C)` pictures, float64 `(C,)`."""
    return np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2, axis=(0, 1))


def _decibels(mse, smallest):
    """10 log10(255^2 / mse), elementwise, with `smallest` in place of 0."""
    return 10 * np.log10(255.0**2 / np.where(mse == 0, smallest, mse))


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
