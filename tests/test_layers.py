"""Layers against closed forms and against other implementations of the same convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from ycc_jax.nets.layers import GDN, Conv, ConvTranspose, PReLU, activation
from ycc_jax.rounding import lower_bound


def apply(module, x, key):
    x = jnp.asarray(x, jnp.float32)
    params = module.init(key, x)
    return params["params"], np.asarray(module.apply(params, x))


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_closed_form(key, rng, inverse):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), from parameters far from their start."""
    x = rng.normal(size=(2, 3, 4, 5))
    module = GDN(inverse=inverse)
    params = module.init(key, jnp.asarray(x))["params"]
    beta, gamma = rng.uniform(0.5, 2, 5), rng.uniform(0, 0.3, (5, 5))  # gamma[j, i]
    pedestal = 2.0**-36
    stored = {"beta": np.sqrt(beta + pedestal), "gamma": np.sqrt(gamma + pedestal)}
    assert jax.tree.map(jnp.shape, stored) == jax.tree.map(jnp.shape, params)
    found = module.apply({"params": stored}, jnp.asarray(x, jnp.float32))
    root = np.sqrt(beta + np.einsum("bhwj,ji->bhwi", x**2, gamma))
    np.testing.assert_allclose(found, x * root if inverse else x / root, rtol=2e-5, atol=1e-6)


def test_gdn_start_is_the_published_one(key):
    params = GDN().init(key, jnp.zeros((1, 1, 1, 3)))["params"]
    np.testing.assert_allclose(np.square(params["beta"]), 1, rtol=1e-6)
    np.testing.assert_allclose(np.square(params["gamma"]), 0.1 * np.eye(3), atol=1e-6)


@pytest.mark.parametrize("kernel, stride", [(5, 2), (3, 1), (5, 1), (1, 1)])
def test_conv_is_correlation_with_symmetric_padding(key, rng, kernel, stride):
    x = rng.normal(size=(1, 8, 12, 2))
    params, found = apply(Conv(3, kernel, stride), x, key)
    weights = np.asarray(params["kernel"], np.float64)
    pad = kernel // 2
    for f in range(3):
        full = sum(
            correlate2d(np.pad(x[0, ..., c], pad), weights[..., c, f], mode="valid")
            for c in range(2)
        )
        np.testing.assert_allclose(found[0, ..., f], full[::stride, ::stride], atol=1e-5)


def test_conv_transpose_is_the_adjoint_of_the_strided_conv(key, rng):
    """<conv(u), x> = <u, conv_transpose(x)> for the same kernel: what 'transposed' means."""
    x = rng.normal(size=(2, 5, 7, 3))
    module = ConvTranspose(4)
    params, up = apply(module, x, key)
    assert params["kernel"].shape == (5, 5, 3, 4) and up.shape == (2, 10, 14, 4)
    u = rng.normal(size=up.shape)
    # The strided convolution that maps u's 4 channels to x's 3 has the kernel with axes swapped.
    down_params = {"kernel": params["kernel"].swapaxes(2, 3), "bias": jnp.zeros(3)}
    down = Conv(3, 5, 2).apply({"params": down_params}, jnp.asarray(u, jnp.float32))
    np.testing.assert_allclose(np.vdot(down, x), np.vdot(u, up), rtol=1e-4)


def test_conv_transpose_places_taps_as_pytorch_does(key):
    """Input i reaches outputs 2 i - 2 + k for taps k in 0..4 (padding 2, output padding 1)."""
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 2, 0] = 1
    params, found = apply(ConvTranspose(1), x, key)
    expected = np.zeros((8, 8))
    expected[0:5, 2:7] = params["kernel"][..., 0, 0]
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-6)


def test_prelu_has_one_slope_a_layer(key):
    x = np.array([[-2.0, 3.0]])
    params, found = apply(PReLU(), x, key)
    assert params["slope"].shape == ()
    np.testing.assert_allclose(found, [[-0.5, 3.0]])


def test_lower_bound_lets_values_return():
    values = lower_bound(jnp.array([0.5, 2.0]), 1.0)
    np.testing.assert_array_equal(values, [1.0, 2.0])
    up = jax.grad(lambda x: -lower_bound(x, 1.0))(0.5)  # descent would raise x: passes
    down = jax.grad(lambda x: lower_bound(x, 1.0))(0.5)  # descent would lower x: stopped
    assert (up, down) == (-1.0, 0.0)


def test_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'gdn' or 'prelu', found 'relu'"):
        activation("relu")
