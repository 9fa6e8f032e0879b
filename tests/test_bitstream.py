"""The container: what goes in comes out, and nothing damaged gets through."""

import binascii
import json
import pathlib
import re
import struct
import tracemalloc
import zlib

import pytest

from ycc_jax import bitstream, vocabulary
from ycc_jax.bitstream import CodedTile, Stream, info, pack, unpack
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, YccError
from ycc_jax.head import head_crc, pack_head, read_head
from ycc_jax.header import (
    Chunk,
    Header,
    WrittenBy,
    quantize_chroma,
    quantize_quality,
    tiles_of,
)

HEADER = Header(
    width=300,
    height=200,
    quality=50.0,
    weights_hash=bytes.fromhex("a1b2c3d4"),
    writer=WrittenBy((0, 1, 0), (0, 10, 2), "cpu"),
)
TILE = CodedTile(b"\xaa\xbb", b"\x01\x02\x03", 0x0BADCAFE)
# All that an ordinary header leaves out.
FULL = Header(
    **{
        **vars(HEADER),
        "matrix": "bt709",
        "range": "limited",
        "planes": True,
        "depth": 10,
        "siting": "left",
        "chroma": 0.5,
        "tile": 128,
        "chunks": (Chunk("eXIf", b"\x10\x20"),),
    }
)
TILES = [CodedTile(bytes([i]) * (i % 3), bytes([64 + i]) * i, i) for i in range(6)]


def replaced(header=HEADER, **fields):
    return Header(**{**vars(header), **fields})


def crc16(data):
    return struct.pack("<H", binascii.crc_hqx(data, 0xFFFF))


def forged(head, lengths=b"\2\3"):
    """A file of any head and any lengths of its sections, under a right checksum."""
    index = lengths + crc16(TILE.z + TILE.y) + struct.pack("<I", TILE.symbols_crc)
    return head + index + crc16(head + index) + TILE.z + TILE.y


@pytest.mark.parametrize(
    "field, values",
    {
        "width": (1, 127, 128, 16383, 16384, 2**32 - 1),
        "height": (1, 127, 128, 16383, 16384, 2**32 - 1),
        "quality": (0.0, 1 / 512, 33.25, 100 - 1 / 512, 100.0),
        "weights_hash": (bytes(4), b"\xff" * 4),
        "matrix": vocabulary.MATRICES,
        "range": vocabulary.RANGES,
        "grey": (False, True),
        "chroma": (None, 1.0, 2.0**-15, 2.0**15, quantize_chroma(0.025)),
        "planes": (False, True),
        "writer": (
            *(WrittenBy((0, 0, 0), (0, 0, 0), device) for device in vocabulary.DEVICES),
            WrittenBy((15, 127, 31), (3, 127, 15), "tpu"),
        ),
        "tile": (None, *(64 << k for k in range(3, 11))),
        "chunks": (
            (),
            (Chunk("eXIf", b""),),
            (Chunk("xMPp", b"a" * 300), Chunk("iCCP", b"b"), Chunk("xMPp", b"")),
        ),
    }.items(),
)
def test_every_field_survives(field, values):
    found = set()
    for value in values:
        header = replaced(**{field: value})
        data = pack(header, [TILE])
        assert unpack(data, max_pixels=None) == Stream(header, [TILE], head_crc(header))
        found.add(data)
    assert len(found) == len(values)


@pytest.mark.parametrize("depth", vocabulary.DEPTHS)
@pytest.mark.parametrize("siting", vocabulary.SITINGS)
def test_what_planes_are_survives(depth, siting):
    header = replaced(planes=True, depth=depth, siting=siting, range="limited", matrix="bt2020")
    assert unpack(pack(header, [TILE])).header == header


def test_each_flag_has_its_bit():
    flags = {
        0x001: {"matrix": "bt709"},
        0x002: {"matrix": "bt2020"},
        0x003: {"matrix": "rgb"},
        0x004: {"range": "limited"},
        0x008: {"grey": True},
        0x010: {"planes": True},
        0x030: {"planes": True, "depth": 10},
        0x050: {"planes": True, "siting": "left"},
        0x090: {"planes": True, "siting": "top-left"},
        0x100: {"chroma": 1.0},
        0x200: {"tile": 64},
        0x400: {"chunks": (Chunk("iCCP", b""),)},
    }
    for value, fields in flags.items():
        assert struct.unpack_from("<H", pack_head(replaced(**fields)), 5) == (value,)


def test_each_part_of_the_writer_has_its_bits():
    for shift, writer in {
        0: WrittenBy((0, 0, 0), (0, 0, 0), "cpu"),
        3: WrittenBy((0, 0, 0), (0, 0, 1), "other"),
        7: WrittenBy((0, 0, 0), (0, 1, 0), "other"),
        14: WrittenBy((0, 0, 0), (1, 0, 0), "other"),
        16: WrittenBy((0, 0, 1), (0, 0, 0), "other"),
        21: WrittenBy((0, 1, 0), (0, 0, 0), "other"),
        28: WrittenBy((1, 0, 0), (0, 0, 0), "other"),
    }.items():
        assert struct.unpack_from("<I", pack_head(replaced(writer=writer)), 13) == (1 << shift,)


def test_versions_too_large_are_stored_as_the_largest():
    written = replaced(writer=WrittenBy((99, 999, 99), (99, 999, 99), "gpu"))
    stored = WrittenBy((15, 127, 31), (3, 127, 15), "gpu")
    assert unpack(pack(written, [TILE])).header.writer == stored
    assert head_crc(written) == head_crc(replaced(writer=stored))


@pytest.mark.parametrize(
    "library, jax, platform, expected",
    [
        ("0.1.0", "0.10.2", "cpu", ((0, 1, 0), (0, 10, 2), "cpu")),
        ("1.2", "0.12.0.1", "cuda", ((1, 2, 0), (0, 12, 0), "gpu")),
        ("2", "0.5.3.dev1", "rocm", ((2, 0, 0), (0, 5, 3), "gpu")),
        ("0.2.0rc1", "0.6.0+local", "gpu", ((0, 2, 0), (0, 6, 0), "gpu")),
        ("10.20.30", "1.0.0", "tpu", ((10, 20, 30), (1, 0, 0), "tpu")),
        ("0.1.0", "0.10.2", "neuron", ((0, 1, 0), (0, 10, 2), "other")),
    ],
)
def test_a_writer_is_made_of_version_strings(library, jax, platform, expected):
    assert WrittenBy.of(library, jax, platform) == expected


def test_a_version_that_is_none_is_refused():
    with pytest.raises(InputError, match="expected a version such as .* found 'unknown'"):
        WrittenBy.of("0.1.0", "unknown", "cpu")


@pytest.mark.parametrize(
    "width, height, tile, expected",
    [
        (300, 200, None, (1, 1)),
        (300, 200, 64, (4, 5)),
        (256, 128, 128, (1, 2)),
        (257, 129, 128, (2, 3)),
        (1, 1, 65536, (1, 1)),
        (2**32 - 1, 2**32 - 1, 64, (2**26, 2**26)),
    ],
)
def test_tiles_cover_the_picture(width, height, tile, expected):
    assert tiles_of(replaced(width=width, height=height, tile=tile)) == expected


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16384, 2**21])
def test_sections_of_any_length_survive(size):
    section = bytes(i * 7 & 255 for i in range(256)) * (size // 256 + 1)
    for tile in (CodedTile(section[:size], b"", 1), CodedTile(b"", section[:size], 2**32 - 1)):
        assert unpack(pack(HEADER, [tile])).tiles == [tile]


def test_all_tiles_survive_in_their_order():
    stream = unpack(pack(FULL, TILES))
    assert stream == Stream(FULL, TILES, head_crc(FULL)) and tiles_of(FULL) == (2, 3)


def test_bytes_like_input_is_read():
    data = pack(FULL, TILES)
    assert unpack(memoryview(data)) == unpack(bytearray(data)) == unpack(data)
    assert info(memoryview(data)) == info(data)


def test_a_photograph_has_34_bytes_over_its_sections():
    header, tile = replaced(width=768, height=512), CodedTile(bytes(2000), bytes(100_000), 0)
    data = pack(header, [tile])
    assert len(data) - 102_000 == info(data)["overhead_bytes"] == 34


def test_what_is_left_out_costs_nothing():
    ordinary = len(pack(HEADER, [TILE]))
    for fields, cost in (
        ({"planes": True, "depth": 10, "siting": "left"}, 0),
        ({"chroma": 1.0}, 2),
        ({"tile": 512}, 1),
        ({"chunks": (Chunk("eXIf", b"123"),)}, 1 + 4 + 1 + 3),
    ):
        assert len(pack(replaced(**fields), [TILE])) == ordinary + cost


def test_the_checksum_is_the_one_of_the_catalogues():
    """CRC-16/IBM-3740, also called CCITT-FALSE: 29B1 is its check value."""
    tile = CodedTile(b"1234", b"56789", 0)
    data = pack(HEADER, [tile])
    front = len(pack_head(HEADER))
    assert struct.unpack_from("<H", data, front + 2) == (0x29B1,)
    assert data[front + 8 : front + 10] == crc16(data[: front + 8])


def test_head_crc_covers_all_that_is_before_the_index():
    for header in (HEADER, FULL):
        head = pack_head(header)
        tiles = TILES if header.tile else [TILE]
        assert pack(header, tiles).startswith(head)
        assert head_crc(header) == zlib.crc32(head) == unpack(pack(header, tiles)).crc
        assert read_head(head) == (header, len(head))
    others = (
        {"width": 301},
        {"height": 201},
        {"grey": True},
        {"quality": 50 + 1 / 512},
        {"weights_hash": b"\xa1\xb2\xc3\xd5"},
        {"tile": 512},
        {"chunks": (Chunk("eXIf", b""),)},
    )
    assert len({head_crc(replaced(**fields)) for fields in (*others, {})}) == len(others) + 1


@pytest.mark.parametrize("quality", [0, 0.001, 12.3456, 50, 99.9999, 100])
def test_quantize_quality_is_near_and_stays(quality):
    carried = quantize_quality(quality)
    assert abs(carried - quality) <= 1 / 1024
    assert quantize_quality(carried) == carried
    assert unpack(pack(replaced(quality=carried), [TILE])).header.quality == carried


@pytest.mark.parametrize("quality", [-0.001, 100.001, float("nan"), float("inf"), "50"])
def test_quality_outside_the_range_is_refused(quality):
    with pytest.raises(InputError, match="from 0 to 100, found"):
        quantize_quality(quality)


def test_chroma_is_stored_to_a_third_of_a_thousandth():
    for chroma in (0.025, 0.1, 0.3, 1.0, 7.7):
        assert abs(quantize_chroma(chroma) / chroma - 1) < 2e-4
    for steps in range(-15 * 2048, 15 * 2048 + 1):
        assert quantize_chroma(2.0 ** (steps / 2048)) == 2.0 ** (steps / 2048)
    for bad in (0, -1, float("nan"), "1", 1e9):
        with pytest.raises(InputError, match="expected a chroma from"):
            quantize_chroma(bad)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 0}, "width from 1 to 4294967295, found 0"),
        ({"height": 0}, "height from 1"),
        ({"width": 2**32}, "width from 1 to 4294967295, found 4294967296"),
        ({"weights_hash": b"abc"}, "weights hash of 4 bytes, found 3"),
        ({"quality": 12.3456}, "from quantize_quality .* found 12.3456"),
        ({"quality": 101}, "quality from 0 to 100"),
        ({"chroma": 0.025}, "from quantize_chroma .* found 0.025"),
        ({"chroma": 0}, "chroma from 2"),
        ({"matrix": "bt470"}, "matrix to be one of .* found 'bt470'"),
        ({"range": "tv"}, "range to be one of"),
        ({"planes": True, "depth": 9}, "depth to be one of 8, 10, found 9"),
        ({"planes": True, "siting": "right"}, "siting to be one of"),
        ({"tile": 32}, "tile to be one of .* found 32"),
        ({"tile": 96}, "tile to be one of .* found 96"),
        ({"tile": 64 << 11}, "tile to be one of"),
        ({"writer": WrittenBy((0, 1, 0), (0, 10, 2), "fpga")}, "device to be one of"),
        ({"writer": WrittenBy((0, 1), (0, 10, 2), "cpu")}, "versions of three numbers"),
        ({"writer": WrittenBy((0, 1, 0), (0, -1, 2), "cpu")}, "versions of three numbers from 0"),
        ({"chunks": (Chunk("eXI", b""),)}, "name of four ASCII letters, found 'eXI'"),
        ({"chunks": (Chunk("eXI1", b""),)}, "name of four ASCII letters"),
        ({"chunks": (Chunk("éXIf", b""),)}, "name of four ASCII letters"),
        ({"chunks": (Chunk("eXIf", b""),) * 65536}, "at most 65535 chunks, found 65536"),
    ],
)
def test_pack_refuses_what_a_header_cannot_carry(fields, message):
    with pytest.raises(InputError, match=f"expected .*{message}"):
        pack(replaced(**fields), [TILE])


@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_pack_refuses_another_number_of_tiles(count):
    with pytest.raises(InputError, match=f"expected 2 x 3 tiles, found {count}"):
        pack(FULL, (TILES * 2)[:count])


@pytest.mark.parametrize("crc", [-1, 2**32])
def test_pack_refuses_a_checksum_of_another_width(crc):
    with pytest.raises(InputError, match="symbols_crc from 0 to .* found"):
        pack(HEADER, [CodedTile(b"", b"", crc)])


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
        pack(replaced(**fields), [TILE])
    with monkeypatch.context() as patch:
        patch.setattr("ycc_jax.head._check_planes", lambda *_: None)
        data = pack(replaced(**fields), [TILE])
    with pytest.raises(CorruptStreamError, match=message):
        unpack(data)


# ---- damage ------------------------------------------------------------------------------------

SMALL = [pack(HEADER, [TILE]), pack(FULL, TILES)]


@pytest.mark.parametrize("data", SMALL)
def test_every_truncation_is_refused(data):
    for length in range(len(data)):
        for read in (unpack, info):
            with pytest.raises(CorruptStreamError, match="expected .* found"):
                read(data[:length])


@pytest.mark.parametrize("data", SMALL)
def test_every_flipped_bit_is_refused(data):
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        for read in (unpack, info):
            with pytest.raises(CorruptStreamError, match="expected .* found"):
                read(damaged)


def test_random_bytes_behind_a_good_start_give_a_typed_error():
    start = pack_head(HEADER)[:17]
    state = 1
    for length in range(200):
        tail = bytearray()
        for _ in range(length):
            state = state * 1103515245 + 12345 & 0x7FFFFFFF
            tail.append(state >> 16 & 255)
        for data in (start + tail, start + tail + crc16(start + tail)):
            with pytest.raises(YccError):
                unpack(data)


def test_other_files_are_told_by_their_start():
    with pytest.raises(CorruptStreamError, match="89 50 4e 47"):
        unpack(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(CorruptStreamError, match="an empty file"):
        unpack(b"")


@pytest.mark.parametrize("version", [0, 1, 3, 255])
def test_other_versions_are_told_before_anything_else(version):
    for tail in (b"", bytes(100)):
        message = f"expected .ycc version 2, found version {version}"
        for read in (unpack, info):
            with pytest.raises(CorruptStreamError, match=message):
                read(b"\x89YC\n" + bytes([version]) + tail)


def test_trailing_bytes_are_refused():
    with pytest.raises(CorruptStreamError, match="followed by other bytes: expected 36 .* 37"):
        unpack(pack(HEADER, [TILE]) + b"\n")


@pytest.mark.parametrize(
    "offset, code, message",
    [
        (6, b"\x08", "reserved flags, found 1"),
        (6, b"\x80", "reserved flags, found 16"),
        (5, b"\xd0", "siting below 3, found 3"),
        (5, b"\x18", "planes in YCbCr, found grey"),
        (11, b"\x01\xc8", "quality of at most 100"),
        (13, b"\x04", "device of at most 3, found 4"),
        (17, b"\x80\x00", "shortest form of the width"),
        (17, b"\x00", "at least 1 x 1"),
        (17, b"\xff\xff\xff\xff\x1f", "width below 2\\^32"),
        (17, b"\xff\xff\xff\xff\xff\x01", "width of at most 5 bytes"),
    ],
)
def test_values_no_writer_makes_are_refused_in_spite_of_a_right_checksum(offset, code, message):
    head = bytearray(pack_head(HEADER))
    head[offset : offset + len(code) if offset < 17 else offset + 2] = code
    for read in (unpack, info):
        with pytest.raises(CorruptStreamError, match=f"expected .*{message}"):
            read(forged(bytes(head)))


@pytest.mark.parametrize(
    "flags, code, message",
    [
        (0x100, b"\x01\x78", "chroma from -30720 to 30720 steps, found 30721"),
        (0x100, b"\xff\x87", "chroma from -30720 to 30720 steps, found -30721"),
        (0x200, b"\x0b", "tile exponent of at most 10, found 11"),
        (0x200, b"\xff", "tile exponent of at most 10, found 255"),
    ],
)
def test_fields_that_are_there_sometimes_are_checked(flags, code, message):
    head = pack_head(HEADER)
    head = head[:5] + struct.pack("<H", flags) + head[7:17] + code + head[17:]
    with pytest.raises(CorruptStreamError, match=f"expected a {message}"):
        unpack(forged(head))


@pytest.mark.parametrize(
    "lengths, message",
    [
        (b"\x82\x00\x03", "shortest form of the z length"),
        (b"\x02\x83\x00", "shortest form of the y length"),
        (b"\xff\xff\xff\xff\x1f\x03", "z length below 2\\^32"),
        (b"\xff\xff\xff\xff\xff\x01\x03", "z length of at most 5 bytes"),
    ],
)
def test_lengths_have_one_form(lengths, message):
    with pytest.raises(CorruptStreamError, match=message):
        unpack(forged(pack_head(HEADER), lengths))


# ---- chunks ------------------------------------------------------------------------------------


def test_the_case_of_its_first_letter_says_whether_a_chunk_is_critical():
    assert Chunk("ALPH", b"").critical and Chunk("Alph", b"").critical
    assert not Chunk("eXIf", b"").critical and not Chunk("aLPH", b"").critical


def test_unknown_critical_chunks_are_refused_and_shown(monkeypatch):
    data = pack(replaced(chunks=(Chunk("eXIf", b"12"), Chunk("ALPH", b"345"))), [TILE])
    message = "expected chunks that this version knows, found the critical chunk 'ALPH'"
    for partial in (False, True):
        with pytest.raises(CorruptStreamError, match=message):
            unpack(data, partial=partial)
    assert info(data)["chunks"] == [["eXIf", 2], ["ALPH", 3]]
    monkeypatch.setattr(bitstream, "KNOWN_CRITICAL", frozenset({"ALPH"}))
    assert unpack(data).header.chunks[1] == Chunk("ALPH", b"345")


def test_a_damaged_file_is_not_taken_for_one_of_a_later_version():
    """One bit turns eXIf into a critical chunk."""
    data = pack(replaced(chunks=(Chunk("eXIf", b"12"),)), [TILE])
    with pytest.raises(CorruptStreamError, match="damaged: expected checksum"):
        unpack(data.replace(b"eXIf", b"EXIf"))


@pytest.mark.parametrize(
    "code, message",
    [
        (b"\x00", "1 to 65535 chunks, found 0"),
        (b"\x80\x80\x04", "1 to 65535 chunks, found 65536"),
        (b"\x81\x00", "shortest form of the number of chunks"),
        (b"\x01eXI1\x00", "name of four letters, found b'eXI1'"),
        (b"\x01eX\xe9f\x00", "name of four letters"),
        (b"\x01eXIf\x80\x00", "shortest form of the length of a chunk"),
        (b"\x01eXIf\xff\xff\xff\xff\x0f", "expected 4294967295 bytes of the chunk eXIf, found"),
        (b"\x01eXIf\xff\xff\xff\xff\x1f", "length of a chunk below 2\\^32"),
        (b"\xff\xff\x03", "truncated|four letters"),
    ],
)
def test_chunks_no_writer_makes_are_refused(code, message):
    head = pack_head(HEADER)
    head = head[:5] + struct.pack("<H", 0x400) + head[7:] + code
    for read in (unpack, info):
        with pytest.raises(CorruptStreamError, match=message):
            read(forged(head))


# ---- parts of a file ---------------------------------------------------------------------------


def test_partial_takes_the_tiles_that_are_whole():
    data = pack(FULL, TILES)
    assert unpack(data, partial=True) == unpack(data)
    offset = info(data)["overhead_bytes"]
    for number, tile in enumerate(TILES):
        for bit in range(8 * len(tile.z + tile.y)):
            damaged = bytearray(data)
            damaged[offset + bit // 8] ^= 1 << bit % 8
            expected = [*TILES[:number], None, *TILES[number + 1 :]]
            assert unpack(damaged, partial=True) == Stream(FULL, expected, head_crc(FULL))
            with pytest.raises(CorruptStreamError, match=f"damaged: .* of tile {number}, found"):
                unpack(damaged)
        offset += len(tile.z + tile.y)
    assert offset == len(data)


def test_partial_takes_what_is_there_of_a_truncated_file():
    data = pack(FULL, TILES)
    overhead = info(data)["overhead_bytes"]
    for length in range(overhead):
        with pytest.raises(CorruptStreamError):
            unpack(data[:length], partial=True)
    for length in range(overhead, len(data)):
        ends = [overhead + sum(len(t.z + t.y) for t in TILES[: i + 1]) for i in range(len(TILES))]
        expected = [t if end <= length else None for t, end in zip(TILES, ends, strict=True)]
        # The first tile has no bytes, so nothing of it can be missing.
        assert unpack(data[:length], partial=True).tiles == expected and expected[0] == TILES[0]


def test_partial_does_not_take_a_shorter_tile_of_the_same_checksum():
    cut = forged(pack_head(HEADER), b"\x02\x05")  # two bytes of y are missing
    assert unpack(cut, partial=True).tiles == [None]


def test_partial_ignores_what_follows_and_refuses_a_damaged_head_or_index():
    data = pack(FULL, TILES)
    assert unpack(data + b"\n", partial=True) == unpack(data)
    for bit in range(8 * info(data)["overhead_bytes"]):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStreamError):
            unpack(damaged, partial=True)


# ---- what a file may cost ----------------------------------------------------------------------


def test_size_limit():
    data = pack(HEADER, [TILE])
    assert unpack(data, max_pixels=320 * 256)
    with pytest.raises(LimitError, match="at most 81919 .* 300 x 200, padded to 320 x 256 = 81920"):
        unpack(data, max_pixels=320 * 256 - 1)
    huge = pack(replaced(width=2**32 - 1, height=2**32 - 1), [TILE])
    thin = pack(replaced(width=1, height=67108864), [TILE])
    for stream in (huge, thin):
        for partial in (False, True):
            with pytest.raises(LimitError):
                unpack(stream, partial=partial)
    assert unpack(huge, max_pixels=None).header.width == 2**32 - 1
    assert info(huge)["width"] == 2**32 - 1


@pytest.fixture
def frugal():
    """What a test, and threads of the runner, take is below 40 kB: the claims are of gigabytes."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000


def test_claimed_lengths_are_not_allocated(frugal):
    claims_8_gib = forged(pack_head(HEADER), b"\xff\xff\xff\xff\x0f" * 2)
    for read in (unpack, info):
        with pytest.raises(CorruptStreamError, match="truncated: expected 8589934"):
            read(claims_8_gib)
    assert unpack(claims_8_gib, partial=True).tiles == [None]


@pytest.mark.parametrize("tile", [64, 65536])
def test_claimed_tiles_are_not_counted(tile, frugal):
    huge = forged(pack_head(replaced(width=2**32 - 1, height=2**32 - 1, tile=tile)))
    side = 2**32 // tile
    for read in (unpack, info, lambda data: unpack(data, None, True)):
        with pytest.raises(CorruptStreamError, match=f"an index of {side} x {side} tiles, found"):
            read(huge)


def test_an_index_longer_than_the_limit_allows_is_not_read(monkeypatch):
    """All that it claims is there, eight bytes a tile."""
    data = pack_head(replaced(width=2048 * 64, height=1024 * 64, tile=64)) + bytes(2**24 + 2)
    monkeypatch.setattr(bitstream, "_index", None)
    with pytest.raises(LimitError, match="found 131072 x 65536"):
        unpack(data)


def test_an_index_takes_no_memory_until_it_is_known_to_be_right(frugal):
    for read in (unpack, info):
        with pytest.raises(CorruptStreamError, match="damaged"):
            read(LONG)


LONG = pack_head(replaced(width=128 * 64, height=128 * 64, tile=64)) + bytes(8 * 2**14 + 2)


# ---- info --------------------------------------------------------------------------------------


def test_info_is_json_and_complete():
    data = pack(HEADER, [TILE])
    fields = json.loads(json.dumps(info(data)))
    assert fields == {
        "version": 2,
        "width": 300,
        "height": 200,
        "channels": 3,
        "quality": 50.0,
        "chroma": None,
        "weights_hash": "a1b2c3d4",
        "matrix": "bt601",
        "range": "full",
        "planes": False,
        "depth": 8,
        "siting": "center",
        "tile": None,
        "tiles": 1,
        "chunks": [],
        "library": "0.1.0",
        "jax": "0.10.2",
        "device": "cpu",
        "symbols_crc": "0badcafe",
        "z_bytes": 2,
        "y_bytes": 3,
        "overhead_bytes": 31,
        "file_bytes": 36,
        "bpp": 8 * 36 / 60000,
    }


def test_info_adds_up_over_tiles():
    data = pack(FULL, TILES)
    fields = json.loads(json.dumps(info(data)))
    assert (fields["tile"], fields["tiles"], fields["symbols_crc"]) == (128, 6, None)
    assert fields["z_bytes"] == sum(len(tile.z) for tile in TILES) == 6
    assert fields["y_bytes"] == sum(len(tile.y) for tile in TILES) == 15
    assert fields["overhead_bytes"] + 6 + 15 == fields["file_bytes"] == len(data)
    assert (fields["chroma"], fields["chunks"]) == (0.5, [["eXIf", 2]])
    assert info(pack(replaced(grey=True), [TILE]))["channels"] == 1


EXAMPLES = [
    (HEADER, [TILE]),
    (
        replaced(chroma=0.25, tile=256, chunks=(Chunk("eXIf", b"MM\0*"),), grey=True),
        [TILE, CodedTile(b"\xcc", b"", 0xDEADBEEF)],
    ),
]


def test_documented_examples_are_what_pack_writes():
    """The examples are golden files too: they change only with the version number."""
    text = (pathlib.Path(__file__).parent.parent / "docs" / "bitstream.md").read_text("utf-8")
    blocks = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    for (header, tiles), block in zip(EXAMPLES, blocks, strict=True):
        documented = bytes.fromhex("".join(line.split("   ")[0] for line in block.splitlines()))
        assert pack(header, tiles) == documented
        assert unpack(documented) == Stream(header, tiles, head_crc(header))
