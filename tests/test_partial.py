"""Parts of pictures: regions, and what is left of damaged files."""

import dataclasses
import time

import numpy as np
import pytest
from PIL import Image
from test_models import parameters

import ycc_jax
from ycc_jax import bitstream
from ycc_jax.bitstream import CodedTile
from ycc_jax.cli import main
from ycc_jax.codec_model import export_model
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.header import Header, WrittenBy
from ycc_jax.models import build
from ycc_jax.operating_point import OperatingPoint
from ycc_jax.pictures import limits, y4m
from ycc_jax.pictures.planes import Planes
from ycc_jax.pictures.tiling import HALO, Area
from ycc_jax.tile_coder import TileCoder

HEIGHT, WIDTH, TILE = 141, 331, 64
KINDS = ("rgb", "grey", "planes")
WRITER = WrittenBy.of("0.1.0", "0.10.2", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model."""
    path, arguments = tmp_path_factory.mktemp("models") / "m", dict(levels=2, context="none")
    arguments = dict(arguments, N=4, M=8)
    params = parameters(build(**arguments))
    export_model(path, name="m", arguments=arguments, params=params)
    return path


@pytest.fixture(scope="module")
def codec(folder):
    return ycc_jax.load(folder)


def picture_of(kind, photo):
    rgb = photo[100 : 100 + HEIGHT, 50 : 50 + WIDTH]
    if kind == "rgb":
        return rgb
    if kind == "grey":
        return rgb[..., 1]
    half = [4 * rgb[::2, ::2, channel].astype(np.uint16) for channel in (0, 2)]
    return Planes(4 * rgb[..., 1].astype(np.uint16), *half, 10, "limited", "bt709", "left")


def samples(picture):
    return [picture.y, picture.cb, picture.cr] if isinstance(picture, Planes) else [picture]


def part(picture, x, y, width, height):
    """Of planes, that of chroma too."""
    luma, *chroma = samples(picture)
    rows, columns = slice(y // 2, -(-(y + height) // 2)), slice(x // 2, -(-(x + width) // 2))
    return [luma[y : y + height, x : x + width], *(plane[rows, columns] for plane in chroma)]


@pytest.fixture(scope="module", params=KINDS)
def tiled(request, codec, photo):
    """(data, picture that it decodes to) in tiles of 64: 3 rows of 6."""
    data = codec.encode(picture_of(request.param, photo), 100, tile=TILE)
    assert len(bitstream.unpack(data).tiles) == 18
    return data, codec.decode(data)


def damaged(data, numbers):
    """The file with a byte of these tiles changed."""
    start = bitstream.info(data)["overhead_bytes"]
    out = bytearray(data)
    for number, tile in enumerate(bitstream.unpack(data).tiles):
        end = start + len(tile.z) + len(tile.y)
        if number in numbers:
            out[end - 1] ^= 0x55
        start = end
    return bytes(out)


def area(number):
    """Of a tile, in the picture."""
    top, left = number // 6 * TILE, number % 6 * TILE
    return Area(top, min(top + TILE, HEIGHT), left, min(left + TILE, WIDTH))


REGIONS = [
    (0, 0, WIDTH, HEIGHT),
    (0, 0, 1, 1),
    (330, 140, 1, 1),
    (62, 62, 3, 5),
    (64, 64, 64, 64),
    (128, 0, 203, 141),
    (10, 20, 131, 67),
    (300, 128, 31, 13),
]


def check_regions(codec, data, whole):
    for region in REGIONS:
        found = codec.decode(data, region=region)
        for a, b in zip(samples(found), part(whole, *region), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(region))


def test_a_region_of_a_tiled_picture_has_the_samples_of_the_whole(codec, tiled):
    check_regions(codec, *tiled)


@pytest.mark.parametrize("kind", KINDS)
def test_a_region_of_an_untiled_picture_has_the_samples_of_the_whole(codec, photo, kind):
    data = codec.encode(picture_of(kind, photo), 100, tile=0)
    check_regions(codec, data, codec.decode(data))


def test_a_region_needs_no_tile_but_those_that_its_pixels_depend_on(codec, tiled):
    data, whole = tiled
    region, needed = (128, 64, 64, 64), {1, 2, 3, 7, 8, 9, 13, 14, 15}
    header, tiles, _ = bitstream.unpack(data)
    empty = CodedTile(b"", b"", 0)
    torn = [tile if n in needed else empty for n, tile in enumerate(tiles)]
    found = codec.decode(bitstream.pack(header, torn), region=region)
    for a, b in zip(samples(found), part(whole, *region), strict=True):
        np.testing.assert_array_equal(a, b)
    torn[7] = empty
    with pytest.raises(CorruptStreamError):
        codec.decode(bitstream.pack(header, torn), region=region)


def test_regions_outside_and_planes_at_odd_positions_are_refused(codec, tiled):
    data, whole = tiled
    for region in ((0, 0, WIDTH + 1, 1), (WIDTH, 0, 1, 1), (0, 0, 0, 1), (-2, 0, 4, 4)):
        with pytest.raises(InputError, match="region inside 331 x 141"):
            codec.decode(data, region=region)
    if isinstance(whole, Planes):
        with pytest.raises(InputError, match="even positions"):
            codec.decode(data, region=(1, 0, 4, 4))


def test_a_tiled_file_decodes_tile_by_tile_to_the_same_symbols(codec, tiled):
    header, tiles, _ = bitstream.unpack(tiled[0])
    coder = TileCoder(codec.model, codec.stages, "auto", header, OperatingPoint(100.0, None))
    whole = coder.decode(tiles, coder.tiling.picture, None)
    assert np.abs(whole).max() > 1
    for number, tile in enumerate(coder.tiling.tiles):
        alone = [coded if n == number else None for n, coded in enumerate(tiles)]
        np.testing.assert_array_equal(coder.decode(alone, tile, None), tile.of(whole, 16))


@pytest.mark.parametrize("lost", [{0}, {17}, {8}, {0, 5, 12}, set(range(17)), set(range(1, 18))])
def test_what_is_lost_is_grey_and_the_rest_right_but_beside_it(codec, tiled, lost):
    data, whole = tiled
    found, share = codec.decode_partial(damaged(data, lost))
    areas = [area(number) for number in lost]
    pixels = [a.shape[0] * a.shape[1] for a in areas]
    assert share == sum(pixels) / (HEIGHT * WIDTH)
    right = np.ones((HEIGHT, WIDTH), bool)
    for top, bottom, left, right_end in areas:
        grey = part(found, left, top, right_end - left, bottom - top)
        assert all((plane == (512 if plane.dtype == np.uint16 else 128)).all() for plane in grey)
        right[max(top - HALO, 0) : bottom + HALO, max(left - HALO, 0) : right_end + HALO] = False
    for a, b in zip(samples(found), samples(whole), strict=True):
        same = right if a.shape[:2] == right.shape else right[::2, ::2]
        np.testing.assert_array_equal(a[same], b[same])


def test_a_file_that_is_whole_is_itself_in_part(codec, tiled):
    data, whole = tiled
    for same in (data, data + b"more"):
        found, share = codec.decode_partial(same)
        assert share == 0 and type(found) is type(whole)
        assert all(map(np.array_equal, samples(found), samples(whole)))


def test_a_truncated_file_gives_the_tiles_before_its_end(codec, tiled):
    data, _ = tiled
    tiles = bitstream.unpack(data).tiles
    last = len(tiles[-1].z) + len(tiles[-1].y)
    for cut, lost in ((1, {17}), (last, {17}), (last + 1, {16, 17})):
        areas = [area(number).shape for number in lost]
        share = codec.decode_partial(data[:-cut])[1]
        assert share == sum(h * w for h, w in areas) / (HEIGHT * WIDTH)


def test_nothing_left_is_an_error(codec, tiled, photo):
    data, _ = tiled
    with pytest.raises(CorruptStreamError, match="a tile that is whole, found none of 18"):
        codec.decode_partial(damaged(data, set(range(18))))
    overhead = bitstream.info(data)["overhead_bytes"]
    with pytest.raises(CorruptStreamError, match="found none of 18"):
        codec.decode_partial(data[:overhead])
    for size in (5, 25, overhead - 1):  # in the head, in the index
        with pytest.raises(CorruptStreamError, match="truncated"):
            codec.decode_partial(data[:size])
    untiled = codec.encode(photo[:64, :64], tile=0)
    with pytest.raises(CorruptStreamError, match="found none of 1"):
        codec.decode_partial(untiled[:-1])


def test_a_file_of_another_model_stays_one(codec, tiled):
    header, tiles, _ = bitstream.unpack(tiled[0])
    other = bitstream.pack(dataclasses.replace(header, weights_hash=b"else"), tiles)
    with pytest.raises(ModelError, match=b"else".hex()):
        codec.decode_partial(other[:-1])


def test_the_command_writes_what_is_left_and_says_how_much_is_lost(
    codec, tiled, folder, tmp_path, capsys
):
    data, whole = tiled
    planes = isinstance(whole, Planes)
    source, output = tmp_path / "a.ycc", tmp_path / ("a.y4m" if planes else "a.png")
    source.write_bytes(damaged(data, {17}))
    command = ["decode", str(source), "-o", str(output), "-m", str(folder), "--quiet"]
    assert main(command) == 3 and not output.exists()
    capsys.readouterr()
    assert main([*command, "--partial"]) == 3
    lost = 100 * 13 * 11 / (HEIGHT * WIDTH)
    assert capsys.readouterr().err == (
        f"ycc: error: {source}: expected a whole file, found {lost:.3g} % of the picture lost, "
        "which is grey\n"
    )
    found = codec.decode_partial(source.read_bytes())[0]
    written = y4m.read_y4m(str(output)) if planes else np.asarray(Image.open(output))
    assert all(map(np.array_equal, samples(written), samples(found)))
    source.write_bytes(data)
    assert main([*command, "--partial"]) == 0


def test_the_command_overwrites_nothing_where_nothing_is_left(
    codec, folder, tmp_path, photo, capsys
):
    data = codec.encode(photo[:100, :130], tile=TILE)
    header, tiles, _ = bitstream.unpack(data)
    other = bitstream.pack(dataclasses.replace(header, weights_hash=b"else"), tiles)
    source, output = tmp_path / "a.ycc", tmp_path / "a.png"
    output.write_bytes(b"precious")
    overhead = bitstream.info(data)["overhead_bytes"]
    cases = ((data[:overhead], 3), (data[: overhead - 1], 3), (other[:-1], 4), (b"GIF89a", 3))
    for content, code in cases:
        source.write_bytes(content)
        command = ["decode", str(source), "-o", str(output), "-m", str(folder), "--partial"]
        assert main(command) == code
        assert capsys.readouterr().err.count("\n") == 1 and output.read_bytes() == b"precious"


# ---- what a hostile file costs -----------------------------------------------------------------


def of_tiles(across, grey=True):
    """A grey picture of across^2 tiles of 64, all damaged."""
    header = Header(
        width=64 * across,
        height=64 * across,
        grey=grey,
        tile=TILE,
        quality=50.0,
        weights_hash=b"hash",
        writer=WRITER,
    )
    return bitstream.pack(header, [CodedTile(b"", b"x", 0)] * across**2)[: -(across**2)]


def test_many_lost_tiles_take_time_in_proportion(codec, monkeypatch):
    monkeypatch.setattr(limits, "available_memory", lambda: None)
    data = of_tiles(128)
    header, tiles, _ = bitstream.unpack(data, partial=True)
    assert tiles == [None] * 128**2
    coder = TileCoder(codec.model, codec.stages, "auto", header, OperatingPoint(50.0, None))
    picture, lost = coder.tiling.picture, set()
    held = coder.decode(tiles, picture, lost)
    start = time.process_time()
    assert (coder.paint(held, picture, picture, lost) == 128).all()
    assert time.process_time() - start < 2


def test_a_region_of_too_many_tiles_is_refused_before_they_are_listed(codec):
    data = bitstream.pack(
        dataclasses.replace(bitstream.unpack(of_tiles(1), partial=True).header, width=64 * 300),
        [CodedTile(b"", b"", 0)] * 300,
    )
    header = bitstream.unpack(data).header
    for bad in (data, data[:-9]):
        with pytest.raises((LimitError, CorruptStreamError)):
            bitstream.unpack(bad, 64**2 * 299, region=True)
    with pytest.raises(LimitError, match="found 19200 x 64"):
        codec.decode(data, region=(0, 0, 8, 8), max_pixels=64**2 * 299)
    assert bitstream.unpack(data, 64**2 * 300, region=True).header == header
    tall = dataclasses.replace(header, tile=128, height=128)
    tall = bitstream.pack(tall, [CodedTile(b"", b"", 0)] * 150)
    assert len(bitstream.unpack(tall, 64**2 * 300, region=True).tiles) == 150
    with pytest.raises(LimitError):
        bitstream.unpack(tall, 64**2 * 300)


def test_tiles_that_memory_cannot_list_are_refused(monkeypatch):
    data = of_tiles(256)
    monkeypatch.setattr(limits, "available_memory", lambda: 1 << 24)
    for region in (False, True):
        with pytest.raises(LimitError, match="found 65536, which need about 0.0 GB"):
            bitstream.unpack(data, None, partial=True, region=region)
