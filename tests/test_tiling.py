"""Tiles and their windows: no seam, and what the transforms reach."""

import jax
import numpy as np
import pytest
from conftest import drawn_parameters

import ycc_jax
from ycc_jax.models import build
from ycc_jax.pictures.tiling import HALO, Area, Tiling

TRANSFORMS = {
    "joint": dict(transform="joint", color_space="rgb"),
    "joint_lapped": dict(transform="joint", color_space="rgb", linear_shortcut=True),
    "dlec": dict(linear_shortcut=True),
    "six_channel": dict(layout="six_channel"),
    "separate": dict(layout="separate"),
    "residual": dict(transform="residual", linear_shortcut=True),
}


@pytest.mark.parametrize(("height", "width", "side"), [(1, 1, 64), (300, 433, 128), (640, 64, 256)])
def test_tiles_cover_the_picture_once_and_windows_them(height, width, side):
    tiling = Tiling(height, width, 64, side)
    _, tall, _, wide = tiling.picture
    covered = np.zeros((tall, wide, 1), int)
    windows = set()
    for tile in tiling.tiles:
        tile.of(covered)[...] += 1
        window = tiling.window(tile)
        windows.add(window.shape)
        inside = tile.within(window)
        assert min(inside) >= 0 and inside.bottom <= window.shape[0]
        # The halo, or the picture's own border.
        assert window.top == 0 or tile.top - window.top >= HALO
        assert window.left == 0 or tile.left - window.left >= HALO
        assert window.bottom == tall or window.bottom - tile.bottom >= HALO
        assert window.right == wide or window.right - tile.right >= HALO
        assert all(edge % 64 == 0 for edge in (*tile, *window))
    assert (covered == 1).all() and len(windows) == 1
    assert Tiling(height, width, 64, None).tiles == [tiling.picture]


def test_areas():
    area, other = Area(0, 10, 4, 8), Area(8, 12, 0, 5)
    assert area.meets(other) and area.common(other) == Area(8, 10, 4, 5)
    assert not area.meets(Area(10, 12, 4, 8)) and area.shape == (10, 4)
    assert Area(2, 7, 4, 9).of(np.zeros((8, 8, 2)), 2).shape == (3, 3, 2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_reach_less_than_the_halo(name):
    """What lies beyond the halo changes no value of a tile, of y or of the pixels."""
    net = build(N=4, M=8, levels=0, level_aware=False, context="none", **TRANSFORMS[name])
    level = np.zeros((1, 0), np.float32)
    params = {"params": drawn_parameters(net)}
    rng = np.random.default_rng(0)
    tile = slice(96, 160)
    near = np.zeros((1, 256, 256, 1), bool)
    near[:, 96 - HALO : 160 + HALO, 96 - HALO : 160 + HALO] = True

    @jax.jit
    def both(x, y):
        return (
            net.apply(params, x, level, method=net.analyse),
            net.apply(params, y, level, method=net.synthesise),
        )

    x = rng.random((2, 1, 256, 256, 3), np.float32)
    y = rng.standard_normal((2, 1, 16, 16, 8)).astype(np.float32)
    changed_x, changed_y = np.where(near, x[0], x[1]), np.where(near[:, ::16, ::16], y[0], y[1])
    before, after = both(x[0], y[0]), both(changed_x, changed_y)
    latent = slice(tile.start // 16, tile.stop // 16)
    np.testing.assert_allclose(before[0][:, latent, latent], after[0][:, latent, latent], atol=1e-4)
    np.testing.assert_allclose(before[1][:, tile, tile], after[1][:, tile, tile], atol=1e-5)
    assert np.abs(before[1] - after[1]).max() > 0.1


@pytest.fixture(scope="module")
def tiled(bundled, photo):
    """(picture, decoded untiled, decoded from tiles of 64) of an odd size."""
    picture = photo[20:353, 60:445]
    decoded = [
        bundled.decode(bundled.encode(picture, 60, tile=tile, worth=float("inf")))
        for tile in (0, 64)
    ]
    return picture, *decoded


def test_tiles_leave_no_seam(tiled):
    """The error beside the tiles' borders is no larger than that of the untiled picture there."""
    picture, untiled, found = (a.astype(float) for a in tiled)
    errors = [np.square(decoded - picture).mean(-1) for decoded in (untiled, found)]
    rows, columns = (np.arange(n) % 64 for n in picture.shape[:2])
    beside = np.zeros(picture.shape[:2], bool)
    for edge in (0, 1, 62, 63):
        beside[rows == edge] = True
        beside[:, columns == edge] = True
    ratio_beside = errors[1][beside].mean() / errors[0][beside].mean()
    ratio_inside = errors[1][~beside].mean() / errors[0][~beside].mean()
    assert abs(ratio_beside / ratio_inside - 1) < 0.02, (ratio_beside, ratio_inside)
    # And no step across a border that the picture does not have.
    across = np.abs(np.diff(found - picture, axis=0)).mean((1, 2))
    at_border = across[63::64].mean() / np.delete(across, np.s_[63::64]).mean()
    before = np.abs(np.diff(untiled - picture, axis=0)).mean((1, 2))
    assert at_border < 1.03 * before[63::64].mean() / np.delete(before, np.s_[63::64]).mean()


def test_tiles_of_every_kind_decode_to_the_encoders_picture(tiny_codec, photo):
    picture = photo[:130, :200]
    for image in (picture, picture[..., 0]):
        data, expected = tiny_codec.encode_with_picture(image, 40, tile=64)
        np.testing.assert_array_equal(tiny_codec.decode(data), expected)
    assert ycc_jax.info(data)["tiles"] == 3 * 4
    assert tiny_codec.encode(picture, 40) == tiny_codec.encode(picture, 40, tile=0)


def test_large_pictures_have_tiles_by_default(tiny_codec, photo, monkeypatch):
    monkeypatch.setattr("ycc_jax.pictures.limits.MOST_UNTILED", 128 * 128)
    monkeypatch.setattr("ycc_jax.pictures.limits.DEFAULT_TILE", 64)
    sizes = [ycc_jax.info(tiny_codec.encode(photo[:n, :n], 20))["tile"] for n in (128, 129)]
    assert sizes == [None, 64]


def test_a_wrong_tile_is_refused(tiny_codec, photo):
    for tile in (48, 96, -64, 1 << 20):
        with pytest.raises(ycc_jax.InputError, match="tile"):
            tiny_codec.encode(photo[:64, :64], tile=tile)


def test_tiles_of_one_picture_may_not_change_places(tiny_codec, photo):
    from ycc_jax import bitstream

    header, tiles, _ = bitstream.unpack(tiny_codec.encode(photo[:64, :128], 90, tile=64))
    with pytest.raises(ycc_jax.CorruptStreamError, match="symbols"):
        tiny_codec.decode(bitstream.pack(header, tiles[::-1]))


def test_the_checksum_of_symbols_covers_the_header(tiny_codec, photo):
    """Size, greyness, quality: whoever changes them and repairs the CRC is noticed."""
    import dataclasses

    from ycc_jax import bitstream

    header, tiles, _ = bitstream.unpack(tiny_codec.encode(photo[:60, :60], 90))
    for change in ({"width": 61}, {"height": 59}, {"grey": True}, {"quality": 90.5}):
        data = bitstream.pack(dataclasses.replace(header, **change), tiles)
        with pytest.raises(ycc_jax.CorruptStreamError, match="symbols"):
            tiny_codec.decode(data)
