"""From the symbols of z to the mean and the table of every symbol of y, in integers alone.

Whatever machine, device, number of threads or release of JAX: the numbers are the same, because
every operation is exact (`layers.py` for the products; the rest is int32 and int64). So a file
decodes everywhere. Floating point begins behind y_hat, with the pixels.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.entropy.tables import LOG_STEP, PLACE_BITS
from ycc_jax.exact import fixed_point, flow
from ycc_jax.exact.fixed_point import Multiplier, rounded_shift
from ycc_jax.exact.layers import (
    NARROW,
    Layer,
    Proved,
    accumulate,
    leaky_relu,
    proved,
    requantise,
)
from ycc_jax.models import HyperpriorModel
from ycc_jax.nets.grouped import Step
from ycc_jax.registry import LIKELIHOODS
from ycc_jax.rounding import Y_BITS

Array = jax.Array

# What a net's outputs are clipped to: as much as the products behind them allow.
_MOST_LINEAR = 1 << 23  # means and scales themselves
_MOST_MEAN = (1 << 15) - 1  # means in widths of y
_MOST_LOG = round(8 * (1 << PLACE_BITS) / LOG_STEP)  # log scales, as `EntropyParameters` clips them
_MOST_Z = 1 << 20  # symbols of z, and y_hat for the context
_MOST_Y = 1 << 23


class OfNets(NamedTuple):
    """What the nets see of a level; of a level-aware model, else nothing of it matters.

    Attributes:
      unit: of means in widths of y, to Q8 quantiser steps, (M,).
      place: those widths on the scale table, Q8, int32 (M,).
      biases: of the layers that see the level, by name, int32 (F,) each.
    """

    unit: Multiplier
    place: Array | np.ndarray
    biases: dict[str, Any]


class Level(NamedTuple):
    """What a quality and a chroma weight are to the prior, integers.

    Attributes:
      inverse_z: of z_hat Q8, to activations, (N,).
      seen: of y_hat Q8, to what the context sees, (M,).
      of_nets: on the device.
    """

    inverse_z: Multiplier
    seen: Multiplier
    of_nets: OfNets


class ExactPrior:
    """The integer prior of a codec model.

    Args:
      net: the model.
      frozen: what `freeze.freeze` gave.

    Raises:
      ValueError: the layers are not the model's, or one cannot be proved to be exact.
    """

    def __init__(self, net: HyperpriorModel, frozen: dict[str, np.ndarray]):
        self.net, self.frozen = net, frozen
        found = {key.removesuffix("/kernel") for key in frozen if key.endswith("/kernel")}
        names = flow.names(net)
        if found != set(names):
            raise ValueError(
                f"expected integers of the layers {sorted(names)}, found {sorted(found)}"
            )
        self._layers = {}
        for name in names:
            layer = Layer(*(frozen[f"{name}/{field}"] for field in Layer._fields))
            if layer.limit != flow.limit(flow.tensors(net, name)[0]):
                raise ValueError(
                    f"layer {name}: expected the limit of its input, found {layer.limit}"
                )
            self._layers[name] = proved(layer, name, frozen.get(f"{name}/level"))
        self._hyper = jax.jit(partial(_hyper, net))
        linear = int(frozen.get("exponent/scale", 0))
        self._parameters = jax.jit(partial(_parameters, net, linear), static_argnums=4)

    def level(self, quality: int, chroma: int | None) -> Level:
        """The integers of an operating point.

        Args:
          quality: in steps of 1/512, 0 .. 51200, as the header has it.
          chroma: 2048 * log2 of the chroma weight; None of a model without a grid.
        """
        net, frozen = self.net, self.frozen
        positions = []
        if net.grid:
            rates = np.arange(net.levels) * 51200
            positions.append(fixed_point.position(quality * max(net.levels - 1, 0), rates))
        if net.chroma_weights:
            assert chroma is not None
            positions.append(fixed_point.position(chroma, frozen["chroma"]))
        at = partial(fixed_point.interpolate, positions=positions)
        zeros = np.zeros(net.M, np.int64)
        inverse_z = at(frozen["inverse_z"]) if net.grid else np.zeros(net.N, np.int64)
        unit = at(frozen["unit"]) if net.level_aware else zeros
        left = Y_BITS - int(frozen.get("exponent/seen", Y_BITS))
        width = fixed_point.inverse_width if net.level_aware else fixed_point.exp2
        of_nets = OfNets(
            fixed_point.exp2(unit, int(frozen.get("exponent/mean", Y_BITS)) - Y_BITS),
            fixed_point.place(unit).astype(np.int32),
            {
                name: (frozen[f"{name}/bias"] + at(frozen[f"{name}/level"])).astype(np.int32)
                for name in self._layers
                if f"{name}/level" in frozen
            },
        )
        return Level(
            fixed_point.exp2(inverse_z, Y_BITS - int(frozen["exponent/z"])),
            width(unit, left),
            jax.device_put(of_nets),
        )

    def hyper(self, z: np.ndarray, level: Level) -> np.ndarray:
        """Hyper features, int32 (h, w, F), from symbols of z (h/4, w/4, N)."""
        z_hat = np.clip(z, -_MOST_Z, _MOST_Z).astype(np.int64) * (1 << Y_BITS)
        activation = _clipped(level.inverse_z.times(z_hat + self.frozen["offset"]))
        return np.asarray(self._hyper(self._layers, activation))

    def seen(self, y_hat: np.ndarray, level: Level, channels: slice) -> np.ndarray:
        """What the context sees of y_hat, Q8 (..., m): int16 activations of these channels."""
        of_channels = Multiplier(*(field[channels] for field in level.seen))
        return _clipped(of_channels.times(np.clip(y_hat, -_MOST_Y, _MOST_Y)))

    def parameters(
        self, hyper: np.ndarray, seen: np.ndarray, level: Level, step: Step
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean, Q8, and table index of a step's channels at all positions given, int32 each.

        Args:
          hyper: features, (h, w, F); or (n, F) of single positions.
          seen: of the context, (h, w, M), zero where nothing is coded; or neighbours (n, 12 M).
          step: one of `net.steps`.
        """
        mean, index = self._parameters(self._layers, hyper, seen, level.of_nets, step)
        return np.asarray(mean), np.asarray(index)


def _clipped(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -NARROW, NARROW).astype(np.int16)


def _run(net: HyperpriorModel, layers: dict[str, Proved], biases: Any, name: str, x: Array):
    total = accumulate(layers[name], x, biases.get(name))
    _, of_output = flow.tensors(net, name)
    if of_output == "head":
        return rounded_shift(total, layers[name].shift)
    activation = requantise(total, layers[name].shift, flow.limit(of_output))
    if of_output != "features":
        return jnp.maximum(activation, 0) if net.hyperprior == "scale" else leaky_relu(activation)
    return activation


def _hyper(net: HyperpriorModel, layers: dict[str, Proved], z: Array) -> Array:
    return flow.hyper_features(partial(_run, net, layers, {}), z)


def _parameters(
    net: HyperpriorModel,
    linear: int,
    layers: dict[str, Proved],
    hyper: Array,
    seen: Array,
    level: OfNets,
    step: Step,
) -> tuple[Array, Array]:
    here = slice(step.start, step.stop)
    likelihood = LIKELIHOODS[net.likelihood]
    out = hyper
    if net.has_nets:
        out = flow.outputs(partial(_run, net, layers, level.biases), jnp, net, hyper, seen, step)
    if net.hyperprior == "scale":
        scales, mean = [out], jnp.zeros_like(out)
    else:
        *scales, mean = jnp.split(out, 1 + likelihood.SCALES, axis=-1)
    if net.level_aware:
        mean = jnp.clip(mean, -_MOST_MEAN, _MOST_MEAN) * level.unit.mantissa[here]
        mean = rounded_shift(mean, level.unit.shift[here])
        places = [level.place[here] + jnp.clip(s, -_MOST_LOG, _MOST_LOG) for s in scales]
    else:
        mean = jnp.clip(mean, -_MOST_LINEAR, _MOST_LINEAR)
        places = [_place(s, linear) for s in scales]
    return mean, likelihood.index(*places)


def _place(scale: Array, exponent: int) -> Array:
    """Integers in units of 2^-exponent quantiser steps -> their place on the scale table, Q8."""
    scale = jnp.clip(scale, 1, _MOST_LINEAR)
    octave = 31 - jax.lax.clz(scale)
    # The 12 bits behind the leading one.
    fraction = ((scale << (30 - octave)) >> 18) & 4095
    log2 = ((octave - exponent) << 16) + jnp.asarray(fixed_point.LOG2)[fraction]
    return rounded_shift((log2 - fixed_point.ORIGIN) * fixed_point.STEPS, 16)
