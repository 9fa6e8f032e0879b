"""The `.ycc` container, version 2: head, index of the tiles, their sections (docs/bitstream.md).

    size  field (little-endian)
          head (`head.py`)
          index; for each tile, in raster order:
    1-5     z length, y length: one varint each
    2       CRC-16 of its z section and y section
    4       CRC-32 of its decoded symbols: tells a wrong picture
    2     CRC-16 of every byte before it
          sections: of each tile z, then y; the file ends behind the last

Pure Python, so that `ycc info` needs neither NumPy nor JAX.
"""

import binascii
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ycc_jax.errors import CorruptStreamError, InputError
from ycc_jax.head import VERSION, pack_head, read_head
from ycc_jax.header import LEAST_TILE, Header, tiles_of
from ycc_jax.pictures.limits import check_pixels, check_tiles
from ycc_jax.varint import read_varint, take, varint
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS

KNOWN_CRITICAL: frozenset[str] = frozenset()
"""Names of the critical chunks that this version reads."""

_ENTRY = struct.Struct("<HI")
_LEAST_ENTRY = 2 + _ENTRY.size  # two varints of one byte
_CRC = struct.Struct("<H")


class CodedTile(NamedTuple):
    """What is coded of one tile.

    Attributes:
      z, y: its sections: the coded hyper-latent, the coded latent.
      symbols_crc: CRC-32 of its symbols, 0..2^32-1.
    """

    z: bytes
    y: bytes
    symbols_crc: int

    @property
    def size(self) -> int:
        """Bytes of both sections."""
        return len(self.z) + len(self.y)


class Stream(NamedTuple):
    """What a file holds.

    Attributes:
      header: what it says of the picture.
      tiles: in raster order, `tiles_of(header)` of them; None where one is missing or damaged.
      crc: `head_crc(header)`, which the CRC of each tile's symbols starts from.
    """

    header: Header
    tiles: list[CodedTile | None]
    crc: int


class _Entry(NamedTuple):
    """What the index says of a tile, and the offset behind that."""

    end: int
    z_bytes: int
    y_bytes: int
    crc: int
    symbols_crc: int


class _Layout(NamedTuple):
    """Where things are in a file: the index is behind the head, the sections are behind both."""

    header: Header
    head_bytes: int
    overhead: int
    z_bytes: int
    y_bytes: int

    @property
    def end(self) -> int:
        """Of the last section."""
        return self.overhead + self.z_bytes + self.y_bytes


def pack(header: Header, tiles: Sequence[CodedTile]) -> bytes:
    """The file.

    Args:
      header: of the picture.
      tiles: in raster order, as many as `tiles_of(header)` says.

    Raises:
      InputError: another number of tiles; a field is outside the range that `Header` or
        `CodedTile` states; or quality or chroma is not one that a header can carry exactly.
    """
    front = bytearray(pack_head(header))
    rows, columns = tiles_of(header)
    if len(tiles) != rows * columns:
        raise InputError(f"expected {rows} x {columns} tiles, found {len(tiles)}")
    for tile in tiles:
        if not 0 <= tile.symbols_crc < 2**32:
            raise InputError(f"expected symbols_crc from 0 to 2^32-1, found {tile.symbols_crc}")
        front += varint(len(tile.z), "z length") + varint(len(tile.y), "y length")
        front += _ENTRY.pack(_crc16(tile.z, tile.y), tile.symbols_crc)
    front += _CRC.pack(_crc16(front))
    return b"".join((front, *(section for tile in tiles for section in (tile.z, tile.y))))


def unpack(
    data: bytes,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    partial: bool = False,
    region: bool = False,
) -> Stream:
    """What a file holds; the inverse of `pack`.

    Everything that needs no model is checked here, cheapest first, and nothing is allocated
    whose size the file merely claims.

    Args:
      data: the whole file.
      max_pixels: most pixels to accept, each side padded to a multiple of 64; None for no
        limit.
      partial: take what is whole of a file that is truncated, damaged behind its index, or
        followed by other bytes.
      region: a part of the picture is wanted, whose pixels the caller counts: accept larger
        pictures, of at most `max_pixels` / 64^2 tiles.

    Raises:
      CorruptStreamError: not a `.ycc` file, another version, one with critical chunks that this
        version does not know; truncated, damaged, or followed by other bytes.
      LimitError: the picture has more than `max_pixels` pixels with padding, or more tiles than
        the memory left can list.
    """
    data = bytes(data)
    layout = _parse(data, max_pixels)
    header = layout.header
    if not partial:
        _check_size(data, layout)
    for chunk in header.chunks:
        if chunk.critical and chunk.name not in KNOWN_CRITICAL:
            raise CorruptStreamError(
                f"expected chunks that this version knows, found the critical chunk {chunk.name!r}"
            )
    if not region:
        check_pixels("stream", header.width, header.height, max_pixels)
    rows, columns = tiles_of(header)
    check_tiles("stream", rows * columns)
    tiles = list(_tiles(data, layout, partial))
    return Stream(header, tiles, zlib.crc32(memoryview(data)[: layout.head_bytes]))


def info(data: bytes) -> dict:
    """What the file says about itself, ready for JSON; decodes nothing and has no size limit.

    Args:
      data: the stream.

    Returns:
      The fields of the header and the sizes of the parts, in bytes, by name. "tile" is the side of
      the tiles in pixels or None, "tiles" their number, "chunks" a list of [name, bytes];
      "symbols_crc" is None of more tiles than one.

    Raises:
      CorruptStreamError: as `unpack`, but that it lists chunks which this version does not know.
    """
    data = bytes(data)
    layout = _parse(data, None)
    _check_size(data, layout)
    tiles = _tiles(data, layout)
    first = next(tiles)
    count = 1 + sum(1 for _ in tiles)
    header, writer = layout.header, layout.header.writer
    return {
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "channels": 1 if header.grey else 3,
        "quality": header.quality,
        "chroma": header.chroma,
        "weights_hash": header.weights_hash.hex(),
        "matrix": header.matrix,
        "range": header.range,
        "planes": header.planes,
        "depth": header.depth,
        "siting": header.siting,
        "tile": header.tile,
        "tiles": count,
        "chunks": [[chunk.name, len(chunk.data)] for chunk in header.chunks],
        "library": ".".join(map(str, writer.library)),
        "jax": ".".join(map(str, writer.jax)),
        "device": writer.device,
        "symbols_crc": f"{first.symbols_crc:08x}" if first and count == 1 else None,
        "z_bytes": layout.z_bytes,
        "y_bytes": layout.y_bytes,
        "overhead_bytes": layout.overhead,
        "file_bytes": len(data),
        "bpp": 8 * len(data) / (header.width * header.height),
    }


def _parse(data: bytes, max_pixels: int | None) -> _Layout:
    """Head and index, checked; keeps nothing of the index but sums, however long it is."""
    header, index = read_head(data)
    rows, columns = tiles_of(header)
    count = rows * columns
    if count * _LEAST_ENTRY + _CRC.size > len(data) - index:
        raise CorruptStreamError(
            f"truncated: expected an index of {rows} x {columns} tiles, found {len(data) - index} "
            "bytes"
        )
    if max_pixels is not None and count > max_pixels // LEAST_TILE**2:
        # So many take long to read, and are too large for certain.
        check_pixels("stream", header.width, header.height, max_pixels)
    z_bytes = y_bytes = 0
    for entry in _index(data, index, count):
        z_bytes, y_bytes = z_bytes + entry.z_bytes, y_bytes + entry.y_bytes
    end = entry.end  # of one tile at least
    code, z = take(data, end, _CRC.size, "checksum")
    (expected,), found = _CRC.unpack(code), _crc16(memoryview(data)[:end])
    if found != expected:
        raise CorruptStreamError(
            f"damaged: expected checksum {expected:04x}, found {found:04x} over {end} bytes"
        )
    return _Layout(header, index, z, z_bytes, y_bytes)


def _index(data: bytes, offset: int, count: int) -> Iterator[_Entry]:
    """The entries of the index."""
    for _ in range(count):
        z_bytes, offset = read_varint(data, offset, "z length")
        y_bytes, offset = read_varint(data, offset, "y length")
        code, offset = take(data, offset, _ENTRY.size, "index")
        yield _Entry(offset, z_bytes, y_bytes, *_ENTRY.unpack(code))


def _tiles(data: bytes, layout: _Layout, partial: bool = False) -> Iterator[CodedTile | None]:
    """The tiles; None, or unless `partial` an error, in place of one that is not whole."""
    rows, columns = tiles_of(layout.header)
    end = layout.overhead
    for number, entry in enumerate(_index(data, layout.head_bytes, rows * columns)):
        start, y, end = end, end + entry.z_bytes, end + entry.z_bytes + entry.y_bytes
        tile = CodedTile(data[start:y], data[y:end], entry.symbols_crc)
        found = _crc16(tile.z, tile.y)
        if end <= len(data) and found == entry.crc:
            yield tile
        elif partial:
            yield None
        else:
            raise CorruptStreamError(
                f"damaged: expected checksum {entry.crc:04x} of tile {number}, found {found:04x}"
            )


def _check_size(data: bytes, layout: _Layout) -> None:
    """That the sections end with the file."""
    if len(data) != layout.end:
        fault = "truncated" if len(data) < layout.end else "followed by other bytes"
        raise CorruptStreamError(f"{fault}: expected {layout.end} bytes, found {len(data)}")


def _crc16(*parts: bytes | bytearray | memoryview) -> int:
    """CRC-16/IBM-3740 ("CCITT-FALSE") of the parts, one behind the other."""
    crc = 0xFFFF
    for part in parts:
        crc = binascii.crc_hqx(part, crc)
    return crc
