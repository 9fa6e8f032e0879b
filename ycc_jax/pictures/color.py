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

from functools import partial

import jax.numpy as jnp
import numpy as np

# Matrix name -> (K_r, K_b); K_g = 1 - K_r - K_b. Everything else follows from these two.
_LUMA_COEFFICIENTS = {
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

# Siting name -> whether 4:2:0 chroma samples sit between luma samples, down and across.
_SITINGS = {"center": (True, True), "left": (True, False), "top-left": (False, False)}


def rgb_to_ycbcr(rgb, matrix="bt601", range="full"):
    """RGB to YCbCr.

    Args:
      rgb: floats `(..., 3)`, nominally in [0, 1].
      matrix: one of `vocabulary.YCBCR_MATRICES`: "bt601", "bt709" or "bt2020".
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
      matrix: one of `vocabulary.YCBCR_MATRICES`: "bt601", "bt709" or "bt2020".
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
    """4:4:4 chroma to 4:2:0.

    Along an axis where samples sit between two luma samples, the filter is their mean (1 1)/2;
    where they sit on every other luma sample, it is (1 2 1)/4.

    Args:
      c: `(..., H, W, C)`, any H and W; an odd last row or column is repeated.
      siting: where a chroma sample sits: "center", amid its four luma samples, as in JPEG (JFIF,
        T.871) and MPEG-1; "left", on the left two, as in MPEG-2 and by default in H.264 and H.265;
        "top-left", on the first, as in BT.2020 and UHD Blu-ray.

    Returns:
      `(..., ceil(H/2), ceil(W/2), C)`.

    Raises:
      ValueError: unknown siting, or fewer than three axes.
    """
    xp = _check_planes(c, siting)
    for axis, centered in zip((-3, -2), _SITINGS[siting], strict=True):
        n = c.shape[axis]
        take = partial(_take, c, axis)
        # Samples 2 m - 1, 2 m and 2 m + 1, the picture's edge repeated.
        even, odd = take(0, n, 2), take(1, n, 2)
        if n % 2:
            odd = xp.concatenate([odd, take(n - 1, n)], axis=axis)
        if centered:
            c = 0.5 * (even + odd)
        else:
            before = xp.concatenate([take(0, 1), _take(odd, axis, 0, even.shape[axis] - 1)], axis)
            c = 0.25 * (before + odd) + 0.5 * even
    return c


def upsample_chroma(c, siting="center"):
    """4:2:0 chroma to 4:4:4: linear interpolation along each axis, edges clamped.

    Where samples sit between two luma samples, new ones lie a quarter of a chroma sample from the
    nearest, so that the weights are 3/4 and 1/4: libjpeg's "fancy" filter. Where they sit on every
    other luma sample, those keep their value and the others are the mean of their neighbours.

    Args:
      c: `(..., h, w, C)`.
      siting: as in `downsample_chroma`.

    Returns:
      `(..., 2h, 2w, C)`. For a picture of odd size crop it: `up[..., :H, :W, :]`.

    Raises:
      ValueError: unknown siting, or fewer than three axes.
    """
    xp = _check_planes(c, siting)
    for axis, centered in zip((-3, -2), _SITINGS[siting], strict=True):
        n = c.shape[axis]
        after = xp.concatenate([_take(c, axis, 1, n), _take(c, axis, n - 1, n)], axis)
        if centered:
            before = xp.concatenate([_take(c, axis, 0, 1), _take(c, axis, 0, n - 1)], axis)
            pair = (0.75 * c + 0.25 * before, 0.75 * c + 0.25 * after)
        else:
            pair = (c, 0.5 * (c + after))
        shape = list(c.shape)
        shape[axis] = 2 * n
        c = xp.stack(pair, axis=c.ndim + axis + 1).reshape(shape)
    return c


def rgb_to_ycbcr420(rgb, matrix="bt601", range="full"):
    """RGB to 4:2:0 planes, chroma as 2x2 means: (luma `(..., H, W, 1)`, chroma `(..., h, w, 2)`).

    Arguments and errors as in `rgb_to_ycbcr`; h = ceil(H/2), w = ceil(W/2), siting "center".
    """
    ycbcr = rgb_to_ycbcr(rgb, matrix, range)
    return ycbcr[..., :1], downsample_chroma(ycbcr[..., 1:])


def ycbcr420_to_rgb(luma, chroma, matrix="bt601", range="full", siting="center"):
    """4:2:0 planes to RGB `(..., H, W, 3)`, not clipped: chroma is interpolated to luma's size.

    Arguments and errors as in `rgb_to_ycbcr420` and `upsample_chroma`.
    """
    xp, (height, width) = _namespace(luma), luma.shape[-3:-1]
    chroma = upsample_chroma(chroma, siting)[..., :height, :width, :]
    return ycbcr_to_rgb(xp.concatenate([luma, chroma], axis=-1), matrix, range)


def _take(c, axis, start, stop, step=1):
    """c[start:stop:step] along an axis counted from the end."""
    return c[(..., slice(start, stop, step), *[slice(None)] * (-axis - 1))]


def _namespace(x):
    return np if isinstance(x, np.ndarray) else jnp


def _parameters(matrix, range):
    if matrix not in _LUMA_COEFFICIENTS:
        raise ValueError(f"matrix must be one of {list(_LUMA_COEFFICIENTS)}, found {matrix!r}")
    if range not in _RANGES:
        raise ValueError(f"range must be one of {list(_RANGES)}, found {range!r}")
    return _LUMA_COEFFICIENTS[matrix] + _RANGES[range]


def _check_picture(name, picture):
    if picture.ndim == 0 or picture.shape[-1] != 3:
        raise ValueError(f"{name} must have shape (..., 3), found {picture.shape}")
    if not jnp.issubdtype(picture.dtype, jnp.floating):
        raise TypeError(f"{name} must be floats in [0, 1] (see from_uint8), found {picture.dtype}")
    return _namespace(picture)


def _check_planes(c, siting):
    if siting not in _SITINGS:
        raise ValueError(f"siting must be one of {list(_SITINGS)}, found {siting!r}")
    if c.ndim < 3:
        raise ValueError(f"chroma must have shape (..., H, W, C), found {c.shape}")
    return _namespace(c)
