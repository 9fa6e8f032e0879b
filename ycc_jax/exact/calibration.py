"""How large the values of a prior get: what its integers are calibrated by.

The flow runs in float64 on pictures of the kind that will be coded, at every trained rate.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from ycc_jax.exact import flow
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.context import TAPS
from ycc_jax.pictures.color import from_uint8
from ycc_jax.pictures.padding import pad_to_multiple

Arrays = dict[str, np.ndarray]


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


def offset_of(net: HyperpriorModel, params: dict[str, Any]) -> np.ndarray:
    return np.asarray(params[net.factorized_density].get("offset", np.zeros(net.N)), np.float64)


def largest_values(
    net: HyperpriorModel,
    params: dict[str, Any],
    layers: dict[str, tuple[np.ndarray, np.ndarray]],
    level_tables: Arrays,
    pictures: Sequence[np.ndarray],
) -> dict[str, float]:
    """The largest absolute value of each tensor over the pictures, at every trained rate."""
    largest: dict[str, float] = {}
    shift: Arrays = {}

    def see(name: str, value: np.ndarray) -> np.ndarray:
        largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max(initial=0)))
        return value

    def run(name: str, x: np.ndarray) -> np.ndarray:
        kernel, bias = layers[name]
        value = _windowed(x, kernel) + bias + shift.get(name, 0)
        _, of_output = flow.tensors(net, name)
        if of_output not in ("head", "features"):
            slope = 0.0 if net.hyperprior == "scale" else 0.01
            value = np.where(value < 0, slope * value, value)
        return value if of_output == "head" else see(of_output, value)

    offset = offset_of(net, params)
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
