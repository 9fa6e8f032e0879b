"""The prior as a flow through named layers, in whatever arithmetic runs them.

    z -> hyper_0, hyper_1 (each twice as high and wide) -> hyper_2 -> hyper features
    coded part of y -> context ---------------+
                                              v
    hyper features ----------------------> hidden_0 -> hidden_1 -> output -> scales, mean

These are the nets of `nets/prior.py` with the convolutions written as sums over shifted windows: a
transposed 5x5 of stride 2 is a 3x3 to four times the channels, one for each parity of row and
column. `freeze.py` runs the flow in float64 to see how large its values get, `prior.py` in
integers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ycc_jax.exact.layers import NARROW, WIDE
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.grouped import Step

Array = Any  # NumPy's or JAX's
# (name of the layer, its input (n, C) or (h, w, C)) -> its output, behind the activation.
Run = Callable[[str, Array], Array]

HYPER = ("hyper_0", "hyper_1", "hyper_2")
DENSE = ("hidden_0", "hidden_1", "output")


def names(net: HyperpriorModel) -> list[str]:
    """Of all layers."""
    found = [*HYPER, *(["context"] if net.context == "autoregressive" else [])]
    if not net.in_steps:
        return found + list(DENSE if net.has_nets else [])
    for step in net.steps:
        if not step.phase:
            contexts = ["channel_context", "spatial_context"][not step.start :]
            found += [f"group_{step.start}/{name}" for name in (*contexts, *DENSE)]
    return found


def layers(
    net: HyperpriorModel, params: dict[str, Any]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel (taps, C, F) and bias (F,) of every layer, float64, from a model's parameters."""
    nets = params["hyper_synthesis"]
    found = {
        "hyper_0": (_phases(nets["ConvTranspose_0"]["kernel"]), nets["ConvTranspose_0"]["bias"]),
        "hyper_1": (_phases(nets["ConvTranspose_1"]["kernel"]), nets["ConvTranspose_1"]["bias"]),
        "hyper_2": (_windows(nets["Conv_0"]["kernel"]), nets["Conv_0"]["bias"]),
    }
    for name in HYPER[:2]:
        found[name] = found[name][0], np.tile(found[name][1], 4)
    if net.context == "autoregressive":
        kernel = np.asarray(params["context"]["kernel"])
        found["context"] = kernel.reshape(1, -1, kernel.shape[-1]), params["context"]["bias"]
    for prefix, group in _dense(net, params):
        for name in ("channel_context", "spatial_context"):
            if name in group:
                found[prefix + name] = _windows(group[name]["kernel"]), group[name]["bias"]
        for name in DENSE:
            layer = group.get("nets", group)[name]
            found[prefix + name] = np.asarray(layer["kernel"])[None], layer["bias"]
    return {
        name: (np.asarray(kernel, np.float64), np.asarray(bias, np.float64))
        for name, (kernel, bias) in found.items()
    }


def tensors(net: HyperpriorModel, name: str) -> tuple[str, str]:
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


def limit(tensor: str) -> int:
    """The largest activation of a tensor, by its name."""
    return WIDE if tensor.rpartition("/")[2] in ("hidden_0", "hidden_1", "mean") else NARROW


def _dense(net: HyperpriorModel, params: dict[str, Any]):
    """(prefix of the layers' names, parameters) of each entropy-parameter net."""
    if net.in_steps:
        for step in net.steps:
            if not step.phase:
                yield f"group_{step.start}/", params[f"group_parameters_{step.start}"]
    elif net.has_nets:
        yield "", params["entropy_parameters"]


def _windows(kernel: Any) -> np.ndarray:
    """(k, k, C, F) -> (k * k, C, F)."""
    kernel = np.asarray(kernel)
    return kernel.reshape(-1, *kernel.shape[2:])


def _phases(kernel: Any) -> np.ndarray:
    """A transposed convolution's (5, 5, C, F) -> (9, C, 4 F), parities of row and column first."""
    kernel = np.asarray(kernel)
    padded = np.zeros((6, 6, *kernel.shape[2:]), kernel.dtype)
    padded[:5, :5] = kernel
    # Output 2 m + p meets input m + d by the tap p + 2 - 2 d; there is no tap 5.
    taps = [[p + 2 - 2 * d for p in (0, 1)] for d in (-1, 0, 1)]
    parts = padded[np.array(taps)[:, :, None, None], np.array(taps)[None, None]]
    # (row d, row parity, column d, column parity, C, F)
    C, F = kernel.shape[2:]
    return parts.transpose(0, 2, 4, 1, 3, 5).reshape(9, C, 4 * F)


def hyper_features(run: Run, z: Array) -> Array:
    """z (h/4, w/4, N) -> hyper features (h, w, F)."""
    h = z
    for name in HYPER[:2]:
        h = run(name, h)
        height, width, features = h.shape
        h = h.reshape(height, width, 2, 2, features // 4).transpose(0, 2, 1, 3, 4)
        h = h.reshape(2 * height, 2 * width, features // 4)
    return run(HYPER[2], h)


def outputs(
    run: Run, xp: Any, net: HyperpriorModel, hyper: Array, seen: Array, step: Step
) -> Array:
    """Scales and mean of a step's channels, (..., (1 + scales) m), in that order.

    Args:
      run: see `Run`.
      xp: numpy or jax.numpy.
      net: which has entropy-parameter nets.
      hyper: features, (h, w, F); or (n, F) of single positions.
      seen: what the context is told of y: (h, w, M), zero where nothing is coded yet; or the
        neighbours of single positions (n, 12 M).
      step: one of `net.steps`.
    """
    features, prefix = [hyper], ""
    if net.in_steps:
        prefix = f"group_{step.start}/"
        if step.start:
            features.append(run(prefix + "channel_context", seen[..., : step.start]))
        # In a first phase none of the group is coded, and its features are zero.
        own = seen[..., step.start : step.stop]
        spatial = run(prefix + "spatial_context", own)
        features.append(spatial if step.phase else xp.zeros_like(spatial))
    elif net.context == "autoregressive":
        features.append(run("context", seen))
    h = xp.concatenate(features, axis=-1)
    for name in DENSE:
        h = run(prefix + name, h)
    return h
