import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ycc_jax.pictures import padding


@pytest.mark.parametrize(
    ("n", "multiple", "expected"),
    [(1, 1, 1), (1, 64, 64), (63, 64, 64), (64, 64, 64), (65, 64, 128), (500, 16, 512)],
)
def test_padded_size(n, multiple, expected):
    assert padding.padded_size(n, multiple) == expected


@pytest.mark.parametrize(("n", "multiple"), [(0, 16), (-1, 16), (5, 0)])
def test_padded_size_refuses_nothing(n, multiple):
    with pytest.raises(ValueError, match=f"found {n} and {multiple}"):
        padding.padded_size(n, multiple)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (17, 5), (64, 128), (65, 63)])
def test_the_top_left_is_the_picture(rng, xp, lead, height, width):
    image = xp.asarray(rng.integers(0, 256, (*lead, height, width, 3), np.uint8))
    padded = padding.pad_to_multiple(image, 16)
    assert isinstance(padded, xp.ndarray)
    assert padded.dtype == np.uint8
    assert padded.shape == (*lead, -(-height // 16) * 16, -(-width // 16) * 16, 3)
    np.testing.assert_array_equal(padded[..., :height, :width, :], image)


def test_repeats_the_last_row_and_column():
    image = np.array([[1, 2], [3, 4]])[..., None]
    expected = [[1, 2, 2], [3, 4, 4], [3, 4, 4]]
    np.testing.assert_array_equal(padding.pad_to_multiple(image, 3)[..., 0], expected)


def test_under_jit(rng):
    image = rng.random((5, 7, 3), np.float32)
    padded = jax.jit(padding.pad_to_multiple, static_argnums=1)(image, 4)
    np.testing.assert_array_equal(padded, padding.pad_to_multiple(image, 4))


@pytest.mark.parametrize("shape", [(4, 4), (4,), ()])
def test_refuses_too_few_axes(shape):
    with pytest.raises(ValueError, match=r"\(\.\.\., H, W, C\), found"):
        padding.pad_to_multiple(np.zeros(shape), 4)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3)])
def test_refuses_empty_pictures(shape):
    with pytest.raises(ValueError, match="at least 1"):
        padding.pad_to_multiple(np.zeros(shape), 4)
