"""Rate-distortion loss: bits per pixel + lambda * 255^2 * distortion.

Distortion "ycbcr" is (MSE_Y + 2 alpha MSE_C) / (1 + 2 alpha) with MSE_C the mean of both chroma
planes: alpha is the luma-chroma bit allocation (Ulas & Tekalp 2022). "rgb" is the plain MSE over
the three channels. Pictures are in [0, 1]; 255^2 brings lambda to its published scale.
"""

import jax
import jax.numpy as jnp

from ycc_jax.color import rgb_to_ycbcr

Array = jax.Array


def mse(x: Array, x_hat: Array, space: str, alpha: float = 1.0) -> Array:
    """Distortion of each picture, (B, H, W, 3) RGB in [0, 1] -> (B,)."""
    if space == "rgb":
        return jnp.mean((x - x_hat) ** 2, axis=(1, 2, 3))
    if space != "ycbcr":
        raise ValueError(f"loss space must be 'rgb' or 'ycbcr', found {space!r}")
    y, cb, cr = jnp.moveaxis(jnp.mean((rgb_to_ycbcr(x) - rgb_to_ycbcr(x_hat)) ** 2, (1, 2)), -1, 0)
    return (y + alpha * (cb + cr)) / (1 + 2 * alpha)


def rate_distortion(
    out: dict[str, Array], x: Array, lmbda: Array, *, space: str, alpha: float, balance: float
) -> tuple[Array, dict[str, Array]]:
    """Loss of a batch, and its metrics as means over the batch.

    Args:
      out: what `HyperpriorModel.__call__` returned for x.
      x: RGB (B, H, W, 3) in [0, 1].
      lmbda: (B,), one for each picture's level.
      space, alpha: see the module docstring.
      balance: each picture's loss is weighted by lmbda^-balance; 1/2 evens out the gradients of
        levels whose lambda differs a hundredfold, else the highest rates own the network.

    Returns:
      The scalar loss; the model's metrics with "loss", "mse" and "psnr_y" beside them.
    """
    bpp = (out["bits_y"] + out["bits_z"]) / (x.shape[1] * x.shape[2])
    distortion = mse(x, out["x_hat"], space, alpha)
    weight = lmbda**-balance
    weight = weight / jnp.mean(weight) if balance else jnp.ones_like(lmbda)
    loss = jnp.mean(weight * (bpp + lmbda * 255.0**2 * distortion))
    psnr_y = -10 * jnp.log10(mse(x, jnp.clip(out["x_hat"], 0, 1), "ycbcr", 0.0) + 1e-10)
    values = {
        **out["metrics"],
        "loss": loss,
        "mse": distortion.mean(),
        "psnr_y": psnr_y.mean(),
    }
    return loss, values
