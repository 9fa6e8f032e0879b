"""MS-SSIM against pytorch-msssim (`reference/make_ms_ssim.py`), and its gradient."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.make_ms_ssim import blurred, cases, picture

from ycc_jax.metrics.ms_ssim import _power, decibels, ms_ssim

REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("ms_ssim.json").read_text())


@pytest.fixture(scope="module")
def pictures():
    """Name -> (x, x_hat, data_range, scales)."""
    return cases()


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def gradients(x, x_hat):
    """Of the sum over pictures and channels, in x and in x_hat."""
    loss = jax.jit(jax.grad(lambda x, x_hat: ms_ssim(x, x_hat).sum(), argnums=(0, 1)))
    return [np.asarray(g) for g in loss(x, x_hat)]


def test_reference_is_of_these_pictures(pictures):
    assert list(REFERENCE["cases"]) == list(pictures)


@pytest.mark.parametrize("name", REFERENCE["cases"])
def test_is_pytorch_msssim(pictures, name):
    found, expected = ms_ssim(*pictures[name]), REFERENCE["cases"][name]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected["values"], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.mean(axis=1), expected["pictures"], rtol=0, atol=1e-13)
    # What its window, rounded to float32, changes: 1.01e-6 at most, without the coarse scales.
    np.testing.assert_allclose(found, expected["default_window"], rtol=0, atol=1.1e-6)


@pytest.mark.parametrize("name", ["negative green", "three scales"])
def test_jax_in_float32_is_numpy_in_float64(pictures, name):
    x, x_hat, data_range, scales = pictures[name]
    expected = ms_ssim(x, x_hat, data_range, scales)
    x, x_hat = x.astype(np.float32), x_hat.astype(np.float32)
    found = ms_ssim(jnp.asarray(x), x_hat, data_range, scales)
    assert isinstance(found, jax.Array) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7)
    found = ms_ssim(x, x_hat, np.float64(data_range), scales)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_measured_in_float32(pictures, dtype):
    x, x_hat = (v.astype(dtype) for v in pictures["noise"][:2])
    found = ms_ssim(x, x_hat)
    assert found.dtype == np.float32
    expected = ms_ssim(x.astype(np.float64), x_hat.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("xp", [np, jnp])
def test_equal_pictures_are_1(pictures, xp):
    x = xp.asarray(pictures["negative green"][0], np.float32)
    assert np.all(ms_ssim(x, x) == 1)


def test_nan_stays(pictures):
    x, x_hat, *_ = pictures["noise"]
    x_hat = x_hat.copy()
    x_hat[1, 100, 100] = np.nan
    np.testing.assert_array_equal(np.isnan(ms_ssim(x, x_hat)), [[False], [True]])


def test_gradient_is_that_of_finite_differences(x64, rng):
    # Every scale has an odd size; the second channel is clipped.
    x = picture(161, 163, 2)
    x_hat = blurred(x, 3)
    x_hat[..., 1] = 1 - x_hat[..., 1]
    step = 1e-5
    for i, gradient in enumerate(gradients(x, x_hat)):
        assert gradient.dtype == np.float64
        assert np.any(gradient[..., 0]) and not np.any(gradient[..., 1])
        directions = [rng.standard_normal(x.shape) for _ in range(2)]
        # A corner pixel has 1e-6 of its only window: large steps, against rounding.
        for v, u, size in [(0, 0, 1e4), (0, 162, 1e4), (160, 0, 1e4), (160, 162, 1e4), (80, 81, 1)]:
            directions.append(np.zeros(x.shape))
            directions[-1][0, v, u] = size
        for direction in directions:
            left, right = [x, x_hat], [x, x_hat]
            left[i], right[i] = left[i] - step * direction, right[i] + step * direction
            slope = (ms_ssim(*right).sum() - ms_ssim(*left).sum()) / (2 * step)
            np.testing.assert_allclose(np.vdot(gradient, direction), slope, rtol=3e-5)


def test_gradient_is_finite_everywhere(pictures):
    x = np.concatenate([picture(161, 161, 1)] * 5).astype(np.float32)
    # Equal, its negative, flat, black; at last both are flat and equal.
    x_hat = np.stack([x[0], 1 - x[0], np.full_like(x[0], 0.5), np.zeros_like(x[0]), x[0]])
    x[4] = x_hat[4] = 0.25
    for gradient in gradients(x, x_hat):
        assert np.all(np.isfinite(gradient))
        np.testing.assert_allclose(gradient[[0, 4]], 0, atol=1e-7)
        assert not np.any(gradient[1]) and np.any(gradient[2]) and np.any(gradient[3])


@pytest.mark.parametrize(("similarity", "slope"), [(-1.0, 0.0), (0.0, 0.0), (0.25, 1.0)])
def test_power_of_0_has_gradient_0(similarity, slope):
    assert jax.grad(_power)(similarity, 0.5, jnp) == slope


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("xp", [np, jnp])
def test_decibels(xp):
    found = decibels(xp.asarray([0, 0.9, 0.999, 1, 1.0000001, np.nan], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 10, 30, np.inf, np.inf, np.nan], rtol=1e-5)
    assert decibels(0.99) == pytest.approx(20)


@pytest.mark.parametrize(
    ("size", "size_hat", "arguments", "message"),
    [
        ((1, 160, 200, 3), None, {}, "5 scales needs height and width above 160, found 160x200"),
        ((1, 200, 160, 3), None, {}, "above 160, found 200x160"),
        ((1, 41, 40, 3), None, {"scales": 3}, "3 scales needs .* above 40, found 41x40"),
        ((200, 200, 3), None, {}, r"one shape \(B, H, W, C\), found \(200, 200, 3\)"),
        ((1, 200, 200, 3), (1, 200, 200, 1), {}, r"one shape .* \(1, 200, 200, 1\)"),
        ((1, 200, 200, 3), None, {"scales": 0}, "scales must be one of 1 to 5, found 0"),
        ((1, 200, 200, 3), None, {"scales": 6}, "scales must be one of 1 to 5, found 6"),
        ((1, 200, 200, 3), None, {"data_range": 0}, "data_range must be positive.* found 0"),
        ((1, 200, 200, 3), None, {"data_range": np.inf}, "positive and finite, found inf"),
        ((1, 200, 200, 3), None, {"data_range": np.nan}, "positive and finite, found nan"),
    ],
)
def test_refuses_bad_arguments(size, size_hat, arguments, message):
    with pytest.raises(ValueError, match=message):
        ms_ssim(np.zeros(size), np.zeros(size_hat or size), **arguments)


@pytest.mark.parametrize("name", ["x", "x_hat"])
def test_refuses_integers(name):
    x = {"x": np.zeros((1, 161, 161, 1)), "x_hat": np.zeros((1, 161, 161, 1))}
    with pytest.raises(TypeError, match=f"{name} must be floats, found uint8"):
        ms_ssim(**x | {name: np.zeros((1, 161, 161, 1), np.uint8)})


def test_smallest_sizes(pictures):
    for scales, side in [(1, 11), (2, 21), (3, 41), (4, 81), (5, 161)]:
        x = picture(side, side, 1)
        assert 0 < ms_ssim(x, blurred(x, 1), scales=scales).item() < 1
