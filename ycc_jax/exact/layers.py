"""A layer in integers: int8 weights times activations of 12 or 15 bits, exact on every machine.

XLA has no integer matrix product that is fast and everywhere, so the integers travel in float32. A
sum of their products is exact while it stays below 2^24, in whatever order it is taken, with or
without fused multiply-add; longer sums are taken in pieces, which are added in int32. Operands of
12 bits (a sign and 11) also survive tf32; wider activations go as 128 * high + low, two halves of 8
bits. (Integer networks for entropy models: Balle, Johnston & Minnen 2019.)

That no sum can be too large is proved from the weights (`prove`), not measured.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.exact.fixed_point import rounded_shift

Array = jax.Array

LOW_BITS = 7
NARROW = 2047
"""Most activations are integers in +-2047."""
WIDE = (127 << LOW_BITS) + 63
"""Where 12 bits cost rate they are in +-16319: high halves in +-127, low ones in -64..63."""

MAX_WEIGHT = 127
_FLOAT_EXACT = 1 << 24
_INT32 = 1 << 31


class Layer(NamedTuple):
    """Weights of one layer.

    Attributes:
      kernel: int8 (taps, C, F): 1, 9 or 25 taps for windows of 1x1, 3x3, 5x5, in raster order.
      bias: int32 (F,), in the units of the sums.
      shift: int8 (F,), by how many bits a sum is divided for the output.
      limit: int32 (), NARROW or WIDE: activations are at most that.
    """

    kernel: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    limit: np.ndarray


@dataclasses.dataclass(frozen=True)
class Proved:
    """A layer on a device: its kernel as float32 (taps, pieces, C / pieces, F), whose products can
    each be summed exactly; and whether activations go in halves."""

    kernel: Array
    bias: Array
    shift: Array
    wide: bool


jax.tree_util.register_dataclass(Proved, ["kernel", "bias", "shift"], ["wide"])


def prove(layer: Layer, name: str, level: np.ndarray | None = None) -> int:
    """In how many pieces of its inputs each tap must be summed, from 1.

    Args:
      layer: the weights.
      name: of the layer, for messages.
      level: int32 (*grid, F), what an operating point adds to the bias.

    Raises:
      ValueError: no number of pieces makes every sum exact; says which layer and channel.
    """
    if layer.limit not in (NARROW, WIDE):
        raise ValueError(f"layer {name}: expected a limit {NARROW} or {WIDE}, found {layer.limit}")
    weights = np.abs(layer.kernel.astype(np.int64))
    total = weights.sum((0, 1)) * int(layer.limit) + np.abs(layer.bias.astype(np.int64))
    if level is not None:
        total += np.abs(level.astype(np.int64)).max(tuple(range(level.ndim - 1)))
    total += (1 << layer.shift.astype(np.int64)) >> 1
    if total.max(initial=0) >= _INT32:
        worst = int(total.argmax())
        raise ValueError(
            f"layer {name}, channel {worst}: expected sums below 2^31, found {int(total[worst])}"
        )
    inputs = weights.shape[1]
    operand = 1 << LOW_BITS if layer.limit == WIDE else NARROW
    for pieces in range(1, inputs + 1):
        if inputs % pieces == 0:
            parts = weights.reshape(len(weights), pieces, inputs // pieces, -1).sum(2)
            if parts.max(initial=0) * operand < _FLOAT_EXACT:
                return pieces
    raise ValueError(f"layer {name}: expected int8 weights, found a larger one")


def proved(layer: Layer, name: str, level: np.ndarray | None = None) -> Proved:
    """The layer as `accumulate` takes it; arguments and errors of `prove`."""
    taps, inputs, features = layer.kernel.shape
    pieces = prove(layer, name, level)
    kernel = layer.kernel.astype(np.float32).reshape(taps, pieces, inputs // pieces, features)
    shift = jnp.asarray(layer.shift.astype(np.int32))
    return Proved(jnp.asarray(kernel), jnp.asarray(layer.bias), shift, bool(layer.limit == WIDE))


def accumulate(layer: Proved, x: Array, bias: Array | None = None) -> Array:
    """Sums of the layer, int32, of activations within its limit: int16 or, if it is WIDE, int32.

    Args:
      layer: of one tap for x (n, C) or (h, w, C); of 9 or 25 for windows of x (h, w, C), beyond
        whose border zeros stand.
      x: the activations.
      bias: in place of the layer's, (F,).

    Returns:
      (n, F) or (h, w, F), exact.
    """
    if layer.wide:
        high = (x + (1 << LOW_BITS - 1)) >> LOW_BITS
        operands = jnp.stack([high, x - (high << LOW_BITS)]).astype(jnp.float32)
    else:
        operands = x.astype(jnp.float32)[None]
    taps, pieces, inputs, _ = layer.kernel.shape
    side = {1: 1, 9: 3, 25: 5}[taps]
    if side > 1:
        edge = (side // 2, side // 2)
        operands = jnp.pad(operands, ((0, 0), edge, edge, (0, 0)))
    total = layer.bias if bias is None else bias
    for tap in range(taps):
        window = operands
        if side > 1:
            i, j = divmod(tap, side)
            window = operands[:, i : i + x.shape[0], j : j + x.shape[1]]
        window = window.reshape(*window.shape[:-1], pieces, inputs)
        sums = jnp.einsum("...pc,pcf->p...f", window, layer.kernel[tap], precision="highest")
        sums = sums.astype(jnp.int32).sum(0)
        total = total + (((sums[0] << LOW_BITS) + sums[1]) if layer.wide else sums[0])
    return total


def requantise(total: Array, shift: Array, limit: int) -> Array:
    """Sums of `accumulate` -> integers in +-limit, in the units of the output."""
    return jnp.clip(rounded_shift(total, shift), -limit, limit)


def leaky_relu(x: Array) -> Array:
    """`nets.layers.leaky_relu` of activations: the slope is 655 / 65536."""
    return jnp.where(x < 0, rounded_shift(x * 655, 16), x)
