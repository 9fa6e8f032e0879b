"""The container: what goes in comes out, and nothing damaged gets through."""

import json
import pathlib
import re
import struct
import tracemalloc
import zlib

import pytest

from ycc_jax import bitstream, vocabulary
from ycc_jax.bitstream import Header, info, pack, quantize_chroma, quantize_quality, unpack
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, YccError

HEADER = Header(
    width=300,
    height=200,
    quality=50.0,
    model_id=1,
    weights_hash=bytes.fromhex("a1b2c3d4"),
    symbols_crc=0x0BADCAFE,
    subsampling="420",
)
Z, Y = b"\xaa\xbb", b"\x01\x02\x03"


def replaced(**fields):
    return Header(**{**vars(HEADER), **fields})


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    "field, values",
    {
        "width": (1, 127, 128, 16383, 16384, 2**32 - 1),
        "height": (1, 127, 128, 16383, 16384, 2**32 - 1),
        "quality": (0.0, 1 / 512, 33.25, 100 - 1 / 512, 100.0),
        "model_id": (0, 1, 65535),
        "weights_hash": (bytes(4), b"\xff" * 4),
        "symbols_crc": (0, 2**32 - 1),
        "matrix": vocabulary.MATRICES,
        "range": vocabulary.RANGES,
        "subsampling": vocabulary.SUBSAMPLINGS,
        "grey": (False, True),
        "chroma": (None, 1.0, 2.0**-15, 2.0**15, quantize_chroma(0.025)),
        "planes": (False, True),
    }.items(),
)
def test_every_field_survives(field, values):
    for value in values:
        header = replaced(**{field: value})
        assert unpack(pack(header, Z, Y), max_pixels=None) == (header, Z, Y)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16384, 2**21])
def test_sections_of_any_length_survive(size):
    section = bytes(i * 7 & 255 for i in range(256)) * (size // 256 + 1)
    section = section[:size]
    assert unpack(pack(HEADER, section, b"")) == (HEADER, section, b"")
    assert unpack(pack(HEADER, b"", section)) == (HEADER, b"", section)


def test_bytes_like_input_is_read():
    data = pack(HEADER, Z, Y)
    assert unpack(memoryview(data)) == unpack(bytearray(data)) == (HEADER, Z, Y)


def test_overhead_of_a_photograph_is_at_most_32_bytes():
    z, y = bytes(2000), bytes(100_000)
    data = pack(replaced(width=768, height=512), z, y)
    assert len(data) - len(z) - len(y) == info(data)["overhead_bytes"] == 31


@pytest.mark.parametrize("quality", [0, 0.001, 12.3456, 50, 99.9999, 100])
def test_quantize_quality_is_near_and_stays(quality):
    carried = quantize_quality(quality)
    assert abs(carried - quality) <= 1 / 1024
    assert quantize_quality(carried) == carried
    assert unpack(pack(replaced(quality=carried), Z, Y))[0].quality == carried


@pytest.mark.parametrize("quality", [-0.001, 100.001, float("nan"), float("inf"), -float("inf")])
def test_quality_outside_the_range_is_refused(quality):
    with pytest.raises(InputError, match="from 0 to 100, found"):
        quantize_quality(quality)


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0},
        {"height": 0},
        {"width": 2**32},
        {"model_id": 65536},
        {"model_id": -1},
        {"weights_hash": b"abc"},
        {"symbols_crc": 2**32},
        {"quality": 12.3456},
        {"quality": 101},
        {"matrix": "bt470"},
        {"range": "tv"},
        {"subsampling": "422"},
    ],
)
def test_pack_refuses_what_a_header_cannot_carry(fields):
    with pytest.raises(InputError, match="expected .*, found"):
        pack(replaced(**fields), Z, Y)


def test_every_truncation_is_refused():
    data = pack(HEADER, Z, Y)
    for length in range(len(data)):
        with pytest.raises(CorruptStreamError, match="expected"):
            unpack(data[:length])


def test_every_flipped_bit_is_refused():
    data = pack(HEADER, Z, Y)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStreamError, match="expected .* found"):
            unpack(damaged)


def test_random_bytes_behind_a_good_start_give_a_typed_error():
    start = pack(HEADER, Z, Y)[:18]
    state = 1
    for length in range(200):
        tail = bytearray()
        for _ in range(length):
            state = state * 1103515245 + 12345 & 0x7FFFFFFF
            tail.append(state >> 16 & 255)
        for data in (start + tail, with_checksum(start + tail)):
            with pytest.raises(YccError):
                unpack(data)


def test_text_mode_transfer_is_refused():
    data = pack(HEADER, Z, Y)
    for damaged in (data.replace(b"\n", b"\r\n"), data[1:], bytes([9]) + data[1:]):
        with pytest.raises(CorruptStreamError):
            unpack(damaged)


def test_other_files_are_named_by_their_first_bytes():
    with pytest.raises(CorruptStreamError, match="89 50 4e 47"):
        unpack(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(CorruptStreamError, match="an empty file"):
        unpack(b"")


def test_other_version_is_told_before_anything_else():
    for data in (b"\x89YC\n\x02", b"\x89YC\n\x02" + bytes(100)):
        with pytest.raises(CorruptStreamError, match="expected .ycc version 1, found version 2"):
            unpack(data)


def test_trailing_bytes_are_refused():
    with pytest.raises(CorruptStreamError, match="followed by other bytes: expected 33 .* 34"):
        unpack(pack(HEADER, Z, Y) + b"\n")


@pytest.mark.parametrize(
    "offset, code, message",
    [
        (5, b"\x48", "reserved colour bits"),
        (12, b"\x01\xc8", "quality of at most 100"),
        (18, b"\x80\x00", "shortest form"),
        (18, b"\x00", "1 x 1"),
        (18, b"\xff\xff\xff\xff\x1f", "below 2\\^32"),
        (18, b"\xff\xff\xff\xff\xff\x01", "at most 5 bytes"),
    ],
)
def test_values_no_writer_makes_are_refused_in_spite_of_a_right_checksum(offset, code, message):
    body = bytearray(pack(HEADER, Z, Y)[:-4])
    body[offset : offset + (1 if offset == 5 else 2)] = code
    with pytest.raises(CorruptStreamError, match=message):
        unpack(with_checksum(bytes(body)))


@pytest.mark.parametrize("depth", vocabulary.DEPTHS)
@pytest.mark.parametrize("siting", vocabulary.SITINGS)
def test_what_planes_are_survives(depth, siting):
    header = replaced(planes=True, depth=depth, siting=siting, range="limited", matrix="bt2020")
    assert unpack(pack(header, Z, Y)) == (header, Z, Y)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"planes": True, "grey": True}, "expected planes in YCbCr, found grey"),
        ({"planes": True, "matrix": "rgb"}, "expected planes in YCbCr, found a matrix 'rgb'"),
        ({"depth": 10}, "of what is not planes, found 10 and center"),
        ({"siting": "left"}, "of what is not planes, found 8 and left"),
    ],
)
def test_what_excludes_each_other_is_neither_written_nor_read(fields, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        pack(replaced(**fields), Z, Y)
    with monkeypatch.context() as patch:
        patch.setattr(bitstream, "_check_planes", lambda *_: None)
        data = pack(replaced(**fields), Z, Y)
    with pytest.raises(CorruptStreamError, match=message):
        unpack(data)


def test_an_extension_has_one_form():
    body = bytearray(pack(replaced(planes=True), Z, Y)[:-4])
    for code, message in ((b"\0\0\0", "says something"), (b"\1\2\0", "in the place of chroma")):
        body[18:21] = code
        with pytest.raises(CorruptStreamError, match=message):
            unpack(with_checksum(bytes(body)))


@pytest.mark.parametrize("flags", [0x20, 0x80, 0x0C])
def test_extension_bits_no_writer_sets_are_refused(flags):
    body = bytearray(pack(replaced(planes=True), Z, Y)[:-4])
    body[18] = flags
    with pytest.raises(CorruptStreamError, match="reserved extension bits"):
        unpack(with_checksum(bytes(body)))


def test_extension_costs_three_bytes_and_only_where_it_says_something():
    assert (
        len(pack(replaced(chroma=1.0, planes=True, depth=10), Z, Y)) == len(pack(HEADER, Z, Y)) + 3
    )


def test_alpha_is_stored_to_a_third_of_a_thousandth():
    for chroma in (0.025, 0.1, 0.3, 1.0, 7.7):
        assert abs(quantize_chroma(chroma) / chroma - 1) < 2e-4
        assert quantize_chroma(quantize_chroma(chroma)) == quantize_chroma(chroma)
    for bad in (0, -1, float("nan"), "1", 1e9):
        with pytest.raises(InputError, match="expected a chroma from"):
            quantize_chroma(bad)
    with pytest.raises(InputError, match="from quantize_chroma"):
        pack(replaced(chroma=0.025), Z, Y)
    with pytest.raises(InputError, match="depth to be one of 8, 10, found 9"):
        pack(replaced(planes=True, depth=9), Z, Y)


def test_size_limit():
    data = pack(HEADER, Z, Y)
    assert unpack(data, max_pixels=320 * 256)
    with pytest.raises(LimitError, match="at most 81919 .* 300 x 200, padded to 320 x 256 = 81920"):
        unpack(data, max_pixels=320 * 256 - 1)
    huge = pack(replaced(width=2**32 - 1, height=2**32 - 1), Z, Y)
    thin = pack(replaced(width=1, height=67108864), Z, Y)
    for stream in (huge, thin):
        with pytest.raises(LimitError):
            unpack(stream)
    assert unpack(huge, max_pixels=None)[0].width == 2**32 - 1
    assert info(huge)["width"] == 2**32 - 1


def test_claimed_sizes_are_not_allocated():
    claims_4_gib = pack(HEADER, b"", b"")[:20] + b"\xc8\x01" + b"\xff\xff\xff\xff\x0f" * 2
    tracemalloc.start()
    try:
        with pytest.raises(CorruptStreamError, match="truncated: expected 8589934"):
            unpack(with_checksum(claims_4_gib))
        with pytest.raises(LimitError):
            unpack(pack(replaced(width=2**32 - 1, height=2**32 - 1), Z, Y))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_info_is_json_and_complete():
    data = pack(HEADER, Z, Y)
    fields = json.loads(json.dumps(info(data)))
    assert fields == {
        "version": 1,
        "width": 300,
        "height": 200,
        "channels": 3,
        "quality": 50.0,
        "model_id": "0001",
        "weights_hash": "a1b2c3d4",
        "matrix": "bt601",
        "range": "full",
        "subsampling": "420",
        "chroma": None,
        "planes": False,
        "depth": 8,
        "siting": "center",
        "symbols_crc": "0badcafe",
        "z_bytes": 2,
        "y_bytes": 3,
        "overhead_bytes": 28,
        "file_bytes": 33,
        "bpp": 8 * 33 / 60000,
    }


def test_documented_example_is_what_pack_writes():
    """The example is a golden file too: it changes only with the version number."""
    text = (pathlib.Path(__file__).parent.parent / "docs" / "bitstream.md").read_text("utf-8")
    (block,) = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    documented = bytes.fromhex("".join(line.split("   ")[0] for line in block.splitlines()))
    assert unpack(documented) == (HEADER, Z, Y)
    assert pack(HEADER, Z, Y) == documented
