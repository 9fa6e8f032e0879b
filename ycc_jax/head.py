"""The head of a `.ycc` file, version 2: the bytes of a header, and back (docs/bitstream.md).

    offset  size  field (little-endian)
    0       4     magic, 89 59 43 0A: a byte above 127, "YC", a line feed
    4       1     version, 2
    5       2     flags: bits 0-1 matrix, 2 range, 3 grey, 4 planes, 5 ten bits, 6-7 siting,
                  8 chroma, 9 tiles, 10 chunks, 11-15 zero
    7       4     weights hash: the model
    11      2     quality * 512
    13      4     writer: bits 0-2 device; of JAX 3-6 patch, 7-13 minor, 14-15 major;
                  of the library 16-20 patch, 21-27 minor, 28-31 major
    17      0, 2  2048 * log2(chroma) as int16, if its flag is set
    ..      0, 1  tile exponent k, if the flag of tiles is set: their sides are 64 << k pixels
    ..      1-5   width, height: one varint (LEB128) each
    ..            chunks, if their flag is set: a varint, how many; of each a name of four letters,
                  a varint, its length, and as many bytes

Fields have one form each, so that equal headers have equal bytes, and other bytes are refused.
"""

import math
import struct
import zlib

from ycc_jax.errors import CorruptStreamError, InputError
from ycc_jax.header import (
    CHROMA_UNIT,
    QUALITY_UNIT,
    TILES,
    Chunk,
    Header,
    WrittenBy,
    quantize_chroma,
    quantize_quality,
)
from ycc_jax.varint import VARINT_MAX, read_varint, take, varint
from ycc_jax.vocabulary import DEPTHS, DEVICES, MATRICES, RANGES, SITINGS

MAGIC = b"\x89YC\n"
VERSION = 2
MAX_CHUNKS = 2**16 - 1

_FIXED = struct.Struct("<4sBH4sHI")
_CHROMA = struct.Struct("<h")
_CHROMA_MAX = 15 * CHROMA_UNIT
_WRITER_BITS = (3, 4, 7, 2, 5, 7, 4)  # lowest first: device; patch, minor, major of both versions


def head_crc(header: Header) -> int:
    """CRC-32 of the head, which the checksum of each tile's symbols starts from.

    Raises:
      InputError: as `pack_head`.
    """
    return zlib.crc32(pack_head(header))


def pack_head(header: Header) -> bytes:
    """The head's bytes.

    Raises:
      InputError: a field is outside the range that `Header` states, or quality or chroma is not
        one that a header can carry exactly.
    """
    _check_exact("quality", header.quality, quantize_quality)
    if len(header.weights_hash) != 4:
        raise InputError(f"expected a weights hash of 4 bytes, found {len(header.weights_hash)}")
    _check_planes(header, InputError)
    flags = (
        _number("matrix", header.matrix, MATRICES)
        | _number("range", header.range, RANGES) << 2
        | bool(header.grey) << 3
        | bool(header.planes) << 4
        | _number("depth", header.depth, DEPTHS) << 5
        | _number("siting", header.siting, SITINGS) << 6
        | (header.chroma is not None) << 8
        | (header.tile is not None) << 9
        | bool(header.chunks) << 10
    )
    quality, writer = round(header.quality * QUALITY_UNIT), _pack_writer(header.writer)
    head = bytearray(_FIXED.pack(MAGIC, VERSION, flags, header.weights_hash, quality, writer))
    if header.chroma is not None:
        _check_exact("chroma", header.chroma, quantize_chroma)
        head += _CHROMA.pack(round(math.log2(header.chroma) * CHROMA_UNIT))
    if header.tile is not None:
        head.append(_number("tile", header.tile, TILES))
    for side in ("width", "height"):
        pixels = getattr(header, side)
        if not 1 <= pixels <= VARINT_MAX:
            raise InputError(f"expected {side} from 1 to {VARINT_MAX}, found {pixels}")
        head += varint(pixels, side)
    return bytes(head + _pack_chunks(header.chunks))


def read_head(data: bytes) -> tuple[Header, int]:
    """The header that a file starts with, and the offset behind its head; the inverse of
    `pack_head`, for the bytes accepted are those that it makes.

    Raises:
      CorruptStreamError: not a `.ycc` file, another version, truncated, or a value that no writer
        makes.
    """
    if not data.startswith(MAGIC[: max(1, len(data))]):
        start = data[:4].hex(" ") or "an empty file"
        raise CorruptStreamError(f"expected a .ycc file ({MAGIC.hex(' ')} ...), found {start}")
    if len(data) > 4 and data[4] != VERSION:
        raise CorruptStreamError(f"expected .ycc version {VERSION}, found version {data[4]}")
    fixed, offset = take(data, 0, _FIXED.size, "fixed fields")
    _, _, flags, weights_hash, quality, writer = _FIXED.unpack(fixed)
    if flags >> 11:
        raise CorruptStreamError(f"expected 0 in the reserved flags, found {flags >> 11}")
    if flags >> 6 & 3 >= len(SITINGS):
        raise CorruptStreamError(f"expected a siting below {len(SITINGS)}, found {flags >> 6 & 3}")
    if quality > 100 * QUALITY_UNIT:
        raise CorruptStreamError(
            f"expected a quality of at most 100, found {quality / QUALITY_UNIT}"
        )
    chroma = tile = None
    if flags >> 8 & 1:
        code, offset = take(data, offset, _CHROMA.size, "chroma")
        (steps,) = _CHROMA.unpack(code)
        if abs(steps) > _CHROMA_MAX:
            raise CorruptStreamError(
                f"expected a chroma from {-_CHROMA_MAX} to {_CHROMA_MAX} steps, found {steps}"
            )
        chroma = 2.0 ** (steps / CHROMA_UNIT)
    if flags >> 9 & 1:
        (exponent,), offset = take(data, offset, 1, "tile exponent")
        if exponent >= len(TILES):
            raise CorruptStreamError(
                f"expected a tile exponent of at most {len(TILES) - 1}, found {exponent}"
            )
        tile = TILES[exponent]
    width, offset = read_varint(data, offset, "width")
    height, offset = read_varint(data, offset, "height")
    if width < 1 or height < 1:
        raise CorruptStreamError(f"expected a size of at least 1 x 1, found {width} x {height}")
    chunks: tuple[Chunk, ...] = ()
    if flags >> 10 & 1:
        chunks, offset = _read_chunks(data, offset)
    header = Header(
        width=width,
        height=height,
        matrix=MATRICES[flags & 3],
        range=RANGES[flags >> 2 & 1],
        grey=bool(flags >> 3 & 1),
        planes=bool(flags >> 4 & 1),
        depth=DEPTHS[flags >> 5 & 1],
        siting=SITINGS[flags >> 6 & 3],
        quality=quality / QUALITY_UNIT,
        chroma=chroma,
        weights_hash=weights_hash,
        writer=_read_writer(writer),
        tile=tile,
        chunks=chunks,
    )
    _check_planes(header, CorruptStreamError)
    return header, offset


def _pack_chunks(chunks: tuple[Chunk, ...]) -> bytes:
    if not chunks:
        return b""
    if len(chunks) > MAX_CHUNKS:
        raise InputError(f"expected at most {MAX_CHUNKS} chunks, found {len(chunks)}")
    out = bytearray(varint(len(chunks), "number of chunks"))
    for name, payload in chunks:
        if len(name) != 4 or not (name.isascii() and name.isalpha()):
            raise InputError(f"expected a chunk's name of four ASCII letters, found {name!r}")
        out += name.encode() + varint(len(payload), f"length of chunk {name}") + payload
    return bytes(out)


def _read_chunks(data: bytes, offset: int) -> tuple[tuple[Chunk, ...], int]:
    count, offset = read_varint(data, offset, "number of chunks")
    if not 1 <= count <= MAX_CHUNKS:
        raise CorruptStreamError(f"expected 1 to {MAX_CHUNKS} chunks, found {count}")
    chunks = []
    for _ in range(count):
        name, offset = take(data, offset, 4, "name of a chunk")
        if not name.isalpha():  # of bytes: ASCII
            raise CorruptStreamError(f"expected a chunk's name of four letters, found {name!r}")
        size, offset = read_varint(data, offset, "length of a chunk")
        payload, offset = take(data, offset, size, f"chunk {name.decode()}")
        chunks.append(Chunk(name.decode(), payload))
    return tuple(chunks), offset


def _pack_writer(writer: WrittenBy) -> int:
    parts = (_number("device", writer.device, DEVICES), *writer.jax[::-1], *writer.library[::-1])
    if len(writer.jax) != 3 or len(writer.library) != 3 or min(parts) < 0:
        raise InputError(
            "expected versions of three numbers from 0, found "
            f"{tuple(writer.library)} and {tuple(writer.jax)}"
        )
    number = shift = 0
    for part, bits in zip(parts, _WRITER_BITS, strict=True):
        number |= min(part, (1 << bits) - 1) << shift
        shift += bits
    return number


def _read_writer(number: int) -> WrittenBy:
    parts = []
    for bits in _WRITER_BITS:
        parts.append(number & (1 << bits) - 1)
        number >>= bits
    device, jax_patch, jax_minor, jax_major, patch, minor, major = parts
    if device >= len(DEVICES):
        raise CorruptStreamError(f"expected a device of at most {len(DEVICES) - 1}, found {device}")
    return WrittenBy((major, minor, patch), (jax_major, jax_minor, jax_patch), DEVICES[device])


def _check_planes(header: Header, error: type[Exception]) -> None:
    """What planes exclude, and what only planes have."""
    if header.planes and (header.matrix == "rgb" or header.grey):
        what = "grey" if header.grey else "a matrix 'rgb'"
        raise error(f"expected planes in YCbCr, found {what}")
    if not header.planes and (header.depth != 8 or header.siting != "center"):
        raise error(
            "expected depth 8 and siting center of what is not planes, found "
            f"{header.depth} and {header.siting}"
        )


def _check_exact(field: str, value: float, quantize) -> None:
    if quantize(value) != value:
        raise InputError(
            f"expected a {field} from {quantize.__name__} ({quantize(value)}), found {value}"
        )


def _number(field: str, value, values: tuple) -> int:
    if value not in values:
        known = ", ".join(map(str, values))
        raise InputError(f"expected {field} to be one of {known}, found {value!r}")
    return values.index(value)
