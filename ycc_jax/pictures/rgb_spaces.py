"""RGB of other primaries and transfer functions -> sRGB, in 8 bits.

A code c of 0..255 means the light `curve[c]`, 0 to 1. The light of R, G and B is carried to the
primaries of sRGB by a matrix (SMPTE RP 177), over a change of white point to D65 if the whites
differ (Bradford, as in ICC profiles), clipped to what sRGB can show, encoded by its transfer
function (IEC 61966-2-1) and rounded.
"""

import numpy as np
from PIL import Image

# Chromaticities x, y of red, green, blue and white.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))

_CODES = np.arange(256) / 255
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_BAND_PIXELS = 2**18  # converted at a time, for floats take many times the memory of codes


def power_curve(exponent: float) -> np.ndarray:
    """The light (256,) of each code where it is the code to a power, as of a display."""
    return _CODES**exponent


def srgb_curve() -> np.ndarray:
    """The light (256,) of each code of sRGB."""
    return np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4)


def to_srgb(image: Image.Image, curve: np.ndarray, chromaticities) -> Image.Image:
    """The picture, of mode RGB or L, in sRGB.

    Args:
      image: its codes mean `curve` and `chromaticities`; grey is grey whatever the primaries.
      curve: light (256,) of each code, 0 to 1.
      chromaticities: x, y of red, green, blue and white, (4, 2).

    Raises:
      ValueError: chromaticities that span no space.
    """
    if image.mode == "L" or np.array_equal(chromaticities, SRGB):
        return image.point(_encode(curve).tolist() * len(image.getbands()))
    matrix = (np.linalg.inv(_rgb_to_xyz(SRGB)) @ _rgb_to_xyz(chromaticities)).T.astype(np.float32)
    curve = curve.astype(np.float32)
    codes = np.array(image)
    rows = max(1, _BAND_PIXELS // image.width)
    for start in range(0, image.height, rows):
        band = codes[start : start + rows]
        band[...] = _encode(curve[band] @ matrix)
    return Image.fromarray(codes)


def _encode(light: np.ndarray) -> np.ndarray:
    """uint8 codes of sRGB for light, any shape."""
    light = np.clip(light, 0, 1)
    codes = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * codes).astype(np.uint8)


def _rgb_to_xyz(chromaticities) -> np.ndarray:
    """The matrix (3, 3) from light of R, G, B to X, Y, Z under D65."""
    x, y = np.asarray(chromaticities, np.float64).T
    if (y <= 0).any():
        raise ValueError(f"expected y of chromaticities above 0, found {y.min():g}")
    xyz = np.stack([x / y, np.ones_like(y), (1 - x - y) / y])
    primaries, white, target = xyz[:, :3], xyz[:, 3], _xyz_of_white(SRGB[3])
    try:
        primaries = primaries * np.linalg.solve(primaries, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("expected primaries that span a space, found them on a line") from error
    cones = _BRADFORD @ target / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (cones[:, None] * (_BRADFORD @ primaries))


def _xyz_of_white(chromaticity) -> np.ndarray:
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])
