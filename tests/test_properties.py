"""Container and range coder on what nobody thought of: examples by hypothesis, always the same."""

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ycc_jax import vocabulary
from ycc_jax.bitstream import CodedTile, Stream, info, pack, unpack
from ycc_jax.entropy.range_coder import Decoder, encode
from ycc_jax.entropy.tables import TOTAL, CdfTables
from ycc_jax.errors import CorruptStreamError, YccError
from ycc_jax.head import MAGIC, VERSION, head_crc, pack_head
from ycc_jax.header import TILES, Chunk, Header, WrittenBy, tiles_of

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300)

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIDES = st.one_of(st.integers(1, 700), st.integers(1, 2**32 - 1))
UINT32 = st.integers(0, 2**32 - 1)


def versions(major, minor, patch):
    return st.tuples(st.integers(0, major), st.integers(0, minor), st.integers(0, patch))


CHUNKS = st.builds(Chunk, st.text(LETTERS, min_size=4, max_size=4), st.binary(max_size=200))
ANCILLARY = CHUNKS.filter(lambda chunk: not chunk.critical)


@st.composite
def headers(draw, chunks=ANCILLARY, max_tiles=40):
    """Any header that can be written, of at most so many tiles."""
    planes = draw(st.booleans())
    header = Header(
        width=draw(SIDES),
        height=draw(SIDES),
        matrix=draw(st.sampled_from(vocabulary.MATRICES[: 3 if planes else 4])),
        range=draw(st.sampled_from(vocabulary.RANGES)),
        grey=not planes and draw(st.booleans()),
        planes=planes,
        depth=draw(st.sampled_from(vocabulary.DEPTHS)) if planes else 8,
        siting=draw(st.sampled_from(vocabulary.SITINGS)) if planes else "center",
        quality=draw(st.integers(0, 51200)) / 512,
        chroma=draw(st.none() | st.integers(-30720, 30720).map(lambda n: 2.0 ** (n / 2048))),
        weights_hash=draw(st.binary(min_size=4, max_size=4)),
        writer=WrittenBy(
            draw(versions(15, 127, 31)),
            draw(versions(3, 127, 15)),
            draw(st.sampled_from(vocabulary.DEVICES)),
        ),
        chunks=tuple(draw(st.lists(chunks, max_size=3))),
    )
    tiled = [dataclasses.replace(header, tile=tile) for tile in TILES]
    few = [h for h in tiled if tiles_of(h)[0] * tiles_of(h)[1] <= max_tiles]
    return draw(st.sampled_from([header, *few]))


@st.composite
def files(draw, chunks=ANCILLARY):
    """A header and its tiles."""
    header = draw(headers(chunks))
    rows, columns = tiles_of(header)
    tile = st.builds(CodedTile, st.binary(max_size=20), st.binary(max_size=300), UINT32)
    count = rows * columns
    return header, draw(st.lists(tile, min_size=count, max_size=count))


@EXAMPLES
@given(files())
def test_pack_and_unpack_are_inverse(file):
    header, tiles = file
    data = pack(header, tiles)
    assert unpack(data, max_pixels=None) == Stream(header, tiles, head_crc(header))
    assert unpack(data, max_pixels=None, partial=True).tiles == tiles
    fields = info(data)
    assert fields["tiles"] == len(tiles) and fields["file_bytes"] == len(data)
    assert fields["overhead_bytes"] + fields["z_bytes"] + fields["y_bytes"] == len(data)


def check(data, checksums=True):
    """Every way to read: a typed error, or what is packed to the same bytes."""
    try:
        stream = unpack(data, max_pixels=None)
    except CorruptStreamError:
        pass
    else:
        again = pack(stream.header, stream.tiles)
        # Where any checksum was taken for right, those of the former file may have been wrong.
        assert again == data if checksums else len(again) == len(data)
        assert unpack(again, max_pixels=None) == stream
        assert info(data)["file_bytes"] == len(data)
    try:
        stream = unpack(data, partial=True)
    except YccError:
        pass
    else:
        assert data.startswith(pack_head(stream.header))
        rows, columns = tiles_of(stream.header)
        assert len(stream.tiles) == rows * columns
    try:
        fields = info(data)
    except CorruptStreamError:
        pass
    else:
        assert fields["file_bytes"] == len(data)


class Right(int):
    """A checksum that is the one expected, whatever that is."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = int.__hash__


@contextlib.contextmanager
def no_checksums():
    """All damage gets past the checksums of bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ycc_jax.bitstream._crc16", lambda *_: Right(0x1234))
        yield


def test_without_checksums_damage_gets_past_them():
    header = Header(
        width=1, height=1, quality=0.0, weights_hash=b"hash", writer=WrittenBy.of("0", "0", "cpu")
    )
    data = bytearray(pack(header, [CodedTile(b"z", b"y", 0)]))
    data[-1] ^= 1
    data[-3] ^= 1
    with no_checksums():
        assert unpack(data).tiles == [CodedTile(b"z", b"x", 0)]


STARTS = st.sampled_from([b"", MAGIC + bytes([VERSION]), MAGIC + bytes([VERSION, 5, 0])])


@EXAMPLES
@given(STARTS, st.binary(max_size=200))
def test_any_bytes_are_refused_or_understood(start, data):
    check(start + data)


@EXAMPLES
@given(STARTS, st.binary(max_size=60))
def test_any_bytes_without_checksums_are_refused_or_understood(start, data):
    with no_checksums():
        check(start + data, checksums=False)


@st.composite
def mutated(draw, chunks):
    """A file in which some bytes were changed, or taken out and others put in."""
    data = bytearray(pack(*draw(files(chunks))))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(5, len(data)))
        code = draw(st.binary(min_size=1, max_size=4))
        data[start : start + draw(st.just(len(code)) | st.integers(0, 4))] = code
    return bytes(data)


@EXAMPLES
@given(mutated(CHUNKS))
def test_mutated_files_are_refused_or_understood(data):
    check(data)


@EXAMPLES
@given(mutated(ANCILLARY))
def test_mutated_files_without_checksums_are_refused_or_understood(data):
    with no_checksums():
        check(data, checksums=False)


# ---- the range coder ---------------------------------------------------------------------------


@st.composite
def tables(draw):
    """Rows of one symbol, the escape, to nine, with counts however unequal."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        inner = st.integers(1, TOTAL - 1) | st.integers(1, 9) | st.integers(TOTAL - 9, TOTAL - 1)
        rows.append([0, *sorted(draw(st.sets(inner, max_size=8))), TOTAL])
    columns = max(map(len, rows))
    cdf = [row + [TOTAL] * (columns - len(row)) for row in rows]
    offset = st.integers(-20, 20) | st.sampled_from([-(2**29), 2**29])
    return CdfTables(
        np.array(cdf, np.int32),
        np.array([len(row) for row in rows], np.int32),
        np.array([draw(offset) for _ in rows], np.int32),
    )


@st.composite
def coded(draw):
    """Tables, integers in and far out of their rows' support, and the row of each."""
    table = draw(tables())
    distance = st.integers(-3, 12) | st.integers(1 - 2**30, 2**30 - 2)
    pairs = draw(st.lists(st.tuples(st.integers(0, table.length.size - 1), distance), max_size=80))
    indexes = np.array([row for row, _ in pairs], np.int32)
    far = np.array([distance for _, distance in pairs], np.int64)
    return table, far + table.offset[indexes], indexes


@EXAMPLES
@given(coded(), st.integers(1, 5))
def test_the_range_coder_reads_what_it_wrote_in_pieces_of_any_size(coded, pieces):
    table, values, indexes = coded
    decoder = Decoder(encode(values, indexes, table), table)
    found = [decoder.decode(part) for part in np.array_split(indexes, pieces)]
    decoder.finish()
    np.testing.assert_array_equal(np.concatenate(found), values)


def check_decoder(data, table, indexes):
    """The decoder ends, and accepts nothing but what the encoder makes of these integers."""
    decoder = Decoder(data, table)
    try:
        values = decoder.decode(indexes)
        decoder.finish()
    except CorruptStreamError:
        return
    assert values.dtype == np.int32 and encode(values, indexes, table) == data


@EXAMPLES
@given(st.binary(max_size=80), tables(), st.lists(st.integers(0, 2**16), max_size=80))
def test_the_range_decoder_ends_on_any_bytes(data, table, rows):
    check_decoder(data, table, np.array(rows, np.int32) % table.length.size)


@EXAMPLES
@given(coded(), st.integers(0, 400), st.binary(max_size=4))
def test_the_range_decoder_ends_on_damaged_streams(coded, start, code):
    table, values, indexes = coded
    data = encode(values, indexes, table)
    check_decoder(data + code, table, indexes)
    check_decoder(data[:start] + code + data[start + len(code) :], table, indexes)
