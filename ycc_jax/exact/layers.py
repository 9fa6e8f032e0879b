"""A layer in integers: int8 weights times 15-bit activations, exact on every machine.

XLA has no integer matrix product that is fast and everywhere, so the integers travel in float32: an
activation is 128 * high + low, halves of 8 bits, and a sum of products of such a half with int8 is
exact while it stays below 2^24, in whatever order it is taken, with or without fused multiply-add,
and also where hardware narrows the operands to bfloat16 or tf32. The halves' sums are joined in
int32. (Integer networks for entropy models: Balle, Johnston & Minnen 2019.)

That no sum can be too large is proved from the weights (`prove`), not measured.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.exact.fixed_point import rounded_shift

Array = jax.Array

HIGH, LOW_BITS = 127, 7
MAX_ACTIVATION = (HIGH << LOW_BITS) + 63
"""Activations are integers in +-16319: their high half then is one of +-127, the low of -64..63."""

MAX_WEIGHT = 127
_FLOAT_EXACT = 1 << 24
_INT32 = 1 << 31


class Layer(NamedTuple):
    """Weights of one layer.

    Attributes:
      kernel: int8 (taps, C, F): 1, 9 or 25 taps for windows of 1x1, 3x3, 5x5, in raster order.
      bias: int32 (F,), in the units of the sums.
      shift: int8 (F,), by how many bits a sum is divided for the output.
    """

    kernel: np.ndarray
    bias: np.ndarray
    shift: np.ndarray


class Proved(NamedTuple):
    """A layer on a device: its kernel as float32 (taps, pieces, C / pieces, F), whose products with
    a half can each be summed exactly."""

    kernel: Array
    bias: Array
    shift: Array


def prove(layer: Layer, name: str) -> int:
    """In how many pieces of its inputs the layer must be summed, from 1.

    Raises:
      ValueError: no number of pieces makes every sum exact; says which layer and channel.
    """
    weights = np.abs(layer.kernel.astype(np.int64))
    total = weights.sum((0, 1)) * MAX_ACTIVATION + np.abs(layer.bias.astype(np.int64))
    total += (1 << layer.shift.astype(np.int64)) >> 1
    if total.max(initial=0) >= _INT32:
        worst = int(total.argmax())
        raise ValueError(
            f"layer {name}, channel {worst}: expected sums below 2^31, found {int(total[worst])}"
        )
    inputs = weights.shape[1]
    for pieces in range(1, inputs + 1):
        if inputs % pieces == 0:
            parts = weights.reshape(len(weights), pieces, inputs // pieces, -1).sum(2)
            if parts.max(initial=0) * (HIGH + 1) < _FLOAT_EXACT:
                return pieces
    raise ValueError(f"layer {name}: expected int8 weights, found a larger one")


def proved(layer: Layer, name: str) -> Proved:
    """The layer as `accumulate` takes it."""
    taps, inputs, features = layer.kernel.shape
    pieces = prove(layer, name)
    kernel = layer.kernel.astype(np.float32).reshape(taps, pieces, inputs // pieces, features)
    return Proved(
        jnp.asarray(kernel), jnp.asarray(layer.bias), jnp.asarray(layer.shift.astype(np.int32))
    )


def accumulate(layer: Proved, x: Array, bias: Array | None = None) -> Array:
    """Sums of the layer, int32, of activations int32 in +-MAX_ACTIVATION.

    Args:
      layer: of one tap for x (n, C) or (h, w, C); of 9 or 25 for windows of x (h, w, C), beyond
        whose border zeros stand.
      x: the activations.
      bias: in place of the layer's, (F,).

    Returns:
      (n, F) or (h, w, F), exact.
    """
    high = (x + (1 << LOW_BITS - 1)) >> LOW_BITS
    halves = jnp.stack([high, x - (high << LOW_BITS)]).astype(jnp.float32)
    taps, pieces, inputs, _ = layer.kernel.shape
    side = {1: 1, 9: 3, 25: 5}[taps]
    if side > 1:
        edge = (side // 2, side // 2)
        halves = jnp.pad(halves, ((0, 0), edge, edge, (0, 0)))
    total = layer.bias if bias is None else bias
    for tap in range(taps):
        window = halves
        if side > 1:
            i, j = divmod(tap, side)
            window = halves[:, i : i + x.shape[0], j : j + x.shape[1]]
        for piece in range(pieces):
            part = window[..., piece * inputs : (piece + 1) * inputs]
            sums = jnp.matmul(part, layer.kernel[tap, piece], precision="highest").astype(jnp.int32)
            total = total + (sums[0] << LOW_BITS) + sums[1]
    return total


def requantise(total: Array, shift: Array, limit: int) -> Array:
    """Sums of `accumulate` -> integers in +-limit, in the units of the output."""
    return jnp.clip(rounded_shift(total, shift), -limit, limit)


def leaky_relu(x: Array) -> Array:
    """`nets.layers.leaky_relu` of activations: the slope is 655 / 65536."""
    return jnp.where(x < 0, rounded_shift(x * 655, 16), x)
