"""Colour: RGB <-> YCbCr, 8-bit <-> float, 4:4:4 <-> 4:2:0.

Range and layout. Pictures are floats, channel last, `(..., 3)`. RGB is gamma-encoded (R'G'B' of the
standards) in [0, 1]. YCbCr is in units of the 8-bit code divided by 255:

    range      Y                  Cb, Cr                centre of Cb, Cr
    "full"     [0, 1]             [0.5/255, 255.5/255]  128/255
    "limited"  [16/255, 235/255]  [16/255, 240/255]     128/255

Full range is JPEG's; its chroma is half a code off centre, so that pure blue and pure red reach
255.5 and are clipped by 8-bit files, not here. Nothing in this module clips or rounds but
`to_uint8`; the conversions are affine, so they are differentiable and defined outside the range.

Every function takes JAX arrays (and works under `jit` and `grad`) or NumPy arrays, and returns the
same kind and, unless it says otherwise, the same dtype.

Standards: ITU-R BT.601-7 and ITU-T T.871 (JFIF), ITU-R BT.709-6, ITU-R BT.2020-2 (non-constant
luminance); the two ranges as in ITU-T H.273 section 8.3.
"""

import jax.numpy as jnp
import numpy as np

# Matrix name -> (K_r, K_b); K_g = 1 - K_r - K_b. Everything else follows from these two.
LUMA_COEFFICIENTS = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}

# Range name -> (luma offset, luma scale, chroma scale); the chroma offset is always 128/255.
_RANGES = {
    "full": (0.0, 1.0, 1.0),
    "limited": (16 / 255, 219 / 255, 224 / 255),
}
_CHROMA_OFFSET = 128 / 255


def rgb_to_ycbcr(rgb, matrix="bt601", range="full"):
    """RGB to YCbCr.

    Args:
      rgb: floats `(..., 3)`, nominally in [0, 1].
      matrix: a key of `LUMA_COEFFICIENTS`: "bt601", "bt709" or "bt2020".
      range: "full" or "limited", see the module docstring.

    Returns:
      Floats `(..., 3)`: Y = K_r R + K_g G + K_b B, Cb = (B - Y) / (2 (1 - K_b)),
      Cr = (R - Y) / (2 (1 - K_r)), then scaled and offset to the range.

    Raises:
      ValueError: unknown matrix or range, or the last axis is not 3.
      TypeError: not floats.
    """
    k_r, k_b, y_offset, y_scale, c_scale = _parameters(matrix, range)
    xp = _check_picture("rgb", rgb)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    # Sums of products, not a matrix product: accelerators may lower those to bf16 or tf32.
    y = k_r * r + (1 - k_r - k_b) * g + k_b * b
    cb = (b - y) / (2 * (1 - k_b))
    cr = (r - y) / (2 * (1 - k_r))
    return xp.stack(
        [y_offset + y_scale * y, _CHROMA_OFFSET + c_scale * cb, _CHROMA_OFFSET + c_scale * cr],
        axis=-1,
    )


def ycbcr_to_rgb(ycbcr, matrix="bt601", range="full"):
    """YCbCr to RGB: the inverse of `rgb_to_ycbcr` for the same matrix and range.

    Args:
      ycbcr: floats `(..., 3)` in the range named.
      matrix: a key of `LUMA_COEFFICIENTS`: "bt601", "bt709" or "bt2020".
      range: "full" or "limited", see the module docstring.

    Returns:
      RGB `(..., 3)`, in [0, 1] for colours that exist in RGB, outside it for others: not clipped.

    Raises:
      ValueError: unknown matrix or range, or the last axis is not 3.
      TypeError: not floats.
    """
    k_r, k_b, y_offset, y_scale, c_scale = _parameters(matrix, range)
    xp = _check_picture("ycbcr", ycbcr)
    y = (ycbcr[..., 0] - y_offset) / y_scale
    cb = (ycbcr[..., 1] - _CHROMA_OFFSET) / c_scale
    cr = (ycbcr[..., 2] - _CHROMA_OFFSET) / c_scale
    r = y + 2 * (1 - k_r) * cr
    b = y + 2 * (1 - k_b) * cb
    # From the two chroma planes rather than from r and b: fewer roundings.
    k_g = 1 - k_r - k_b
    g = y - (2 * k_b * (1 - k_b) / k_g) * cb - (2 * k_r * (1 - k_r) / k_g) * cr
    return xp.stack([r, g, b], axis=-1)


def to_uint8(x):
    """Floats in [0, 1], any shape, to uint8: 255 x, rounded (half to even), clipped to [0, 255]."""
    xp = _namespace(x)
    # Half precision cannot hold 255 x to the nearest integer's half.
    x = x.astype(xp.promote_types(x.dtype, xp.float32))
    return xp.clip(xp.rint(x * 255), 0, 255).astype(xp.uint8)


def from_uint8(x, dtype=np.float32):
    """uint8, any shape, to floats x / 255 in [0, 1] of the given dtype."""
    if x.dtype != np.uint8:
        raise TypeError(f"from_uint8 expects uint8, found {x.dtype}")
    return x.astype(dtype) / 255


def downsample_chroma(c, siting="center"):
    """4:4:4 chroma to 4:2:0: the mean of each 2x2 block.

    Args:
      c: `(..., H, W, C)`, any H and W; an odd last row or column is repeated.
      siting: where a chroma sample sits. "center", the only one: amid its four luma samples, as
        in JPEG (JFIF, T.871) and MPEG-1. (MPEG-2 and H.26x default to "left", not provided.)

    Returns:
      `(..., ceil(H/2), ceil(W/2), C)`.

    Raises:
      ValueError: unknown siting, or fewer than three axes.
    """
    xp = _check_planes(c, siting)
    height, width = c.shape[-3:-1]
    if height % 2 or width % 2:
        bottom_right = [(0, height % 2), (0, width % 2), (0, 0)]
        c = xp.pad(c, [(0, 0)] * (c.ndim - 3) + bottom_right, mode="edge")
    top = c[..., 0::2, 0::2, :] + c[..., 0::2, 1::2, :]
    bottom = c[..., 1::2, 0::2, :] + c[..., 1::2, 1::2, :]
    return (top + bottom) * 0.25


def upsample_chroma(c, siting="center"):
    """4:2:0 chroma to 4:4:4: bilinear, edges clamped.

    With centre siting the new samples lie a quarter of a chroma sample from the nearest one, so
    that the weights are 3/4 and 1/4 along each axis: libjpeg's "fancy" filter.

    Args:
      c: `(..., h, w, C)`.
      siting: "center", as in `downsample_chroma`.

    Returns:
      `(..., 2h, 2w, C)`. For a picture of odd size crop it: `padding.crop_to(up, H, W)`.

    Raises:
      ValueError: unknown siting, or fewer than three axes.
    """
    xp = _check_planes(c, siting)
    *lead, height, width, channels = c.shape
    above = xp.concatenate([c[..., :1, :, :], c[..., :-1, :, :]], axis=-3)
    below = xp.concatenate([c[..., 1:, :, :], c[..., -1:, :, :]], axis=-3)
    rows = xp.stack([0.75 * c + 0.25 * above, 0.75 * c + 0.25 * below], axis=-3)
    c = rows.reshape(*lead, 2 * height, width, channels)
    left = xp.concatenate([c[..., :, :1, :], c[..., :, :-1, :]], axis=-2)
    right = xp.concatenate([c[..., :, 1:, :], c[..., :, -1:, :]], axis=-2)
    columns = xp.stack([0.75 * c + 0.25 * left, 0.75 * c + 0.25 * right], axis=-2)
    return columns.reshape(*lead, 2 * height, 2 * width, channels)


def _namespace(x):
    return np if isinstance(x, np.ndarray) else jnp


def _parameters(matrix, range):
    if matrix not in LUMA_COEFFICIENTS:
        raise ValueError(f"matrix must be one of {list(LUMA_COEFFICIENTS)}, found {matrix!r}")
    if range not in _RANGES:
        raise ValueError(f"range must be one of {list(_RANGES)}, found {range!r}")
    return LUMA_COEFFICIENTS[matrix] + _RANGES[range]


def _check_picture(name, picture):
    if picture.ndim == 0 or picture.shape[-1] != 3:
        raise ValueError(f"{name} must have shape (..., 3), found {picture.shape}")
    if not jnp.issubdtype(picture.dtype, jnp.floating):
        raise TypeError(f"{name} must be floats in [0, 1] (see from_uint8), found {picture.dtype}")
    return _namespace(picture)


def _check_planes(c, siting):
    if siting != "center":
        raise ValueError(f"siting must be one of ['center'], found {siting!r}")
    if c.ndim < 3:
        raise ValueError(f"chroma must have shape (..., H, W, C), found {c.shape}")
    return _namespace(c)
