"""The wavefront: it covers every position once, and changes no number."""

import jax
import numpy as np
import pytest
from conftest import scale_index

from ycc_jax import wavefront
from ycc_jax.nets.context import TAPS
from ycc_jax.operating_point import level_of


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (7, 1), (5, 4), (4, 30), (32, 48)])
def test_waves_cover_every_position_after_its_neighbours(height, width):
    order = {}
    steps = list(wavefront.waves(height, width))
    for t, (rows, columns) in enumerate(steps):
        assert (np.diff(rows) > 0).all()
        for position in zip(rows.tolist(), columns.tolist(), strict=True):
            assert position not in order
            order[position] = t
    assert sorted(order) == [(i, j) for i in range(height) for j in range(width)]
    for (i, j), t in order.items():
        assert all(order.get((i + di, j + dj), -1) < t for di, dj in TAPS)
    # Narrow pictures have empty waves; W + 3 (H - 1) is the count where there are none.
    assert len(steps) <= width + 3 * (height - 1)
    assert len(steps) == width + 3 * (height - 1) or width < 3


def test_a_768x512_picture_has_141_waves_of_at_most_16():
    sizes = [rows.size for rows, _ in wavefront.waves(32, 48)]
    assert (len(sizes), max(sizes)) == (141, 16)


def test_the_mask_is_type_a():
    """12 of 25 taps: two full rows above, two to the left (Minnen et al. 2018)."""
    assert len(TAPS) == 12
    assert set(TAPS) == {(i, j) for i in (-2, -1) for j in range(-2, 3)} | {(0, -2), (0, -1)}


@pytest.fixture(scope="module")
def coded(tiny_codec):
    """A random latent coded in wavefront order, with the means and indexes it met."""
    rng = np.random.default_rng(5)
    level = tiny_codec.stages.prior.level(61 * 512, None)
    z = rng.integers(-3, 4, (2, 3, tiny_codec.net.N)).astype(np.int32)
    y = (rng.normal(size=(8, 12, tiny_codec.net.M)) * 4).astype(np.float32)
    means, indexes = np.empty(y.shape, np.int32), np.empty(y.shape, np.int32)

    def exchange(place, mean, index):
        means[place], indexes[place] = mean, index
        return np.rint(y[place] - mean / 256).astype(np.int32)

    return level, z, y, means, indexes, tiny_codec.stages.y_hat(z, level, exchange)


def test_wavefront_order_equals_raster_order(tiny_codec, coded):
    """One position at a time, left to right and top to bottom: the very same integers."""
    level, z, y, means, indexes, y_hat = coded
    prior, step = tiny_codec.stages.prior, tiny_codec.net.steps[0]
    hyper = prior.hyper(z, level)
    seen = np.zeros((10, 16, y.shape[2]), np.int32)
    step_hyper = np.zeros((wavefront.POSITIONS, hyper.shape[2]), np.int32)
    neighbours = np.zeros((wavefront.POSITIONS, 12, y.shape[2]), np.int32)
    for i in range(8):
        for j in range(12):
            step_hyper[0] = hyper[i, j]
            neighbours[0] = [seen[i + di + 2, j + dj + 2] for di, dj in TAPS]
            flat = neighbours.reshape(wavefront.POSITIONS, -1)
            mean, index = (a[0] for a in prior.parameters(step_hyper, flat, level, step))
            np.testing.assert_array_equal(mean, means[i, j])
            np.testing.assert_array_equal(index, indexes[i, j])
            found = np.rint(y[i, j] - mean / 256).astype(np.int32) * 256 + mean
            np.testing.assert_array_equal(found / 256, y_hat[i, j])
            seen[i + 2, j + 2] = prior.seen(found, level, slice(None))


def test_the_integers_are_those_of_the_masked_convolution(tiny_codec, coded):
    """Training slides a float kernel over the whole y_hat; the frozen prior met these means."""
    _, z, _, means, indexes, y_hat = coded
    net, params, level = (
        tiny_codec.net,
        {"params": tiny_codec.model.params},
        level_of(tiny_codec.net, 61),
    )
    with jax.default_matmul_precision("highest"):
        hyper = net.apply(params, z[None].astype(np.float32), level, method=net.hyper_synthesise)
        mean, scale = net.apply(params, hyper, y_hat[None], level, method=net.parameters)
    mean, scale = np.asarray(mean[0]), np.asarray(scale[0])
    # Relative to the density's own width, which is what an error of the mean costs by.
    assert np.sqrt(np.mean(((means / 256 - mean) / scale) ** 2)) < 0.02
    away = np.abs(scale_index(scale) - indexes)
    assert away.max() <= 1 and np.mean(away == 0) > 0.9
