"""Y4M and raw YUV files, against files that these tests write byte by byte."""

import dataclasses
import io
import os
import pathlib
import struct
import types
import warnings

import numpy as np
import pytest

from ycc_jax.errors import InputError, LimitError
from ycc_jax.pictures import files, y4m
from ycc_jax.pictures.planes import Planes

SIZES = [(1, 1), (1, 4), (17, 31), (8, 6)]
TAGS = {
    "420jpeg": (8, "center"),
    "420": (8, "center"),
    "420mpeg2": (8, "left"),
    "420paldv": (8, "top-left"),
    "420p10": (10, "left"),
}


def random_planes(rng, height, width, depth):
    """Y, Cb, Cr as lists of rows of Python integers."""
    half = (height + 1) // 2, (width + 1) // 2
    return [rng.integers(0, 2**depth, s).tolist() for s in ((height, width), half, half)]


def samples(planes, depth=8):
    """Their bytes, one integer after the other."""
    codes = [code for plane in planes for row in plane for code in row]
    return struct.pack("<" + {8: "B", 10: "H"}[depth] * len(codes), *codes)


def y4m_file(*frames, size, tags="F25:1 Ip A1:1 C420jpeg", frame_line=b"FRAME\n"):
    header = f"YUV4MPEG2 W{size[1]} H{size[0]} {tags}\n".encode()
    return io.BytesIO(header + b"".join(frame_line + frame for frame in frames))


def assert_is(found, planes, **attributes):
    dtype = {8: np.uint8, 10: np.uint16}[attributes.get("depth", 8)]
    for name, rows in zip(("y", "cb", "cr"), planes, strict=True):
        plane = getattr(found, name)
        np.testing.assert_array_equal(plane, rows, name)
        assert plane.dtype == dtype and plane.flags.c_contiguous and plane.flags.writeable
    for name, value in attributes.items():
        assert getattr(found, name) == value, name


# ---- reading Y4M


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tag", TAGS)
def test_y4m_is_read_exactly(rng, tag, size):
    depth, siting = TAGS[tag]
    planes = random_planes(rng, *size, depth)
    file = y4m_file(samples(planes, depth), size=size, tags=f"F30000:1001 Ip A0:0 C{tag}")
    expected = {"depth": depth, "siting": siting, "range": "limited", "matrix": "bt601"}
    assert_is(y4m.read_y4m(file), planes, **expected)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", {"siting": "center", "range": "limited"}),
        ("I?", {"siting": "center"}),
        ("XYSCSS=420MPEG2", {"siting": "left"}),
        ("C420paldv XYSCSS=420MPEG2", {"siting": "top-left"}),
        ("XCOLORRANGE=FULL", {"range": "full"}),
        ("C420mpeg2 XCOLORRANGE=LIMITED XCOMMENT", {"siting": "left", "range": "limited"}),
        ("Xa=b=c Zunknown XCOLORRANGE=FULL F0:0", {"range": "full"}),
    ],
)
def test_tags(rng, tags, expected):
    planes = random_planes(rng, 4, 6, 8)
    assert_is(y4m.read_y4m(y4m_file(samples(planes), size=(4, 6), tags=tags)), planes, **expected)


@pytest.mark.parametrize("stated", ["", "XCOLORRANGE=FULL", "XCOLORRANGE=LIMITED", "XCOLORRANGE=9"])
@pytest.mark.parametrize("range", ["full", "limited"])
def test_arguments_say_what_the_file_does_not(rng, range, stated):
    planes = random_planes(rng, 4, 6, 8)
    file = y4m_file(samples(planes), size=(4, 6), tags=stated)
    found = y4m.read_y4m(file, matrix="bt2020", range=range)
    assert_is(found, planes, matrix="bt2020", range=range)


def test_one_of_several_frames(rng):
    # A frame line may carry parameters, and the samples what looks like one.
    frames = [random_planes(rng, 4, 6, 8) for _ in range(3)]
    frames[1][0][0] = list(b"FRAME\n")
    coded = [samples(frame) for frame in frames]
    line = b"FRAME Ippp XCOMMENT=a\n"
    for number, planes in enumerate(frames):
        file = y4m_file(*coded, size=(4, 6), frame_line=line)
        assert_is(y4m.read_y4m(file, frame=number), planes)
    assert_is(y4m.read_y4m(y4m_file(coded[0], size=(4, 6)), frame=0), frames[0])
    with pytest.raises(InputError, match="expected one frame, or frame=N .* found 3 frames"):
        y4m.read_y4m(y4m_file(*coded, size=(4, 6)))
    for frame in (3, -1, 1.5):
        with pytest.raises(InputError, match=f"one of 3 frames, from 0, found {frame}"):
            y4m.read_y4m(y4m_file(*coded, size=(4, 6)), frame=frame)


@pytest.mark.parametrize("tag", ["422", "444", "411", "mono", "420p12", "444alpha", "420JPEG", ""])
def test_other_chroma_formats_are_named(tag):
    with pytest.raises(InputError, match=f"C420jpeg C420mpeg2 C420paldv C420p10.* found C{tag}$"):
        y4m.read_y4m(y4m_file(bytes(36), size=(4, 6), tags=f"C{tag}"))
    with pytest.raises(InputError, match="found C444"):
        y4m.read_y4m(y4m_file(bytes(36), size=(4, 6), tags="XYSCSS=444"))


@pytest.mark.parametrize("mode", ["t", "b", "m", ""])
def test_interlaced_is_refused(mode):
    with pytest.raises(InputError, match=f"Ip or I[?], found I{mode}$"):
        y4m.read_y4m(y4m_file(bytes(36), size=(4, 6), tags=f"I{mode}"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a Y4M file, .* found 0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), r"expected a Y4M file, .* found 58 bytes .*PNG"),
        (b"YUV4MPEG W6 H4\n", "expected a Y4M file"),
        (b"YUV4MPEG2 W6 H4", "expected a Y4M file"),
        (b"YUV4MPEG2\n", "a tag W .* found none"),
        (b"YUV4MPEG2 H4\nFRAME\n", "a tag W .* found none"),
        (b"YUV4MPEG2 W6\nFRAME\n", "a tag H .* found none"),
        (b"YUV4MPEG2 W0 H4\nFRAME\n", "a tag W .* found W0"),
        (b"YUV4MPEG2 W6 H-4\nFRAME\n", "a tag H .* found H-4"),
        (b"YUV4MPEG2 W1_0 H4\nFRAME\n", "a tag W .* found W1_0"),
        (b"YUV4MPEG2 W\xb2 H4\nFRAME\n", "a tag W .* found W"),
        (b"YUV4MPEG2 W" + b"9" * 5000 + b" H4\nFRAME\n", "a tag W .* found W9{20}$"),
        (b"YUV4MPEG2 W6 H4\n", "expected one frame, .* found 0 frames"),
        (b"YUV4MPEG2 W6 H4 XCOLORRANGE=TV\n", "XCOLORRANGE=FULL or .* found 'TV'"),
        (b"YUV4MPEG2 W6 H4\nFRAMES\n" + bytes(36), "a line FRAME at byte 16, found b'FRAMES"),
        (b"YUV4MPEG2 W6 H4\nFRA", "a line FRAME at byte 16, found b'FRA'"),
        (b"YUV4MPEG2 W6 H4\nFRAME\n" + bytes(35), "36 bytes in frame 0, found 35"),
        (b"YUV4MPEG2 W6 H4\nFRAME\n" + bytes(37), r"a line FRAME at byte 58, found b'\\x00'"),
        (b"YUV4MPEG2 W6 H4\n" + 2 * (b"FRAME\n" + bytes(36)) + b"FRAME\n", "frame 2, found 0"),
        (b"YUV4MPEG2 W2 H2 C420p10\nFRAME\n" + b"\xff" * 12, "y: expected codes .* found 65535"),
    ],
)
def test_damage(tmp_path, data, message):
    path = tmp_path / "damaged.y4m"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"damaged.y4m: .*{message}"):
        y4m.read_y4m(path)


def test_zeros_in_front_of_a_size_are_no_digits(tmp_path):
    """Python converts no more than 4300 digits."""
    path = tmp_path / "zeros.y4m"
    path.write_bytes(b"YUV4MPEG2 W" + b"0" * 5000 + b"6 H04\nFRAME\n" + bytes(36))
    assert y4m.read_y4m(path).y.shape == (4, 6)


def test_no_such_frame_in_an_empty_file():
    with pytest.raises(InputError, match="one of 0 frames, from 0, found 0"):
        y4m.read_y4m(y4m_file(size=(4, 6)), frame=0)


def test_bad_arguments_are_named():
    for argument, value in (("matrix", "bt470"), ("range", "tv")):
        with pytest.raises(InputError, match=f"{argument}: .* found '{value}'"):
            y4m.read_y4m(y4m_file(bytes(36), size=(4, 6)), **{argument: value})


def test_pixel_limit_is_told_from_the_header():
    with pytest.raises(LimitError, match=r"at most 4095 pixels .* found 6 x 4, padded to 64 x 64"):
        y4m.read_y4m(y4m_file(bytes(36), size=(4, 6)), max_pixels=4095)
    y4m.read_y4m(y4m_file(bytes(36), size=(4, 6)), max_pixels=4096)
    for size in ((8192, 8193), (1, 67108864)):
        with pytest.raises(LimitError, match=f"at most 67108864 .* found {size[1]} x {size[0]}"):
            y4m.read_y4m(y4m_file(b"", size=size))
    # Without a limit they must fit the memory, and be there before any are allocated.
    huge = y4m_file(bytes(7), size=(10**9 - 1, 10**9 - 1), tags="")
    with pytest.raises(LimitError, match="memory left, found 999999999 x 999999999"):
        y4m.read_y4m(huge, max_pixels=None)
    huge.seek(0)
    with pytest.raises(InputError, match="expected 1499999998000000001 bytes in frame 0, found 7"):
        y4m.read_y4m(huge, max_pixels=None, bytes_per_pixel=0)


# ---- writing Y4M


def picture(rng, size=(17, 31), depth=8, **attributes):
    dtype = {8: np.uint8, 10: np.uint16}[depth]
    arrays = [np.array(rows, dtype) for rows in random_planes(rng, *size, depth)]
    known = {"range": "limited", "matrix": "bt601", "siting": "left"} | attributes
    return Planes(*arrays, depth=depth, **known)


def rows(planes):
    return [plane.tolist() for plane in (planes.y, planes.cb, planes.cr)]


@pytest.mark.parametrize("range", ["full", "limited"])
@pytest.mark.parametrize("tag", ["420jpeg", "420mpeg2", "420paldv", "420p10"])
def test_the_bytes_of_y4m(rng, tag, range):
    depth, siting = TAGS[tag]
    planes = picture(rng, (3, 5), depth, siting=siting, range=range)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y4m.write_y4m(planes, buffer)
    header = f"YUV4MPEG2 W5 H3 F25:1 Ip A0:0 C{tag} XCOLORRANGE={range.upper()}\nFRAME\n"
    assert buffer.getvalue() == header.encode() + samples(rows(planes), depth)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("range", ["full", "limited"])
@pytest.mark.parametrize(
    ("depth", "siting"), [(8, "center"), (8, "left"), (8, "top-left"), (10, "left")]
)
def test_y4m_round_trip(rng, tmp_path, depth, siting, range, size):
    planes = picture(rng, size, depth, siting=siting, range=range)
    path = tmp_path / "out.y4m"
    y4m.write_y4m(planes, path)
    expected = {"depth": depth, "siting": siting, "range": range}
    assert_is(y4m.read_y4m(path), rows(planes), **expected)
    assert os.listdir(tmp_path) == ["out.y4m"]


@pytest.mark.parametrize("siting", ["center", "top-left"])
def test_ten_bits_not_sited_left_are_warned_of(rng, siting):
    buffer = io.BytesIO()
    planes = picture(rng, depth=10, siting=siting)
    with pytest.warns(UserWarning, match=f"sited {siting}, which Y4M cannot tell at 10 bits"):
        y4m.write_y4m(planes, buffer)
    buffer.seek(0)
    assert_is(y4m.read_y4m(buffer), rows(planes), depth=10, siting="left")


def test_the_header_fits_in_79_characters(rng):
    narrow = picture(rng, (1, 65535), siting="top-left")
    buffer = io.BytesIO()
    y4m.write_y4m(narrow, buffer)
    line = buffer.getvalue().partition(b"\n")[0]
    assert len(line) + len("65535") - len("1") < 80


# ---- raw YUV


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("depth", [8, 10])
def test_yuv_is_read_and_written_exactly(rng, tmp_path, depth, size):
    planes = random_planes(rng, *size, depth)
    path = tmp_path / "in.yuv"
    path.write_bytes(samples(planes, depth))
    found = y4m.read_yuv(path, size[1], size[0], depth)
    expected = {"range": "limited", "matrix": "bt601", "siting": "left"}
    assert_is(found, planes, depth=depth, **expected)
    given = {"range": "full", "matrix": "bt709", "siting": "top-left"}
    found = y4m.read_yuv(path, size[1], size[0], depth, **given)
    assert_is(found, planes, depth=depth, **given)
    y4m.write_yuv(found, tmp_path / "out.yuv")
    assert (tmp_path / "out.yuv").read_bytes() == samples(planes, depth)


def test_one_of_several_yuv_frames(rng):
    frames = [random_planes(rng, 3, 5, 10) for _ in range(3)]
    data = b"".join(samples(frame, 10) for frame in frames)
    for number, planes in enumerate(frames):
        assert_is(y4m.read_yuv(io.BytesIO(data), 5, 3, 10, number), planes, depth=10)
    with pytest.raises(InputError, match="expected one frame, or frame=N .* found 3 frames"):
        y4m.read_yuv(io.BytesIO(data), 5, 3, 10)
    with pytest.raises(InputError, match="one of 3 frames, from 0, found 3"):
        y4m.read_yuv(io.BytesIO(data), 5, 3, 10, frame=3)


@pytest.mark.parametrize("length", [0, 26, 28, 53])
def test_yuv_is_a_whole_number_of_frames(tmp_path, length):
    path = tmp_path / "cut.yuv"
    path.write_bytes(bytes(length))
    message = rf"cut.yuv: .* frames of 27 bytes \(5 x 3, 8 bits\), found {length} bytes"
    with pytest.raises(InputError, match=message):
        y4m.read_yuv(path, 5, 3, frame=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "of at least 1, found 0 x 3"),
        ({"height": -1}, "of at least 1, found 5 x -1"),
        ({"depth": 16}, "depth: expected 8 or 10 bits, found 16"),
        ({"range": "tv"}, "range: .* found 'tv'"),
        ({"matrix": "rgb"}, "matrix: .* found 'rgb'"),
        ({"siting": "mpeg2"}, "siting: .* found 'mpeg2'"),
    ],
)
def test_yuv_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        y4m.read_yuv(io.BytesIO(bytes(27)), **({"width": 5, "height": 3} | arguments))


def test_yuv_pixel_limit():
    with pytest.raises(LimitError, match="at most 4095 pixels .* found 5 x 3, padded to 64 x 64"):
        y4m.read_yuv(io.BytesIO(bytes(27)), 5, 3, max_pixels=4095)
    y4m.read_yuv(io.BytesIO(bytes(27)), 5, 3, max_pixels=4096)
    with pytest.raises(LimitError, match="at most 67108864 pixels"):
        y4m.read_yuv(io.BytesIO(), 8193, 8192)
    with pytest.raises(LimitError, match="memory left"):
        y4m.read_yuv(io.BytesIO(bytes(1)), 10**9, 10**9, max_pixels=None)
    with pytest.raises(InputError, match="whole number"):
        y4m.read_yuv(io.BytesIO(bytes(1)), 10**9, 10**9, max_pixels=None, bytes_per_pixel=0)


# ---- names and streams


def test_endings():
    for name in ("a.y4m", "a.YUV", "b.png/a.Y4M", pathlib.Path("a.yuv")):
        assert files.is_planes_file(name)
    for name in ("a.png", "y4m", "a.y4m.png", "-", "a.yuv/b"):
        assert not files.is_planes_file(name)


@pytest.mark.parametrize("name", ["out.y4m", "out.Y4M", "out.yuv"])
def test_write_follows_the_ending(rng, tmp_path, name):
    planes = picture(rng)
    y4m.write(planes, tmp_path / name)
    if name.endswith("yuv"):
        assert (tmp_path / name).read_bytes() == samples(rows(planes))
    else:
        assert_is(y4m.read_y4m(tmp_path / name), rows(planes), siting="left")


@pytest.mark.parametrize("name", ["out.png", "out", "out.y4m.gz"])
def test_other_endings_are_refused(rng, tmp_path, name):
    with pytest.raises(InputError, match=r"expected a name in \.y4m \.yuv, found"):
        y4m.write(picture(rng), tmp_path / name)
    assert not os.listdir(tmp_path)


def test_standard_streams(rng, monkeypatch):
    planes = picture(rng, siting="top-left", range="full")
    for write, read in (
        (y4m.write, y4m.read_y4m),
        (y4m.write_y4m, y4m.read_y4m),
        (y4m.write_yuv, lambda source: y4m.read_yuv(source, 31, 17)),
    ):
        buffer = io.BytesIO()
        monkeypatch.setattr("sys.stdout", types.SimpleNamespace(buffer=buffer))
        write(planes, "-")
        buffer.seek(0)
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=buffer))
        assert_is(read("-"), rows(planes))
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(InputError, match="^standard input: expected a Y4M file"):
        y4m.read_y4m("-")


def test_unreadable_and_unwritable(rng, tmp_path):
    with pytest.raises(InputError, match="none.y4m: cannot be read"):
        y4m.read_y4m(tmp_path / "none.y4m")
    with pytest.raises(InputError, match="none.yuv: cannot be read"):
        y4m.read_yuv(tmp_path / "none.yuv", 2, 2)
    with pytest.raises(OSError, match="out.y4m"):
        y4m.write(picture(rng), tmp_path / "none" / "out.y4m")


def test_views_are_written_as_the_picture_they_are(rng):
    planes = picture(rng, (4, 6))
    flipped = [plane[::-1, ::-1] for plane in (planes.y, planes.cb, planes.cr)]
    names = ("y", "cb", "cr")
    buffer = io.BytesIO()
    y4m.write_yuv(dataclasses.replace(planes, **dict(zip(names, flipped, strict=True))), buffer)
    assert buffer.getvalue() == samples([plane.tolist() for plane in flipped])
