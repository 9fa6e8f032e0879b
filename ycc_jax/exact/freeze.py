"""A trained prior to integers: post-training quantisation, with bounds proved.

Every tensor has a power of two as its unit, 2^-exponent, chosen so that `HEADROOM` times the
largest value seen while calibrating fits; what is larger is clipped, in encoder and decoder alike.
Every output channel of every layer has its own unit of weights, so that they use int8. No
retraining is needed: `benchmarks/freezing.py` measures what it costs. Activations of 8 bits cost
most in front of the last two layers, which take 15; all others have 12.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ycc_jax.entropy.tables import LOG_STEP, PLACE_BITS
from ycc_jax.exact import fixed_point, flow
from ycc_jax.exact.calibration import Arrays, drawn_pictures, largest_values, offset_of
from ycc_jax.exact.layers import MAX_WEIGHT, Layer, prove
from ycc_jax.models import HyperpriorModel
from ycc_jax.registry import LIKELIHOODS
from ycc_jax.rounding import Y_BITS

HEADROOM = 2.0
"""By how much a value may exceed the largest one seen while calibrating."""

LINEAR_BITS = 14
"""Scales that a net gives themselves are at most this fine: 0.11 then is 1,802 units."""


def freeze(
    net: HyperpriorModel, params: dict[str, Any], pictures: Sequence[np.ndarray] = ()
) -> Arrays:
    """The integers of `prior.ExactPrior`.

    Args:
      net: the model.
      params: its parameters, float32.
      pictures: uint8 RGB (H, W, 3) to calibrate with, of the kind that will be coded but none that
        is evaluated on; a crop of each is used. Without any: drawn ones (`drawn_pictures`).

    Returns:
      Arrays by name, all of integers; {} of a model without a hyperprior.

    Raises:
      ValueError: a layer whose sums cannot be proved to be exact; the message names it.
    """
    if not net.has_hyperprior:
        return {}
    layers = flow.layers(net, params)
    level_tables = _level_tables(net, params)
    if not len(pictures):
        pictures = drawn_pictures()
    largest = largest_values(net, params, layers, level_tables, pictures)
    exponent = {
        name: int(np.floor(np.log2(flow.limit(name) / (HEADROOM * max(value, 2.0**-10)))))
        for name, value in largest.items()
    }
    frozen: Arrays = {"offset": _rounded(offset_of(net, params) * (1 << Y_BITS))}
    if net.grid:
        frozen["inverse_z"] = _log2_of(params["gain_z"]["log_inverse"])
    if net.chroma_weights:
        frozen["chroma"] = _rounded(np.log2(net.chroma_weights) * 2048)
    if net.level_aware:
        width = params["gain_y"]["log_gain"] + params["log_std"]
        frozen["unit"] = _log2_of(width)
    for name in ("z", "seen", "mean"):
        if name in exponent:
            frozen[f"exponent/{name}"] = np.array(exponent[name], np.int32)
    for name, (kernel, bias) in layers.items():
        of_input, of_output = flow.tensors(net, name)
        if of_output == "head":
            layer, linear = _head(net, name, kernel, bias, exponent)
            if linear is not None:
                frozen["exponent/scale"] = np.array(linear, np.int32)
        else:
            level = level_tables.get(name)
            units = exponent[of_input], exponent[of_output]
            layer, unit = _quantise(name, kernel, bias, *units, flow.limit(of_input), level)
            if level is not None:
                frozen[f"{name}/level"] = _rounded(level * unit)
        prove(layer, name, frozen.get(f"{name}/level"))
        for field, value in layer._asdict().items():
            frozen[f"{name}/{field}"] = value
    return frozen


def _rounded(values: Any) -> np.ndarray:
    return np.round(np.asarray(values, np.float64)).astype(np.int32)


def _log2_of(natural: Any) -> np.ndarray:
    return fixed_point.log2(np.exp(np.asarray(natural, np.float64))).astype(np.int32)


def _level_tables(net: HyperpriorModel, params: dict[str, Any]) -> Arrays:
    """What the level adds to the first entropy-parameter layer, (*grid, F), by its name."""
    if not net.level_aware:
        return {}
    if not net.in_steps:
        return {"hidden_0": np.asarray(params["entropy_parameters"]["level"], np.float64)}
    return {
        f"group_{step.start}/hidden_0": np.asarray(
            params[f"group_parameters_{step.start}"]["nets"]["level"], np.float64
        )
        for step in net.steps
        if not step.phase
    }


def _head(
    net: HyperpriorModel, name: str, kernel: np.ndarray, bias: np.ndarray, exponent: dict[str, int]
) -> tuple[Layer, int | None]:
    """The layer that gives scales and mean, and the exponent of scales that it gives themselves."""
    of_input, _ = flow.tensors(net, name)
    most = flow.limit(of_input)
    means = 0 if net.hyperprior == "scale" else kernel.shape[-1] // (1 + _scales(net))
    scales = kernel.shape[-1] - means
    if net.level_aware:
        # In steps of the scale table, as logarithms.
        per_step = np.repeat([1 / LOG_STEP, 1.0], [scales, means])
        target = np.repeat([PLACE_BITS, exponent["mean"]], [scales, means])
        layer, _ = _quantise(
            name, kernel * per_step, bias * per_step, exponent[of_input], target, most, None
        )
        return layer, None
    for bits in range(LINEAR_BITS, Y_BITS, -1):
        target = np.repeat([bits, Y_BITS], [scales, means])
        try:
            layer, _ = _quantise(name, kernel, bias, exponent[of_input], target, most, None)
            return layer, bits
        except ValueError:
            if bits == Y_BITS + 1:
                raise
    raise AssertionError


def _scales(net: HyperpriorModel) -> int:
    return LIKELIHOODS[net.likelihood].SCALES


def _quantise(
    name: str,
    kernel: np.ndarray,
    bias: np.ndarray,
    of_input: int,
    of_output: Any,
    limit: int,
    level: np.ndarray | None,
) -> tuple[Layer, np.ndarray]:
    """The layer in integers, and of each channel the units of its sums in one.

    Args:
      kernel, bias: (taps, C, F) and (F,), float64.
      of_input, of_output: exponents; of_output may be (F,).
      limit: of the input.
      level: (*grid, F), what else may be added to the sums.

    Raises:
      ValueError: a channel's sums would be coarser than its output.
    """
    of_output = np.broadcast_to(of_output, bias.shape)
    widest = np.abs(kernel).max((0, 1))
    fine = np.where(widest > 0, np.floor(np.log2(MAX_WEIGHT / np.maximum(widest, 1e-30))), 60)
    fine = np.minimum(fine, 30 + of_output - of_input)  # a shift of at most 30
    added = np.abs(bias) + (0 if level is None else np.abs(level).max(tuple(range(level.ndim - 1))))
    while True:
        scaled = np.round(kernel * 2.0**fine)
        most = np.abs(scaled).sum((0, 1)) * limit + added * 2.0 ** (fine + of_input) + 2
        too_large = most + 2.0 ** (fine + of_input - of_output) >= 2.0**31
        if not too_large.any():
            break
        fine = fine - too_large
    shift = fine + of_input - of_output
    if shift.min(initial=0) < 0:
        worst = int(shift.argmin())
        raise ValueError(
            f"layer {name}, channel {worst}: expected weights whose sums are as fine as the "
            f"output's 2^-{of_output[worst]}, found 2^-{int(fine[worst]) + of_input}"
        )
    unit = 2.0 ** (fine + of_input)
    integers = scaled.astype(np.int8), _rounded(bias * unit), shift.astype(np.int8)
    return Layer(*integers, np.array(limit, np.int32)), unit
