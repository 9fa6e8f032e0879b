"""Distortion of a picture, differentiable: what training and the search at the encoder minimise.

A mean over planes, by `space` and `metric`:

  space    "rgb": the three channels alike. "ycbcr": Y with weight 1 and each chroma plane with
           weight w, divided by 1 + 2 w: `chroma_weight`, the luma-chroma bit allocation (Ulas &
           Tekalp 2022), and 0 is luma alone.
  metric   "mse": 255^2 * MSE, which brings lambda to its published scale. "ms_ssim": 1 - MS-SSIM.

Pictures are in [0, 1]: RGB (B, H, W, 3), whose YCbCr is BT.601 in full range as in `psnr.py`,
whatever a model's own; or native 4:2:0 planes, measured as they are, each at its own size.
"""

import jax
import jax.numpy as jnp

from ycc_jax.metrics.ms_ssim import ms_ssim
from ycc_jax.pictures.color import rgb_to_ycbcr

Array = jax.Array
# RGB (B, H, W, 3); or 4:2:0 YCbCr, luma (B, H, W, 1) and chroma (B, H/2, W/2, 2).
Picture = Array | tuple[Array, Array]


def distortion(
    x: Picture,
    x_hat: Picture,
    *,
    space: str,
    metric: str = "mse",
    chroma_weight: Array | float = 1.0,
) -> Array:
    """Distortion of each picture, (B,).

    Args:
      x, x_hat: the picture and its reconstruction, both RGB or both planes.
      space, metric: see the module docstring.
      chroma_weight: scalar or (B,); of "ycbcr".

    Raises:
      ValueError: unknown space or metric, "rgb" for planes, or a side too small for MS-SSIM.
    """
    if space not in ("rgb", "ycbcr"):
        raise ValueError(f"loss space must be 'rgb' or 'ycbcr', found {space!r}")
    if metric not in ("mse", "ms_ssim"):
        raise ValueError(f"loss metric must be 'mse' or 'ms_ssim', found {metric!r}")
    if isinstance(x, tuple) or isinstance(x_hat, tuple):
        if space == "rgb":
            raise ValueError("loss space must be 'ycbcr' for 4:2:0 planes, found 'rgb'")
        parts = [of_planes(a, b, metric) for a, b in zip(x, x_hat, strict=True)]
        by_plane = jnp.concatenate(parts, axis=-1)
    elif space == "ycbcr":
        by_plane = of_planes(rgb_to_ycbcr(x), rgb_to_ycbcr(x_hat), metric)
    else:
        return of_planes(x, x_hat, metric).mean(axis=-1)
    luma, chroma = by_plane[..., 0], by_plane[..., 1] + by_plane[..., 2]
    return (luma + chroma_weight * chroma) / (1 + 2 * chroma_weight)


def of_planes(x: Array, x_hat: Array, metric: str) -> Array:
    """Distortion of each plane, (B, H, W, C) -> (B, C)."""
    if metric == "ms_ssim":
        return 1 - ms_ssim(x, x_hat)
    return 255.0**2 * jnp.mean((x - x_hat) ** 2, axis=(1, 2))
