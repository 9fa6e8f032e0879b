"""Training densities against closed forms, and the frozen tables against the densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from conftest import scale_index

from ycc_jax.entropy import factorized, gaussian
from ycc_jax.entropy.tables import (
    LOG_MIN,
    LOG_STEP,
    SCALE_TABLE,
    TOTAL,
    gaussian_tables,
)


@pytest.mark.parametrize("scale", [0.11, 0.5, 3.0, 60.0, 256.0])
def test_gaussian_bits_are_the_integral_over_the_bin(scale):
    y = np.array([0.0, 0.4, -1.7, 2.0 * scale, -3.0 * scale])
    found = gaussian.bits(jnp.asarray(y), jnp.float32(0.3), jnp.float32(scale))
    upper = scipy.stats.norm.logcdf(-np.abs(y - 0.3) + 0.5, scale=scale)
    lower = scipy.stats.norm.logcdf(-np.abs(y - 0.3) - 0.5, scale=scale)
    bits = -(upper + np.log1p(-np.exp(lower - upper))) / np.log(2)
    expected = np.minimum(bits, -np.log2(gaussian.LIKELIHOOD_MIN))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_gaussian_scale_is_bounded_to_the_coders_table():
    for asked, used in ((1e-6, SCALE_TABLE[0]), (1e6, SCALE_TABLE[-1])):
        found = gaussian.bits(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(asked))
        expected = gaussian.bits(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(used))
        assert found == expected


def test_gaussian_gradient_is_finite_far_out():
    grads = jax.grad(lambda m, s: gaussian.bits(jnp.float32(300.0), m, s), argnums=(0, 1))
    assert np.isfinite(grads(jnp.float32(0.0), jnp.float32(0.01))).all()


def test_gaussian_index_and_tables_are_those_of_the_scale_table():
    scales = np.exp(np.random.default_rng(0).uniform(np.log(0.05), np.log(600), (20, 50)))
    scales = np.concatenate([scales.ravel(), SCALE_TABLE])
    exact = (np.log(scales) - LOG_MIN) / LOG_STEP
    found = jax.jit(gaussian.index)(np.rint(256 * exact).astype(np.int32))
    assert gaussian.SCALES == 1 and found.dtype == np.int32
    # A place is an integer in 1/256 of a step.
    clear = np.abs(exact - np.floor(exact) - 0.5) > 1 / 256
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(found[clear], scale_index(scales)[clear])
    extremes = np.array([-(2**31), -1, 64 * 256, 2**31 - 129], np.int64).astype(np.int32)
    assert gaussian.index(extremes).tolist() == [0, 0, 63, 63]
    for field in ("cdf", "length", "offset"):
        expected = getattr(gaussian_tables(), field)
        np.testing.assert_array_equal(getattr(gaussian.coding_tables(), field), expected)


@pytest.fixture(scope="module")
def density():
    """A density of 5 channels, with parameters moved off their start."""
    params = factorized.FactorizedDensity(5).init(jax.random.PRNGKey(1), jnp.zeros((1, 5)))[
        "params"
    ]
    generator = np.random.default_rng(3)
    return jax.tree.map(lambda p: p + generator.normal(0, 0.3, p.shape).astype(np.float32), params)


def test_factorized_density_integrates_to_one(density):
    grid = jnp.arange(-20000, 20001, dtype=jnp.float32)[:, None] * jnp.ones(5)
    mass = np.asarray(factorized.likelihood(density, grid), np.float64).sum(0)
    np.testing.assert_allclose(mass, 1, atol=1e-4)


def test_factorized_cumulative_is_monotone_and_bins_are_its_differences(density):
    x = jnp.linspace(-30, 30, 301)[:, None] * jnp.ones(5)
    logits = factorized.cdf_logits(density, x)
    assert (np.diff(logits, axis=0) > 0).all()
    edges = [jax.nn.sigmoid(factorized.cdf_logits(density, x + d)) for d in (-0.5, 0.5)]
    np.testing.assert_allclose(
        factorized.likelihood(density, x), edges[1] - edges[0], rtol=1e-3, atol=1e-6
    )
    bits = factorized.FactorizedDensity(5).apply({"params": density}, x)
    np.testing.assert_allclose(bits, -np.log2(edges[1] - edges[0]), rtol=1e-2, atol=1e-3)


def test_factorized_tables_hold_the_density(density):
    tables = factorized.coding_tables(density)
    for c in range(5):
        counts = np.diff(tables.cdf[c, : tables.length[c]])
        z = tables.offset[c] + np.arange(counts.size - 1)
        expected = factorized.likelihood(
            density, jnp.asarray(z, jnp.float32)[:, None] * jnp.ones(5)
        )
        expected = np.asarray(expected[:, c], np.float64)
        frequent = expected > 2e-3
        np.testing.assert_allclose(counts[:-1][frequent] / TOTAL, expected[frequent], rtol=0.02)
        ideal = -(expected * np.log2(expected)).sum()
        coded = -(expected * np.log2(counts[:-1] / TOTAL)).sum()
        assert coded < ideal * 1.002 + 1e-3


def test_density_outside_its_reach_is_refused(density):
    with pytest.raises(ValueError, match="channel 0 of the density of z: expected its mass within"):
        factorized.coding_tables(density, reach=1)
