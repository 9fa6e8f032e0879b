"""Rate-distortion loss: bits per pixel + lambda * distortion.

The distortion is that of `ycc_jax.metrics.distortion`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ycc_jax.metrics.distortion import distortion
from ycc_jax.models import Picture

Array = jax.Array


def psnr(x: Picture, x_hat: Picture) -> tuple[Array, Array]:
    """PSNR of Y, and of Cb and Cr together, in dB, (B,) each; the reconstruction is clipped."""
    x_hat = jax.tree.map(lambda plane: jnp.clip(plane, 0, 1), x_hat)
    luma = distortion(x, x_hat, space="ycbcr", chroma_weight=0.0)
    both = distortion(x, x_hat, space="ycbcr", chroma_weight=1.0)
    of_luma, of_chroma = (
        10 * jnp.log10(255.0**2 / (mse + 1e-5)) for mse in (luma, (3 * both - luma) / 2)
    )
    return of_luma, of_chroma


def rate_distortion(
    out: dict[str, Any],
    x: Picture,
    lmbda: Array,
    *,
    space: str = "ycbcr",
    chroma_weight: Array | float = 0.25,
    balance: float = 0.0,
    metric: str = "mse",
) -> tuple[Array, dict[str, Array]]:
    """Loss of a batch, and its metrics as means over the batch.

    A picture's loss is bpp + lambda * distortion: bits of y and z for each pixel of the picture (of
    luma, for planes), and the distortion, whose unit for "mse" is that of
    8-bit samples, 0..255 squared. x_hat is not clipped for it. There is no further term: the
    densities are trained by the rate alone, and the quantiles by which CompressAI fits the range of
    its tables in a loss of their own are not needed, as the tables are computed at export
    (`entropy/factorized.coding_tables`).

    Args:
      out: what `HyperpriorModel.__call__` returned for x: x_hat, of x's shape; bits_y and bits_z,
        (B,); metrics, scalars by name.
      x: the pictures in [0, 1], RGB (B, H, W, 3) or planes, as `distortion` takes them.
      lmbda: (B,), above 0, one for each picture's level: in bits per pixel for one unit of
        distortion.
      space, metric: of `distortion`.
      chroma_weight: of `distortion`, a scalar or (B,).
      balance: each picture's loss is weighted by lmbda^-balance, divided by the mean of the batch's
        weights; 1/2 evens out the gradients of levels whose lambda differs a hundredfold, else the
        highest rates own the network. 0 weights all alike.

    Returns:
      The scalar loss; the model's metrics (bpp, bpp_y, bpp_z) with "loss", "distortion" (not
      weighted), "psnr_y" and "psnr_c" (dB, of the clipped reconstruction, in YCbCr whatever the
      space) beside them, scalars.

    Raises:
      ValueError: planes in another space than "ycbcr", or too small for "ms_ssim".
    """
    height, width = (x[0] if isinstance(x, tuple) else x).shape[1:3]
    bpp = (out["bits_y"] + out["bits_z"]) / (height * width)
    d = distortion(x, out["x_hat"], space=space, metric=metric, chroma_weight=chroma_weight)
    weight = lmbda**-balance
    weight = weight / jnp.mean(weight) if balance else jnp.ones_like(lmbda)
    loss = jnp.mean(weight * (bpp + lmbda * d))
    psnr_y, psnr_c = psnr(x, out["x_hat"])
    values = {
        **out["metrics"],
        "loss": loss,
        "distortion": d.mean(),
        "psnr_y": psnr_y.mean(),
        "psnr_c": psnr_c.mean(),
    }
    return loss, values
