"""A trained prior to integers: post-training quantisation, with bounds proved.

Every tensor has a power of two as its unit, 2^-exponent, chosen so that `HEADROOM` times the
largest value seen while calibrating fits; what is larger is clipped, in encoder and decoder alike.
Every output channel of every layer has its own unit of weights, so that they use int8. No
retraining is needed: measured on the bundled model, 8 bits of weights cost less than 0.1 % of the
rate, 8 bits of activations everywhere 5 % at the lowest rate and nearly all of it in front of the
last two layers, which therefore take 15.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ycc_jax.entropy.tables import LOG_STEP, PLACE_BITS
from ycc_jax.exact import fixed_point, flow
from ycc_jax.exact.layers import MAX_WEIGHT, NARROW, WIDE, Layer, prove
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.context import TAPS
from ycc_jax.nets.prior import LIKELIHOODS
from ycc_jax.pictures.color import from_uint8
from ycc_jax.pictures.padding import pad_to_multiple
from ycc_jax.rounding import Y_BITS

HEADROOM = 2.0
"""By how much a value may exceed the largest one seen while calibrating."""

LINEAR_BITS = 14
"""Scales that a net gives themselves are at most this fine: 0.11 then is 1,802 units."""

Arrays = dict[str, np.ndarray]


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
    largest = _largest(net, params, layers, level_tables, pictures)
    exponent = {
        name: int(np.floor(np.log2(limit(name) / (HEADROOM * max(value, 2.0**-10)))))
        for name, value in largest.items()
    }
    frozen: Arrays = {"offset": _rounded(_offset(net, params) * (1 << Y_BITS))}
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
        of_input, of_output = _tensors(net, name)
        if of_output == "head":
            layer, linear = _head(net, name, kernel, bias, exponent)
            if linear is not None:
                frozen["exponent/scale"] = np.array(linear, np.int32)
        else:
            level = level_tables.get(name)
            layer, unit = _quantise(
                name, kernel, bias, exponent[of_input], exponent[of_output], limit(of_input), level
            )
            if level is not None:
                frozen[f"{name}/level"] = _rounded(level * unit)
        prove(layer, name)
        for field, value in layer._asdict().items():
            frozen[f"{name}/{field}"] = value
    return frozen


def drawn_pictures(count: int = 4, side: int = 128) -> list[np.ndarray]:
    """Pictures to calibrate with where there are no photographs: noise with the spectrum 1/f of
    natural images, of growing contrast, coloured, with an edge through it."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    found = []
    for contrast in np.linspace(0.15, 0.45, count):
        noise = np.fft.rfft2(rng.standard_normal((3, side, side))) / np.maximum(frequency, 1 / side)
        planes = np.fft.irfft2(noise, s=(side, side))
        planes = 0.7 * planes[:1] + 0.3 * planes
        planes *= contrast / planes.std()
        planes[:, :, side // 3 :] += rng.uniform(-0.5, 0.5, (3, 1, 1))
        found.append(np.clip((planes.transpose(1, 2, 0) + 0.5) * 255, 0, 255).astype(np.uint8))
    return found


def limit(tensor: str) -> int:
    """The largest activation of a tensor, by its name."""
    return WIDE if tensor.rpartition("/")[2] in ("hidden_0", "hidden_1", "mean") else NARROW


def _rounded(values: Any) -> np.ndarray:
    return np.round(np.asarray(values, np.float64)).astype(np.int32)


def _log2_of(natural: Any) -> np.ndarray:
    return fixed_point.log2(np.exp(np.asarray(natural, np.float64))).astype(np.int32)


def _offset(net: HyperpriorModel, params: dict[str, Any]) -> np.ndarray:
    return np.asarray(params[net.factorized_density].get("offset", np.zeros(net.N)), np.float64)


def _level_tables(net: HyperpriorModel, params: dict[str, Any]) -> Arrays:
    """What the level adds to the first entropy-parameter layer, (*grid, F), by its name."""
    if not net.level_aware:
        return {}
    if net.context != "grouped":
        return {"hidden_0": np.asarray(params["entropy_parameters"]["level"], np.float64)}
    return {
        f"group_{step.start}/hidden_0": np.asarray(
            params[f"group_parameters_{step.start}"]["nets"]["level"], np.float64
        )
        for step in net.steps
        if not step.phase
    }


def _tensors(net: HyperpriorModel, name: str) -> tuple[str, str]:
    """The tensors, by the name of their exponent, that a layer takes and gives."""
    prefix, _, last = name.rpartition("/")
    prefix += "/" if prefix else ""
    end = "features" if net.has_nets else "head"
    return {
        "hyper_0": ("z", "hyper_0"),
        "hyper_1": ("hyper_0", "hyper_1"),
        "hyper_2": ("hyper_1", end),
        "context": ("seen", "features"),
        "channel_context": ("seen", "features"),
        "spatial_context": ("seen", "features"),
        "hidden_0": ("features", prefix + "hidden_0"),
        "hidden_1": (prefix + "hidden_0", prefix + "hidden_1"),
        "output": (prefix + "hidden_1", "head"),
    }[last]


def _head(
    net: HyperpriorModel, name: str, kernel: np.ndarray, bias: np.ndarray, exponent: dict[str, int]
) -> tuple[Layer, int | None]:
    """The layer that gives scales and mean, and the exponent of scales that it gives themselves."""
    of_input, _ = _tensors(net, name)
    most = limit(of_input)
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


def _largest(net, params, layers, level_tables, pictures) -> dict[str, float]:
    """The largest absolute value of each tensor over the pictures, at every trained rate."""
    largest: dict[str, float] = {}
    shift: Arrays = {}

    def see(name: str, value: np.ndarray) -> np.ndarray:
        largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max(initial=0)))
        return value

    def run(name: str, x: np.ndarray) -> np.ndarray:
        kernel, bias = layers[name]
        value = _windowed(x, kernel) + bias + shift.get(name, 0)
        _, of_output = _tensors(net, name)
        if of_output not in ("head", "features"):
            slope = 0.0 if net.hyperprior == "scale" else 0.01
            value = np.where(value < 0, slope * value, value)
        return value if of_output == "head" else see(of_output, value)

    offset = _offset(net, params)
    for level, y, z in _latents(net, params, pictures):
        at = tuple(int(i) for i in level)
        shift.update({name: table[at] for name, table in level_tables.items()})
        inverse = np.exp(params["gain_z"]["log_inverse"][at]) if net.grid else 1.0
        hyper = flow.hyper_features(run, see("z", (np.round(z - offset) + offset) * inverse))
        if not net.has_nets:
            continue
        seen = np.round(y)
        if net.level_aware:
            unit = np.exp(params["gain_y"]["log_gain"][at] + params["log_std"])
            seen = seen / np.sqrt(unit**2 + 0.25)
        see("seen", seen)
        if net.context == "autoregressive":
            h, w, M = seen.shape
            padded = np.pad(seen, ((2, 0), (2, 2), (0, 0)))
            near = [padded[2 + i : 2 + i + h, 2 + j : 2 + j + w] for i, j in TAPS]
            seen = np.stack(near, axis=2).reshape(h * w, len(TAPS) * M)
            hyper = hyper.reshape(h * w, -1)
        for step in net.steps:
            if step.phase == step.phases - 1:
                out = flow.outputs(run, np, net, hyper, seen, step)
                see("mean", out[..., -(step.stop - step.start) :])
    return largest


def _windowed(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sum over the windows' taps, zeros beyond the border; as `layers.accumulate`."""
    side = {1: 1, 9: 3, 25: 5}[len(kernel)]
    if side == 1:
        return x @ kernel[0]
    padded = np.pad(x, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    h, w, _ = x.shape
    taps = ((i, j) for i in range(side) for j in range(side))
    return sum(padded[i : i + h, j : j + w] @ kernel[t] for t, (i, j) in enumerate(taps))


def _latents(net, params, pictures) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(position on the grid, y, z), gained and not rounded, of a crop of one size of the pictures,
    in turn, at every rate level with chroma weights in turn, at least once a picture."""
    side = net.stride * max(1, min(256, *(min(p.shape[:2]) for p in pictures)) // net.stride)

    for n in range(max(net.levels, len(pictures))):
        at = [n % net.levels if net.levels else 0]
        if net.chroma_weights:
            at.append(n * 3 % len(net.chroma_weights) if n % 2 else n % len(net.chroma_weights))
        level = np.array(at[: len(net.grid)] if net.grid else [0.0], np.float32)
        crop = pad_to_multiple(pictures[n % len(pictures)][:side, :side], net.stride)
        y, z = _analyse(net, params, crop[None], level[None])
        yield level[: len(net.grid)], np.asarray(y), np.asarray(z)


@partial(jax.jit, static_argnums=0)
def _analyse(net, params, picture, level):
    """y (h, w, M) and z (h/4, w/4, N) of uint8 RGB (1, H, W, 3)."""
    x = net.picture(from_uint8(picture))
    y = net.apply({"params": params}, x, level, method=net.analyse)
    return y[0], net.apply({"params": params}, y, level, method=net.hyper_analyse)[0]
