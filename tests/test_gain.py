"""Gain units: exponential interpolation, checked against the formula of the paper."""

import jax.numpy as jnp
import numpy as np

from ycc_jax.nets.gain import GainUnits, chroma_position, level_weights


def test_between_levels_gains_interpolate_exponentially(rng):
    """G = G[s]^(1-t) * G[s+1]^t (Cui et al. 2021, sec. 3)."""
    gain, inverse = rng.uniform(0.01, 100, (2, 4, 3))
    params = {"log_gain": np.log(gain), "log_inverse": np.log(inverse)}
    levels = np.array([0.0, 1.0, 1.25, 2.9, 3.0])
    found = GainUnits((4,), 3).apply({"params": params}, jnp.asarray(levels))
    for stored, row in ((gain, found[0]), (inverse, found[1])):
        assert row.shape == (5, 1, 1, 3)
        for level, g in zip(levels, row[:, 0, 0], strict=True):
            s, t = min(int(level), 2), level - min(int(level), 2)
            np.testing.assert_allclose(g, stored[s] ** (1 - t) * stored[s + 1] ** t, rtol=1e-5)


def test_gains_start_at_one_and_levels_are_clipped(key):
    gains, params = GainUnits((4,), 3).init_with_output(key, jnp.array([-1.0, 9.0]))
    np.testing.assert_array_equal(gains[0], np.ones((2, 1, 1, 3)))
    assert params["params"]["log_gain"].shape == (4, 3)
    np.testing.assert_array_equal(
        level_weights(jnp.array([-1.0, 9.0]), (3,)), [[1, 0, 0], [0, 0, 1]]
    )


def test_one_level_needs_no_neighbour():
    np.testing.assert_array_equal(level_weights(jnp.zeros(1), (1,)), [[1.0]])


def test_on_a_grid_the_logarithms_are_bilinear(rng):
    """Two rates and three chroma weights: SciPy interpolates the same logarithms."""
    from scipy.interpolate import RegularGridInterpolator

    log_gain = rng.normal(size=(2, 3, 4))
    params = {"log_gain": log_gain, "log_inverse": -log_gain}
    levels = np.array([[0.0, 0.0], [1.0, 2.0], [0.25, 1.5], [0.9, 0.1]])
    gain, inverse = GainUnits((2, 3), 4).apply({"params": params}, jnp.asarray(levels))
    expected = RegularGridInterpolator((np.arange(2), np.arange(3)), log_gain)(levels)
    np.testing.assert_allclose(np.log(gain[:, 0, 0]), expected, atol=1e-5)
    np.testing.assert_allclose(gain * inverse, 1, rtol=1e-5)


def test_alpha_is_placed_by_its_logarithm():
    chroma_weights = (0.025, 0.1, 0.25, 1.0)
    assert [chroma_position(a, chroma_weights) for a in chroma_weights] == [0, 1, 2, 3]
    assert np.isclose(chroma_position(0.05, chroma_weights), 0.5)  # the geometric mean of two
    assert [chroma_position(a, chroma_weights) for a in (0.01, 2.0)] == [0, 3]
