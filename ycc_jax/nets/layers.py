"""Layers of the transforms: strided convolutions, their transposes, GDN and PReLU.

Layout NHWC, kernels (height, width, in, out). Strided convolutions pad k // 2 on every side, as the
published PyTorch models do; XLA's "SAME" is lopsided at stride 2 and would shift every weight.

A layer multiplies in the dtype of its input and returns that dtype; `computing_in` chooses it.
Parameters and their gradients are float32: kernels are cast where they are used, and biases and
slopes, whose gradients are long sums, are not.
"""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ycc_jax.rounding import lower_bound

Array = jax.Array


def _conv(x: Array, kernel: Array, stride: int) -> Array:
    pad = [(size // 2, size // 2) for size in kernel.shape[:2]]
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pad, dimension_numbers=layout)


def _kernel_gradient(x: Array, g: Array, size: int, stride: int) -> Array:
    """Gradient of the kernel of `_conv`, of x's channels to g's, given that of its output."""
    kernel = jax.ShapeDtypeStruct((size, size, x.shape[-1], g.shape[-1]), x.dtype)
    (gradient,) = jax.linear_transpose(lambda kernel: _conv(x, kernel, stride), kernel)(g)
    return gradient


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Array, kernel: Array, stride: int) -> Array:
    """x (B, H, W, C), odd kernel (k, k, C, F) -> (B, ceil(H/stride), ceil(W/stride), F).

    The gradients of this and of `conv_transpose` are the automatic ones' sums, in forms that XLA
    compiles better.
    """
    return _conv(x, kernel, stride)


def _conv_fwd(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _conv(x, kernel, stride), (x, kernel)


def _conv_bwd(stride: int, inputs: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    size, _, channels, features = kernel.shape
    if (size, stride) == (5, 2) and jax.default_backend() == "cpu":
        # The automatic one multiplies by inserted zeros there.
        dx = conv_transpose(g, kernel.swapaxes(2, 3))[:, : x.shape[1], : x.shape[2]]
    else:
        (dx,) = jax.linear_transpose(lambda x: _conv(x, kernel, stride), x)(g)
    if stride == 1 and 4 * features < channels:
        # With g sliding over x, not x over g: on CPUs 20 times as fast for two features of 128.
        return dx, _kernel_gradient(g, x, size, 1)[::-1, ::-1].swapaxes(2, 3)
    return dx, _kernel_gradient(x, g, size, stride)


conv.defvjp(_conv_fwd, _conv_bwd)


@jax.custom_vjp
def conv_transpose(x: Array, kernel: Array) -> Array:
    """x (B, H, W, C), kernel (5, 5, C, F) -> (B, 2H, 2W, F): the adjoint of `conv` at stride 2.

    In polyphase form, as four ordinary convolutions with the taps that meet each output parity: the
    dilated form multiplies by inserted zeros.
    """
    # Output 2m meets taps 4, 2, 0 at x[m-1], x[m], x[m+1]; 2m+1 taps 3, 1 at x[m], x[m+1].
    phases = ((slice(4, None, -2), (1, 1)), (slice(3, None, -2), (0, 1)))
    b, h, w, _ = x.shape
    rows = []
    for tap_rows, pad_rows in phases:
        row = []
        for tap_cols, pad_cols in phases:
            row.append(
                jax.lax.conv_general_dilated(
                    x,
                    kernel[tap_rows, tap_cols],
                    (1, 1),
                    [pad_rows, pad_cols],
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
        rows.append(jnp.stack(row, axis=3))  # (B, H, W, column parity, F)
    y = jnp.stack(rows, axis=2)  # (B, H, row parity, W, column parity, F)
    return y.reshape(b, 2 * h, 2 * w, kernel.shape[-1])


def _conv_transpose_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv_transpose(x, kernel), (x, kernel)


def _conv_transpose_bwd(inputs: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    dx = _conv(g, kernel.swapaxes(2, 3), 2)
    return dx, _kernel_gradient(g, x, 5, 2).swapaxes(2, 3)


conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)


class Conv(nn.Module):
    """Convolution padded by k // 2: (B, H, W, C) -> (B, ceil(H/s), ceil(W/s), features).

    A 1x1 kernel is one matrix product over the channels: the same numbers, and on XLA's CPU backend
    the kernel gradient of a 1x1 convolution costs four times as much.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k, s = self.kernel, self.stride
        kernel = self.param("kernel", self.kernel_init, (k, k, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel = kernel.astype(x.dtype)
        if k == 1 and s == 1:
            return (x @ kernel[0, 0] + bias).astype(x.dtype)
        return (conv(x, kernel, s) + bias).astype(x.dtype)


class Dense(nn.Module):
    """Matrix product over the channels: (..., C) -> (..., features)."""

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (x @ kernel.astype(x.dtype) + bias).astype(x.dtype)


class ConvTranspose(nn.Module):
    """Transposed 5x5 stride-2 convolution: (B, H, W, C) -> (B, 2H, 2W, features).

    Equals PyTorch's ConvTranspose2d(kernel 5, stride 2, padding 2, output_padding 1), with the
    kernel stored as (5, 5, in, out): out[o] = sum over i of x[i] * kernel[o - 2 i + 2].
    """

    features: int
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (5, 5, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return (conv_transpose(x, kernel.astype(x.dtype)) + bias).astype(x.dtype)


_PEDESTAL = 2.0**-36


def _nonnegative(raw: Array, minimum: float) -> Array:
    """raw^2 - pedestal, bounded below by minimum: the reparametrisation of Balle 2017."""
    return lower_bound(raw, (minimum + _PEDESTAL) ** 0.5) ** 2 - _PEDESTAL


class GDN(nn.Module):
    """Generalised divisive normalisation (Balle, Laparra & Simoncelli 2016), (..., C) -> (..., C).

    y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), or times that root with `inverse`.
    gamma is stored as (in j, out i); both parameters are stored as square roots.
    """

    inverse: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        beta = self.param("beta", lambda _: jnp.sqrt(jnp.ones(c) + _PEDESTAL))
        gamma = self.param("gamma", lambda _: jnp.sqrt(0.1 * jnp.eye(c) + _PEDESTAL))
        energy = (x * x) @ _nonnegative(gamma, 0.0).astype(x.dtype)
        norm = energy + _nonnegative(beta, 1e-6)  # float32
        return (x * (jnp.sqrt(norm) if self.inverse else jax.lax.rsqrt(norm))).astype(x.dtype)


class PReLU(nn.Module):
    """max(x, 0) + slope * min(x, 0), one learned slope a layer, 0.25 at the start (He 2015)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        slope = self.param("slope", nn.initializers.constant(0.25), ())
        return jnp.where(x >= 0, x, (slope * x).astype(x.dtype))


def activation(kind: str, inverse: bool = False) -> nn.Module:
    """The non-linearity between strided layers: kind "gdn" (`inverse` gives IGDN) or "prelu"."""
    if kind == "gdn":
        return GDN(inverse=inverse)
    if kind == "prelu":
        return PReLU()
    raise ValueError(f"activation must be 'gdn' or 'prelu', found {kind!r}")


def widen(x: Array) -> Array:
    """Half precision to float32; float32 and float64 stay."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def leaky_relu(x: Array) -> Array:
    """Leaky ReLU with PyTorch's slope 0.01, of the hyperprior's nets."""
    return jax.nn.leaky_relu(x, 0.01)


def computing_in(dtype: str) -> AbstractContextManager:
    """A context in which every convolution, and what follows it, computes in `dtype`.

    It casts the inputs of convolutions; what stands beside them (the lapped shortcut) stays as it
    is. Only the forward pass of training enters it.

    Raises:
      ValueError: the dtype is neither "float32" nor "bfloat16".
    """
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"compute_dtype must be float32 or bfloat16, found {dtype!r}")

    def cast(call: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        if isinstance(context.module, (Conv, ConvTranspose)) and context.method_name == "__call__":
            args = (args[0].astype(dtype),)
        return call(*args, **kwargs)

    return nn.intercept_methods(cast)
