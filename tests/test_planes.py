"""4:2:0 planes: what they accept, and their floats in the conventions of color.py."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from ycc_jax.errors import InputError
from ycc_jax.pictures import color, planes
from ycc_jax.pictures.planes import Planes, from_float, to_float

LIMITED = {"range": "limited", "matrix": "bt709", "siting": "left"}


def some_planes(rng, height, width, depth=8, **attributes):
    dtype = {8: np.uint8, 10: np.uint16}[depth]
    shapes = [(height, width)] + 2 * [((height + 1) // 2, (width + 1) // 2)]
    arrays = [rng.integers(0, 2**depth, shape).astype(dtype) for shape in shapes]
    return Planes(*arrays, depth=depth, **(LIMITED | attributes))


def assert_same(found, expected):
    for field in dataclasses.fields(Planes):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name in ("y", "cb", "cr"):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, field.name)
        else:
            assert a == b, field.name


# ---- Planes


def test_every_attribute_is_kept(rng):
    for depth, *texts in itertools.product(
        (8, 10), ("full", "limited"), ("bt601", "bt709", "bt2020"), ("center", "left", "top-left")
    ):
        attributes = dict(zip(("range", "matrix", "siting"), texts, strict=True))
        picture = some_planes(rng, 5, 8, depth, **attributes)
        assert (picture.height, picture.width, picture.depth) == (5, 8, depth)
        assert dataclasses.asdict(picture).items() >= attributes.items()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (17, 31)])
def test_chroma_is_half_rounded_up(rng, size):
    expected = -(-size[0] // 2), -(-size[1] // 2)
    assert planes.chroma_shape(*size) == expected == some_planes(rng, *size).cb.shape


def test_is_frozen(rng):
    with pytest.raises(dataclasses.FrozenInstanceError):
        some_planes(rng, 2, 2).depth = 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 12}, "depth: expected 8 or 10 bits, found 12"),
        ({"depth": 10}, "y: expected a NumPy array of uint16 at depth 10, found ndarray of uint8"),
        ({"range": "tv"}, "range: expected one of full, limited, found 'tv'"),
        ({"matrix": "bt470"}, "matrix: expected one of bt601, bt709, bt2020, found 'bt470'"),
        ({"siting": "mpeg2"}, "siting: expected one of center, left, top-left, found 'mpeg2'"),
        ({"cr": np.zeros((2, 3), np.float32)}, "cr: .* uint8 .* found ndarray of float32"),
        ({"cb": [[0]]}, "cb: expected a NumPy array of uint8 at depth 8, found list"),
        ({"y": np.zeros((4, 6, 1), np.uint8)}, r"y: expected \(height, width\) .* \(4, 6, 1\)"),
        ({"y": np.zeros((0, 6), np.uint8)}, r"y: expected .* from 1x1, found \(0, 6\)"),
        ({"cb": np.zeros((3, 2), np.uint8)}, r"cb: expected \(2, 3\), .* found \(3, 2\)"),
        ({"cr": np.zeros((4, 6), np.uint8)}, r"cr: expected \(2, 3\), .* found \(4, 6\)"),
    ],
)
def test_refuses(rng, change, message):
    picture = some_planes(rng, 4, 6)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(picture, **change)


@pytest.mark.parametrize("name", ["y", "cb", "cr"])
def test_refuses_more_than_ten_bits(rng, name):
    picture = some_planes(rng, 4, 6, 10)
    codes = getattr(picture, name).copy()
    codes[-1, -1] = 1023
    dataclasses.replace(picture, **{name: codes})
    codes[-1, -1] = 1024
    with pytest.raises(InputError, match=rf"{name}: expected codes in 0\.\.1023 .* found 1024"):
        dataclasses.replace(picture, **{name: codes})


# ---- floats


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (6, 4)])
def test_floats_round_trip(rng, size, depth):
    picture = some_planes(rng, *size, depth, range="full", matrix="bt2020", siting="top-left")
    luma, chroma = to_float(picture)
    assert luma.dtype == chroma.dtype == np.float32
    assert luma.shape == (*size, 1) and chroma.shape == (*picture.cb.shape, 2)
    attributes = {"range": "full", "matrix": "bt2020", "siting": "top-left", "depth": depth}
    back = from_float(luma, chroma, height=size[0], width=size[1], **attributes)
    assert_same(back, picture)
    assert all(plane.flags.c_contiguous for plane in (back.y, back.cb, back.cr))


@pytest.mark.parametrize("depth", [8, 10])
def test_every_code_survives_the_floats(depth):
    codes = np.arange(2**depth).astype({8: np.uint8, 10: np.uint16}[depth])[None]
    picture = Planes(codes, codes[:, ::2], codes[:, 1::2], depth, **LIMITED)
    back = from_float(*to_float(picture), height=1, width=2**depth, depth=depth, **LIMITED)
    assert_same(back, picture)


def test_floats_of_eight_bits_are_those_of_color(rng):
    picture = some_planes(rng, 6, 4)
    luma, chroma = to_float(picture)
    np.testing.assert_array_equal(luma[..., 0], color.from_uint8(picture.y))
    np.testing.assert_array_equal(chroma[..., 0], color.from_uint8(picture.cb))
    np.testing.assert_array_equal(chroma[..., 1], color.from_uint8(picture.cr))


def test_depths_have_the_same_floats():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = codes.astype(np.uint16) * 4
    eight = to_float(Planes(codes, codes[:8, :8], codes[8:, 8:], 8, **LIMITED))
    ten = to_float(Planes(deep, deep[:8, :8], deep[8:, 8:], 10, **LIMITED))
    np.testing.assert_array_equal(eight[0], ten[0])
    np.testing.assert_array_equal(eight[1], ten[1])


@pytest.mark.parametrize(
    ("depth", "range", "rgb", "codes"),
    [
        # H.273, equations of section 8.3 at BitDepth 8 and 10.
        (8, "limited", (1, 1, 1), (235, 128, 128)),
        (10, "limited", (1, 1, 1), (940, 512, 512)),
        (8, "limited", (0, 0, 0), (16, 128, 128)),
        (10, "limited", (0, 0, 0), (64, 512, 512)),
        (8, "limited", (0, 0, 1), (None, 240, None)),
        (10, "limited", (0, 0, 1), (None, 960, None)),
        (8, "full", (1, 1, 1), (255, 128, 128)),
        (8, "full", (0, 0, 0), (0, 128, 128)),
        (10, "full", (0, 0, 0), (0, 512, 512)),
    ],
)
def test_codes_of_colours_are_those_of_the_standard(depth, range, rgb, codes):
    ycbcr = color.rgb_to_ycbcr(np.array([[rgb]], np.float32), "bt709", range)
    attributes = {"depth": depth, "range": range, "matrix": "bt709", "siting": "center"}
    found = from_float(ycbcr[..., :1], ycbcr[..., 1:], height=1, width=1, **attributes)
    for plane, code in zip((found.y, found.cb, found.cr), codes, strict=True):
        assert code is None or plane == code
    if None not in codes:
        luma, chroma = to_float(found)
        assert abs(luma - ycbcr[..., :1]) < 1e-7 and np.abs(chroma - ycbcr[..., 1:]).max() < 1e-7


def test_full_range_white_of_ten_bits():
    white = np.full((1, 1), 1023, np.uint16)
    luma, _ = to_float(Planes(white, white, white, 10, "full", "bt709", "left"))
    assert luma == np.float32(1023 / 1020)


@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_rounds_half_to_even_and_clips(xp):
    # Exact halves of a code in binary: 127.5 of 8 bits; 127.5, 382.5, 637.5, 892.5 of 10.
    luma = xp.asarray([[[0.5], [-1], [1.1], [2]]], xp.float32)
    deep = xp.asarray([[[0.125], [0.375], [0.625], [0.875], [-1], [1.1]]], xp.float32)
    chroma = xp.zeros((1, 3, 2), xp.float32)
    found = from_float(luma, chroma, height=1, width=4, depth=8, **LIMITED)
    np.testing.assert_array_equal(found.y, [[128, 0, 255, 255]])
    found = from_float(deep, chroma, height=1, width=6, depth=10, **LIMITED)
    np.testing.assert_array_equal(found.y, [[128, 382, 638, 892, 0, 1023]])


def test_padding_is_cropped(rng):
    picture = some_planes(rng, 5, 7)
    luma, chroma = to_float(picture)
    luma = np.pad(luma, [(0, 11), (0, 9), (0, 0)], constant_values=0.7)
    chroma = np.pad(chroma, [(0, 5), (0, 4), (0, 0)], constant_values=0.3)
    assert_same(from_float(luma, chroma, height=5, width=7, depth=8, **LIMITED), picture)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64])
def test_other_floats(dtype):
    luma, chroma = np.full((2, 2, 1), 0.25, dtype), np.full((1, 1, 2), 0.75, dtype)
    found = from_float(luma, chroma, height=2, width=2, depth=10, **LIMITED)
    assert (found.y == 255).all() and found.cb == found.cr == 765


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"luma": np.zeros((3, 6, 1))}, r"luma: .* 4 x 6 and 1 channels, found \(3, 6, 1\)"),
        ({"luma": np.zeros((4, 5, 1))}, r"luma: .* found \(4, 5, 1\)"),
        ({"luma": np.zeros((4, 6))}, r"luma: .* found \(4, 6\)"),
        ({"chroma": np.zeros((1, 3, 2))}, r"chroma: .* 2 x 3 and 2 channels, found \(1, 3, 2\)"),
        ({"chroma": np.zeros((2, 3, 3))}, r"chroma: .* found \(2, 3, 3\)"),
        ({"luma": np.zeros((4, 6, 1), np.uint8)}, "luma: expected floats, found uint8"),
        ({"chroma": np.full((2, 3, 2), np.nan)}, "chroma: expected numbers, found NaN"),
        ({"depth": 9}, "depth: expected 8 or 10 bits, found 9"),
        ({"height": 0}, "of at least 1, found 0 x 6"),
        ({"width": -1}, "of at least 1, found 4 x -1"),
        ({"range": "pc"}, "range: .* found 'pc'"),
        ({"matrix": "rgb"}, "matrix: .* found 'rgb'"),
        ({"siting": None}, "siting: .* found None"),
    ],
)
def test_from_float_refuses(change, message):
    arguments = {"luma": np.zeros((4, 6, 1)), "chroma": np.zeros((2, 3, 2))}
    arguments |= {"height": 4, "width": 6, "depth": 8} | LIMITED
    from_float(**arguments)
    with pytest.raises(InputError, match=message):
        from_float(**(arguments | change))
