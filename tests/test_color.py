import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ycc_jax import vocabulary
from ycc_jax.pictures import color
from ycc_jax.vocabulary import RANGES
from ycc_jax.vocabulary import YCBCR_MATRICES as MATRICES

CHROMA_ZERO = 128 / 255

# RGB -> (Y, Cb, Cr) as printed, chroma in [-0.5, 0.5].
PRINTED = {
    # ITU-T T.871 (JFIF) section 7.
    "bt601": [
        [0.299, 0.587, 0.114],
        [-0.168736, -0.331264, 0.5],
        [0.5, -0.418688, -0.081312],
    ],
    # ITU-R BT.709-6 section 3: Y as printed, (B - Y) / 1.8556 and (R - Y) / 1.5748.
    "bt709": [
        [0.2126, 0.7152, 0.0722],
        [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.9278 / 1.8556],
        [0.7874 / 1.5748, -0.7152 / 1.5748, -0.0722 / 1.5748],
    ],
    # ITU-R BT.2020-2 table 4, non-constant luminance: (B - Y) / 1.8814 and (R - Y) / 1.4746.
    "bt2020": [
        [0.2627, 0.6780, 0.0593],
        [-0.2627 / 1.8814, -0.6780 / 1.8814, 0.9407 / 1.8814],
        [0.7373 / 1.4746, -0.6780 / 1.4746, -0.0593 / 1.4746],
    ],
}
# The way back as printed in T.871; for the others as commonly tabulated.
PRINTED_INVERSE = {
    "bt601": [[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]],
    "bt709": [[1, 0, 1.5748], [1, -0.187324, -0.468124], [1, 1.8556, 0]],
    "bt2020": [[1, 0, 1.4746], [1, -0.164553, -0.571353], [1, 1.8814, 0]],
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrices_are_those_of_the_standards(matrix):
    forward = color.rgb_to_ycbcr(np.eye(3), matrix) - [0, CHROMA_ZERO, CHROMA_ZERO]
    np.testing.assert_allclose(forward.T, PRINTED[matrix], atol=1e-6)
    black = np.array([0, CHROMA_ZERO, CHROMA_ZERO])
    inverse = color.ycbcr_to_rgb(np.eye(3) + black, matrix)
    np.testing.assert_allclose(inverse.T, PRINTED_INVERSE[matrix], atol=1e-6)


def test_is_pillow_within_one_level(photo):
    ycbcr = color.to_uint8(color.rgb_to_ycbcr(color.from_uint8(photo)))
    pillow = np.asarray(Image.fromarray(photo).convert("YCbCr"))
    assert np.abs(ycbcr.astype(int) - pillow).max() <= 1
    back = color.to_uint8(color.ycbcr_to_rgb(color.from_uint8(pillow)))
    pillow_back = np.asarray(Image.frombytes("YCbCr", (512, 512), pillow.tobytes()).convert("RGB"))
    assert np.abs(back.astype(int) - pillow_back).max() <= 1


def test_is_skimage_in_limited_range(photo):
    skimage_color = importlib.import_module("skimage.color")
    rgb = color.from_uint8(photo, np.float64)
    ours = color.rgb_to_ycbcr(rgb, "bt601", "limited")
    # skimage prints its matrix with three decimals.
    np.testing.assert_allclose(ours * 255, skimage_color.rgb2ycbcr(photo), atol=2e-3)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(
    ("range", "rgb", "codes"),
    [
        ("full", [0, 0, 0], [0, 128, 128]),
        ("full", [1, 1, 1], [255, 128, 128]),
        ("full", [0, 0, 1], [None, 255.5, None]),
        ("full", [1, 0, 0], [None, None, 255.5]),
        ("full", [1, 1, 0], [None, 0.5, None]),
        ("limited", [0, 0, 0], [16, 128, 128]),
        ("limited", [1, 1, 1], [235, 128, 128]),
        ("limited", [0.5, 0.5, 0.5], [125.5, 128, 128]),
        ("limited", [0, 0, 1], [None, 240, None]),
        ("limited", [1, 0, 0], [None, None, 240]),
        ("limited", [1, 1, 0], [None, 16, None]),
        ("limited", [0, 1, 1], [None, None, 16]),
    ],
)
def test_end_points(matrix, range, rgb, codes):
    found = color.rgb_to_ycbcr(np.array(rgb, np.float64), matrix, range) * 255
    for value, code in zip(found, codes, strict=True):
        assert code is None or abs(value - code) < 1e-9


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 4, 3), (0, 3)])
@pytest.mark.parametrize("range", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_round_trip(rng, matrix, range, shape, xp):
    # Beyond [0, 1] too: nothing is clipped.
    rgb = xp.asarray(rng.uniform(-0.5, 1.5, shape).astype(np.float32))
    ycbcr = color.rgb_to_ycbcr(rgb, matrix=matrix, range=range)
    back = color.ycbcr_to_rgb(ycbcr, matrix=matrix, range=range)
    assert isinstance(ycbcr, xp.ndarray) and isinstance(back, xp.ndarray)
    assert ycbcr.shape == back.shape == shape
    np.testing.assert_allclose(back, rgb, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keeps_the_dtype(dtype):
    rgb = jnp.full((2, 3), 0.5, dtype)
    ycbcr = color.rgb_to_ycbcr(rgb)
    assert ycbcr.dtype == color.ycbcr_to_rgb(ycbcr).dtype == dtype
    assert color.upsample_chroma(jnp.ones((2, 2, 1), dtype)).dtype == dtype
    assert color.downsample_chroma(jnp.ones((2, 2, 1), dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_keeps_the_dtype_of_numpy(dtype):
    rgb = np.full((2, 3), 0.5, dtype)
    ycbcr = color.rgb_to_ycbcr(rgb, range="limited")
    assert ycbcr.dtype == color.ycbcr_to_rgb(ycbcr, range="limited").dtype == dtype
    assert color.from_uint8(np.zeros(3, np.uint8), dtype).dtype == dtype


@pytest.mark.parametrize("range", RANGES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_jit_and_numpy_agree(rng, matrix, range):
    rgb = rng.random((4, 3), np.float32)
    jitted = jax.jit(color.rgb_to_ycbcr, static_argnums=(1, 2))(rgb, matrix, range)
    np.testing.assert_allclose(jitted, color.rgb_to_ycbcr(rgb, matrix, range), atol=1e-6)


@pytest.mark.parametrize("function", [color.rgb_to_ycbcr, color.ycbcr_to_rgb])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -2.0, 3.0])
def test_gradient_is_the_matrix_everywhere(function, value):
    jacobian = jax.jacobian(function)(jnp.full(3, value))
    expected = jax.jacobian(function)(jnp.full(3, 0.25))
    assert np.isfinite(jacobian).all()
    np.testing.assert_allclose(jacobian, expected, atol=1e-6)


@pytest.mark.parametrize("function", [color.rgb_to_ycbcr, color.ycbcr_to_rgb])
def test_refuses_bad_arguments(function):
    picture = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="one of .*'bt601', 'bt709', 'bt2020'.* found 'jpeg'"):
        function(picture, matrix="jpeg")
    with pytest.raises(ValueError, match="one of .*'full', 'limited'.* found 'tv'"):
        function(picture, range="tv")
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), found \(3, 4\)"):
        function(np.zeros((3, 4)))
    with pytest.raises(TypeError, match="found uint8"):
        function(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_uint8_round_trip(xp):
    codes = xp.arange(256, dtype=xp.uint8)
    for dtype in (np.float16, np.float32, jnp.bfloat16)[: 2 if xp is np else 3]:
        np.testing.assert_array_equal(color.to_uint8(color.from_uint8(codes, dtype)), codes)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_to_uint8_rounds_and_clips(xp):
    x = xp.asarray(np.array([-1, -0.001, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.001, 9], np.float32))
    found = color.to_uint8(x)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [0, 0, 0, 1, 128, 255, 255, 255])


def test_from_uint8_refuses_others():
    with pytest.raises(TypeError, match="found int32"):
        color.from_uint8(np.zeros(3, np.int32))


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_downsample_is_the_mean_of_blocks(rng, xp):
    c = rng.random((2, 6, 4, 2), np.float32)
    expected = c.reshape(2, 3, 2, 2, 2, 2).mean(axis=(2, 4))
    found = color.downsample_chroma(xp.asarray(c), siting="center")
    assert isinstance(found, xp.ndarray)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_downsample_repeats_the_edge_of_odd_sizes(rng):
    c = rng.random((5, 3, 1), np.float32)
    found = color.downsample_chroma(c)
    assert found.shape == (3, 2, 1)
    np.testing.assert_allclose(found[2, 0], c[4, :2].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found[2, 1], c[4, 2])
    np.testing.assert_allclose(color.downsample_chroma(c[:1, :1]), c[:1, :1])


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_upsample_matches_its_closed_form(xp):
    found = color.upsample_chroma(xp.asarray([[[0.0], [4.0]]], xp.float32), siting="center")
    assert isinstance(found, xp.ndarray)
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 3, 4]] * 2)
    found = color.upsample_chroma(xp.asarray([[[0.0]], [[4.0]]], xp.float32))
    np.testing.assert_array_equal(found[..., 0], np.array([[0, 1, 3, 4]] * 2).T)


@pytest.mark.parametrize("siting", vocabulary.SITINGS)
def test_sitings_match_so_that_ramps_survive(siting):
    rows, columns = np.mgrid[:12, :16].astype(np.float64)
    ramp = (0.3 * rows - 0.7 * columns + 2)[None, ..., None]
    back = color.upsample_chroma(color.downsample_chroma(ramp, siting), siting)
    np.testing.assert_allclose(back[:, 2:-2, 2:-2], ramp[:, 2:-2, 2:-2], atol=1e-12)


def test_chroma_on_the_left_is_the_filter_of_mpeg_2():
    """(1 2 1)/4 across where samples sit on luma's columns, (1 1)/2 down where they sit between."""
    impulse = np.zeros((4, 8, 1))
    impulse[2, 4] = 8
    found = color.downsample_chroma(impulse, siting="left")[..., 0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [0, 0, 2, 0]])
    found = color.downsample_chroma(np.roll(impulse, 1, axis=1), siting="left")[..., 0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [0, 0, 1, 1]])
    found = color.downsample_chroma(impulse, siting="top-left")[..., 0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [0, 0, 2, 0]])
    up = color.upsample_chroma(np.array([[[0.0], [4.0]]]), siting="top-left")[..., 0]
    np.testing.assert_array_equal(up, [[0, 2, 4, 4]] * 2)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7)])
def test_planes_of_grey_and_of_flat_colours_come_back(shape):
    grey = np.random.default_rng(1).random((*shape, 1)) * np.ones(3)
    np.testing.assert_allclose(
        color.ycbcr420_to_rgb(*color.rgb_to_ycbcr420(grey)), grey, atol=1e-12
    )
    flat = np.ones((*shape, 1)) * [0.9, 0.2, 0.4]
    luma, chroma = color.rgb_to_ycbcr420(flat, "bt709", "limited")
    assert luma.shape == (*shape, 1) and chroma.shape == (3, 4, 2)
    back = color.ycbcr420_to_rgb(luma, chroma, "bt709", "limited", siting="left")
    np.testing.assert_allclose(back, flat, atol=1e-12)


def test_chroma_gradients_are_finite_and_sum_to_one():
    c = jnp.zeros((4, 6, 1))
    assert jax.grad(lambda x: color.upsample_chroma(x).sum())(c).sum() == 4 * c.size
    assert jax.grad(lambda x: color.downsample_chroma(x).sum())(c).sum() == c.size / 4


@pytest.mark.parametrize("function", [color.downsample_chroma, color.upsample_chroma])
def test_chroma_refuses_bad_arguments(function):
    with pytest.raises(ValueError, match="siting must be one of .*'center'.* found 'bottom'"):
        function(np.zeros((2, 2, 1)), siting="bottom")
    with pytest.raises(ValueError, match=r"\(\.\.\., H, W, C\), found \(2, 2\)"):
        function(np.zeros((2, 2)))
