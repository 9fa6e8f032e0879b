"""What `fuzz.py` does to container and range coder; pure Python and NumPy, without JAX."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ycc_jax import bitstream
from ycc_jax.bitstream import CodedTile
from ycc_jax.entropy import range_coder
from ycc_jax.entropy.tables import gaussian_tables
from ycc_jax.errors import CorruptStreamError, LimitError, YccError
from ycc_jax.head import pack_head, read_head
from ycc_jax.header import Chunk, Header, WrittenBy, tiles_of
from ycc_jax.varint import read_varint, take

MAX_PIXELS = 6 * 64 * 64
OUTCOMES: collections.Counter[str] = collections.Counter()


def outcome(function, *args, **kwargs):
    """What it returns, or its `YccError`."""
    try:
        found = function(*args, **kwargs)
        OUTCOMES[f"{function.__name__}: done"] += 1
    except YccError as error:
        found = error
        OUTCOMES[f"{function.__name__}: {type(error).__name__}"] += 1
    return found


def repaired(data: bytes, hashes: tuple[bytes, ...] = ()) -> bytes:
    """A file whose head and index can be read, with the checksums of bytes that it should have.

    Lengths beyond the end are cut, and the last section takes what is left over.

    Args:
      hashes: weights hashes; the head's becomes the one that its first byte counts to.
    """
    try:
        header, offset = read_head(data)
        rows, columns = tiles_of(header)
        entries = []
        for _ in range(min(rows * columns, len(data))):
            z, offset = read_varint(data, offset, "z length")
            y, offset = read_varint(data, offset, "y length")
            code, offset = take(data, offset, 6, "index")
            entries.append((z, y, int.from_bytes(code[2:], "little")))
        _, offset = take(data, offset, 2, "checksum")
    except CorruptStreamError:
        return data
    tiles = []
    for z, y, crc in entries:
        end = offset + z + y if len(tiles) + 1 < len(entries) else len(data)
        tiles.append(CodedTile(data[offset : offset + z], data[offset + z : end], crc))
        offset += z + y
    if hashes:
        known = hashes[header.weights_hash[0] % len(hashes)]
        header = dataclasses.replace(header, weights_hash=known)
    return bitstream.pack(header, tiles)


def container(_folder: Path) -> tuple[Callable[[bytes], None], Iterator[bytes]]:
    """The target of that name, and files to start from."""
    return check, files()


def check(data: bytes) -> None:
    """Raises if container or range coder do with these bytes what they must not."""
    for stream in {data, repaired(data)}:
        _read(stream)
    _range_decoder(data, slice(0, 64))


def _read(data: bytes) -> None:
    whole, limited, partial = (
        outcome(bitstream.unpack, data, *how) for how in ((None,), (MAX_PIXELS,), (None, True))
    )
    fields = outcome(bitstream.info, data)
    if isinstance(whole, bitstream.Stream):
        assert bitstream.pack(whole.header, whole.tiles) == data
        assert partial == whole and isinstance(fields, dict)
        assert limited == whole or isinstance(limited, LimitError)
        for tile in whole.tiles:
            _range_decoder(tile.z, slice(3, 4))
            _range_decoder(tile.y, slice(0, 64))
    if isinstance(fields, dict):
        assert fields["overhead_bytes"] + fields["z_bytes"] + fields["y_bytes"] == len(data)
    if isinstance(partial, bitstream.Stream):
        assert data.startswith(pack_head(partial.header))
        rows, columns = tiles_of(partial.header)
        assert len(partial.tiles) == rows * columns and 8 * len(partial.tiles) < len(data)


@functools.cache
def _tables():
    return gaussian_tables()


def _range_decoder(data: bytes, rows: slice) -> None:
    """Reads symbols of these rows of the tables, again and again, in pieces."""
    tables = _tables()
    indexes = np.resize(np.arange(64, dtype=np.int32)[rows], 16 + 2 * len(data))
    decoder = range_coder.Decoder(data, tables, "native")

    def decode():
        values = np.concatenate([decoder.decode(indexes[:9]), decoder.decode(indexes[9:])])
        decoder.finish()
        return values

    values = outcome(decode)
    if not isinstance(values, YccError):
        assert range_coder.encode(values, indexes, tables, "native") == data


def files() -> Iterator[bytes]:
    """Files of made-up symbols."""
    rng = np.random.default_rng(0)
    writer = WrittenBy.of("0.1.0", "0.10.2", "cpu")
    chunks = (Chunk("eXIf", b"MM\0*"), Chunk("QMAP", b""))
    kinds = (
        dict(width=70, height=130, tile=64, chroma=0.25),
        dict(width=1, height=1, matrix="rgb", grey=True, chunks=chunks[:1]),
        dict(width=300, height=64, tile=128, planes=True, depth=10, siting="left"),
        dict(width=2**32 - 1, height=2**31, range="limited", chunks=chunks),
    )
    for kind in kinds:
        header = Header(quality=50.0, weights_hash=b"hash", writer=writer, **kind)
        tiles = []
        for _ in range(np.prod(tiles_of(header))):
            indexes = np.resize(np.arange(64), rng.integers(90))
            values = np.round(rng.normal(0, 1.2**indexes)).astype(int)
            y = range_coder.encode(values, indexes, _tables(), "native")
            z = range_coder.encode(values[3:4], indexes[3:4], _tables(), "native")
            tiles.append(CodedTile(z, y, 7))
        yield bitstream.pack(header, tiles)
