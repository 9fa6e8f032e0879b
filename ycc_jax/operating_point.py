"""Quality and weight of chroma: what a user asks for, what a header stores, what the network takes.

A header stores both in steps, and the encoder codes with what is stored, since that is what the
decoder sees.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ycc_jax.errors import InputError
from ycc_jax.header import CHROMA_UNIT, QUALITY_UNIT, quantize_chroma, quantize_quality
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.gain import chroma_position

DEFAULT_QUALITY = 50.0
DEFAULT_CHROMA = 0.25  # what models without a grid of gains are trained with


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """One point of those that a model has.

    Attributes:
      quality: 0..100, a value of `header.quantize_quality`; 50 of a single-rate model.
      chroma: weight of a chroma plane against luma, a value of `header.quantize_chroma`; None
        of a model without a grid of gains.
    """

    quality: float
    chroma: float | None


def choose(net: HyperpriorModel, quality: float | None, chroma: float | None) -> OperatingPoint:
    """What a model makes of a quality and a chroma, either None for the default.

    Raises:
      InputError: out of range, or not of this model.
    """
    if quality is not None and not net.levels:
        raise InputError(f"expected no quality of a model with a single rate, found {quality}")
    if chroma is not None and not net.chroma_weights:
        raise InputError(
            f"expected no chroma of a model with one balance of luma and chroma, found {chroma}"
        )
    if net.chroma_weights:
        least, most = net.chroma_weights[0], net.chroma_weights[-1]
        chroma = quantize_chroma(
            min(max(DEFAULT_CHROMA, least), most) if chroma is None else chroma
        )
        # The ends of the range, too, are stored rounded.
        if not least * 0.999 < chroma < most * 1.001:
            raise InputError(f"expected chroma from {least:g} to {most:g}, found {chroma:g}")
    return OperatingPoint(quantize_quality(DEFAULT_QUALITY if quality is None else quality), chroma)


def steps_of(point: OperatingPoint) -> tuple[int, int | None]:
    """The point as the header has it: quality * 512, and 2048 * log2(chroma) if there is one."""
    chroma = None if point.chroma is None else round(math.log2(point.chroma) * CHROMA_UNIT)
    return round(point.quality * QUALITY_UNIT), chroma


def level_of(
    model: HyperpriorModel, quality: float | None = None, chroma: float | None = None
) -> np.ndarray:
    """Where on a model's grid of levels a quality and a weight of chroma lie.

    Args:
      model: any; of one without levels, the level is a single 0 that it ignores.
      quality: 0 (smallest files) to 100, linear in the rate levels; None: 50.
      chroma: weight of a chroma plane against luma, of models with a grid of gains; None: 0.25, or
        what of their range is nearest.

    Returns:
      float32 (1, 1), or (1, 2) on a grid of rates and chroma weights: what `HyperpriorModel` takes
      as the level of one picture. Both are rounded first as a file's header stores them.

    Raises:
      InputError: out of range, or not of this model.
    """
    return level_at(model, choose(model, quality, chroma))


def level_at(model: HyperpriorModel, point: OperatingPoint) -> np.ndarray:
    """`level_of` of a point that was chosen."""
    position = [point.quality / 100 * max(model.levels - 1, 0)]
    if point.chroma is not None:
        position.append(chroma_position(point.chroma, model.chroma_weights))
    return np.array([position], np.float32)


def lambda_of(lambdas: Sequence[float], level: np.ndarray) -> float | None:
    """The lambda of a level, between trained ones interpolated as the gains are; None if the model
    does not say its lambdas.

    Args:
      lambdas: one a rate, or ().
      level: of `level_of`, one picture's.
    """
    if not len(lambdas):
        return None
    rates = np.arange(len(lambdas))
    return float(np.exp(np.interp(level.reshape(-1)[0], rates, np.log(lambdas))))
