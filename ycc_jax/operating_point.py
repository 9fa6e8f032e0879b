"""Quality and weight of chroma: what a user asks for, what a header stores, what the network takes.

A header stores both in steps, and the encoder codes with what is stored, since that is what the
decoder sees.
"""

import dataclasses

import numpy as np

from ycc_jax.bitstream import quantize_alpha, quantize_quality
from ycc_jax.errors import InputError
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.gain import alpha_position

DEFAULT_QUALITY = 50.0
DEFAULT_ALPHA = 0.25  # what models without a grid of gains are trained with


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """One point of those that a model has.

    Attributes:
      quality: 0..100, a value of `bitstream.quantize_quality`; 50 of a single-rate model.
      alpha: weight of a chroma plane against luma, a value of `bitstream.quantize_alpha`; None of a
        model without a grid of gains.
    """

    quality: float
    alpha: float | None


def choose(net: HyperpriorModel, quality: float | None, alpha: float | None) -> OperatingPoint:
    """What a model makes of a quality and an alpha, either None for the default.

    Raises:
      InputError: out of range, or not of this model.
    """
    if quality is not None and not net.levels:
        raise InputError(f"expected no quality of a model with a single rate, found {quality}")
    if alpha is not None and not net.alphas:
        raise InputError(
            f"expected no alpha of a model with one balance of luma and chroma, found {alpha}"
        )
    if net.alphas:
        alpha = quantize_alpha(
            min(max(DEFAULT_ALPHA, net.alphas[0]), net.alphas[-1]) if alpha is None else alpha
        )
        # The ends of the range, too, are stored rounded.
        if not net.alphas[0] * 0.999 < alpha < net.alphas[-1] * 1.001:
            raise InputError(
                f"expected alpha from {net.alphas[0]:g} to {net.alphas[-1]:g}, found {alpha:g}"
            )
    return OperatingPoint(quantize_quality(DEFAULT_QUALITY if quality is None else quality), alpha)


def level_of(net: HyperpriorModel, quality: float, alpha: float | None = None) -> np.ndarray:
    """Position on the grid of levels, (1,) or (1, 2): quality 0..100 is linear in the rates."""
    position = [quality / 100 * max(net.levels - 1, 0)]
    if alpha is None or not net.alphas:
        return np.array(position, np.float32)
    return np.array([[*position, alpha_position(alpha, net.alphas)]], np.float32)
