"""Padding to the transforms' stride.

Pictures are `(..., H, W, C)`, JAX or NumPy arrays of any dtype; the result is of the same kind.
Rows and columns are added at the bottom and the right only, so the top left corner stays where it
is and cropping needs nothing but the original size, which the bitstream's header carries.
"""

import jax.numpy as jnp
import numpy as np


def padded_size(n, multiple):
    """The smallest multiple of `multiple` that is at least n (n, multiple >= 1)."""
    if n < 1 or multiple < 1:
        raise ValueError(f"size and multiple must be at least 1, found {n} and {multiple}")
    return -(-n // multiple) * multiple


def pad_to_multiple(image, multiple):
    """Repeats the last row and column until H and W are multiples of `multiple`.

    Repetition costs a codec fewer bits than zeros (no edge) and, unlike reflection, works for any
    size from 1x1.

    Args:
      image: `(..., H, W, C)`, H and W at least 1.
      multiple: a positive int, used for both axes.

    Returns:
      `(..., padded_size(H, multiple), padded_size(W, multiple), C)`.

    Raises:
      ValueError: fewer than three axes, an empty picture, or multiple < 1.
    """
    height, width = _size(image)
    pad_height = padded_size(height, multiple) - height
    pad_width = padded_size(width, multiple) - width
    xp = np if isinstance(image, np.ndarray) else jnp
    widths = [(0, 0)] * (image.ndim - 3) + [(0, pad_height), (0, pad_width), (0, 0)]
    return xp.pad(image, widths, mode="edge")


def _size(image):
    if image.ndim < 3:
        raise ValueError(f"image must have shape (..., H, W, C), found {image.shape}")
    return image.shape[-3], image.shape[-2]
