"""The `.ycc` container, version 1: header, two coded sections, checksum (docs/bitstream.md).

    offset  size  field (little-endian)
    0       4     magic, 89 59 43 0A: a byte above 127, "YC", a line feed
    4       1     version, 1
    5       1     colour: bits 0-1 matrix, 2 range, 3 subsampling, 4 grey, 5 extension, 6-7 zero
    6       2     model id: the architecture
    8       4     weights hash: the trained weights
    12      2     quality * 512
    14      4     CRC-32 of the decoded symbols: tells drift between two machines
    18      0, 3  extension, if its bit is set: a byte of bits (0 planes, 1 ten bits, 2-3 siting,
                  4 chroma, 5-7 zero), then 2048 * log2(chroma) as int16
    ..      1-5   width, height, z length, y length: one varint (LEB128) each
    ..            z section, y section
    ..      4     CRC-32 of every byte before it

Pure Python, so that `ycc info` needs neither NumPy nor JAX.
"""

import math
import numbers
import struct
import zlib
from dataclasses import dataclass

from ycc_jax.errors import CorruptStreamError, InputError
from ycc_jax.pictures.limits import check_pixels
from ycc_jax.vocabulary import (
    DEFAULT_MAX_PIXELS,
    DEPTHS,
    MATRICES,
    RANGES,
    SITINGS,
    SUBSAMPLINGS,
)

MAGIC = b"\x89YC\n"
VERSION = 1

_FIXED = struct.Struct("<4sBBH4sHI")
_EXTENSION = struct.Struct("<Bh")
_CRC = struct.Struct("<I")
_MIN_BYTES = _FIXED.size + 4 + _CRC.size  # four one-byte varints, empty sections
_VARINT_MAX = 2**32 - 1
_QUALITY_UNIT = 512  # steps to one of quality
_CHROMA_UNIT = 2048  # steps to an octave of chroma: 0.03 %


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The picture, apart from its content.

    Attributes:
      width, height: in pixels, 1..2^32-1.
      matrix: one of MATRICES; "rgb" says the network codes RGB without conversion.
      range: "full" or "limited", the range of the network's YCbCr samples.
      grey: the decoded picture has one channel, not three.
      planes: what was encoded are 4:2:0 planes of this `matrix` and `range`, not RGB.
      depth: bits of their samples, 8 or 10.
      siting: where their chroma samples sit, one of SITINGS.
    """

    width: int
    height: int
    matrix: str = "bt601"
    range: str = "full"
    grey: bool = False
    planes: bool = False
    depth: int = 8
    siting: str = "center"


@dataclass(frozen=True, kw_only=True)
class Header(Frame):
    """What a decoder must know before it reads a section: the picture, and how it was coded.

    Attributes:
      quality: 0 (smallest file) to 100 (best picture), a value of `quantize_quality`.
      chroma: weight of chroma that the picture was coded with, a value of `quantize_chroma`; None
        if the model has no grid of gains.
      model_id: number of the architecture, 0..65535.
      weights_hash: 4 bytes that identify the trained weights.
      symbols_crc: CRC-32 of the decoded symbols, 0..2^32-1.
      subsampling: "444" or "420", the pictures that the network was made for.
    """

    quality: float
    chroma: float | None = None
    model_id: int
    weights_hash: bytes
    symbols_crc: int
    subsampling: str = "444"


def quantize_quality(quality: float) -> float:
    """The value nearest to `quality` that a header can carry (step 1/512).

    The encoder must code with this value, since it is the one the decoder will see.

    Raises:
      InputError: `quality` is not a number from 0 to 100.
    """
    return _quality_steps(quality) / _QUALITY_UNIT


def quantize_chroma(chroma: float) -> float:
    """The value nearest to `chroma` that a header can carry (1/2048 of an octave, 0.03 %).

    Raises:
      InputError: `chroma` is not a number from 2^-15 to 2^15.
    """
    return 2.0 ** (_chroma_steps(chroma) / _CHROMA_UNIT)


def pack(header: Header, z: bytes, y: bytes) -> bytes:
    """The file: `header`, the coded hyper-latent `z`, the coded latent `y`, a checksum.

    Raises:
      InputError: a field is outside the range that `Header` states, or the quality is not
        one that a header can carry exactly.
    """
    quality = _quality_steps(header.quality)
    if quality != header.quality * _QUALITY_UNIT:
        raise InputError(
            f"expected a quality from quantize_quality ({quality / _QUALITY_UNIT}), "
            f"found {header.quality}"
        )
    if len(header.weights_hash) != 4:
        raise InputError(f"expected a weights hash of 4 bytes, found {len(header.weights_hash)}")
    for name, least, most in (
        ("model_id", 0, 0xFFFF),
        ("symbols_crc", 0, 0xFFFFFFFF),
        ("width", 1, _VARINT_MAX),
        ("height", 1, _VARINT_MAX),
    ):
        value = getattr(header, name)
        if not least <= value <= most:
            raise InputError(f"expected {name} from {least} to {most}, found {value}")
    colour = (
        _number("matrix", header.matrix, MATRICES)
        | _number("range", header.range, RANGES) << 2
        | _number("subsampling", header.subsampling, SUBSAMPLINGS) << 3
        | bool(header.grey) << 4
    )
    _check_planes(header, InputError)
    extension = _pack_extension(header)
    colour |= bool(extension) << 5
    fixed = _FIXED.pack(
        MAGIC, VERSION, colour, header.model_id, header.weights_hash, quality, header.symbols_crc
    )
    sizes = b"".join(map(_varint, (header.width, header.height, len(z), len(y))))
    body = b"".join((fixed, extension, sizes, z, y))
    return body + _CRC.pack(zlib.crc32(body))


def unpack(data: bytes, max_pixels: int | None = DEFAULT_MAX_PIXELS) -> tuple[Header, bytes, bytes]:
    """The header and the z and y sections of a file; the inverse of `pack`.

    Everything that needs no model is checked here, cheapest first, and nothing is allocated
    whose size the file merely claims: magic, version, truncation, lengths, checksum, values,
    size limit.

    Args:
      data: the whole file.
      max_pixels: most pixels to accept, each side padded to a multiple of 64; None for no
        limit.

    Raises:
      CorruptStreamError: not a `.ycc` file, another version, truncated, damaged, or followed
        by other bytes.
      LimitError: the picture has more than `max_pixels` pixels with padding.
    """
    data = bytes(data)
    header, offset, z_bytes, y_bytes = _parse(data)
    check_pixels("stream", header.width, header.height, max_pixels)
    z_end = offset + z_bytes
    return header, data[offset:z_end], data[z_end : z_end + y_bytes]


def info(data: bytes) -> dict:
    """What the file says about itself, ready for JSON; decodes nothing and has no size limit.

    Raises:
      CorruptStreamError: as `unpack`.
    """
    header, offset, z_bytes, y_bytes = _parse(bytes(data))
    return {
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "channels": 1 if header.grey else 3,
        "quality": header.quality,
        "model_id": f"{header.model_id:04x}",
        "weights_hash": header.weights_hash.hex(),
        "matrix": header.matrix,
        "range": header.range,
        "subsampling": header.subsampling,
        "chroma": header.chroma,
        "planes": header.planes,
        "depth": header.depth,
        "siting": header.siting,
        "symbols_crc": f"{header.symbols_crc:08x}",
        "z_bytes": z_bytes,
        "y_bytes": y_bytes,
        "overhead_bytes": offset + _CRC.size,
        "file_bytes": len(data),
        "bpp": 8 * len(data) / (header.width * header.height),
    }


def _parse(data: bytes) -> tuple[Header, int, int, int]:
    """The header, the offset of the z section, and the lengths of the z and y sections."""
    if not data.startswith(MAGIC[: max(1, len(data))]):
        start = data[:4].hex(" ") or "an empty file"
        raise CorruptStreamError(f"expected a .ycc file ({MAGIC.hex(' ')} ...), found {start}")
    if len(data) > 4 and data[4] != VERSION:
        raise CorruptStreamError(f"expected .ycc version {VERSION}, found version {data[4]}")
    if len(data) < _MIN_BYTES:
        raise CorruptStreamError(
            f"truncated: expected at least {_MIN_BYTES} bytes, found {len(data)}"
        )
    _, _, colour, model_id, weights_hash, quality, symbols_crc = _FIXED.unpack_from(data)
    offset = _FIXED.size
    extension = bytes(_EXTENSION.size)
    if colour >> 5 & 1:
        # Long enough: four varints and the checksum are still to come.
        extension, offset = data[offset : offset + _EXTENSION.size], offset + _EXTENSION.size
    width, offset = _read_varint(data, offset, "width")
    height, offset = _read_varint(data, offset, "height")
    z_bytes, offset = _read_varint(data, offset, "z length")
    y_bytes, offset = _read_varint(data, offset, "y length")

    end = offset + z_bytes + y_bytes
    if len(data) != end + _CRC.size:
        fault = "truncated" if len(data) < end + _CRC.size else "followed by other bytes"
        raise CorruptStreamError(f"{fault}: expected {end + _CRC.size} bytes, found {len(data)}")
    (expected,) = _CRC.unpack_from(data, end)
    found = zlib.crc32(memoryview(data)[:end])
    if found != expected:
        raise CorruptStreamError(
            f"damaged: expected checksum {expected:08x}, found {found:08x} over {end} bytes"
        )

    # The checksum is right, so what is refused from here on was written wrong, not damaged.
    if width < 1 or height < 1:
        raise CorruptStreamError(f"expected a size of at least 1 x 1, found {width} x {height}")
    if colour >> 6:
        raise CorruptStreamError(f"expected 0 in the reserved colour bits, found {colour >> 6}")
    if quality > 100 * _QUALITY_UNIT:
        raise CorruptStreamError(
            f"expected a quality of at most 100, found {quality / _QUALITY_UNIT}"
        )
    header = Header(
        width=width,
        height=height,
        quality=quality / _QUALITY_UNIT,
        model_id=model_id,
        weights_hash=weights_hash,
        symbols_crc=symbols_crc,
        matrix=MATRICES[colour & 3],
        range=RANGES[colour >> 2 & 1],
        subsampling=SUBSAMPLINGS[colour >> 3 & 1],
        grey=bool(colour >> 4 & 1),
        **_parse_extension(extension, bool(colour >> 5 & 1)),
    )
    _check_planes(header, CorruptStreamError)
    return header, offset, z_bytes, y_bytes


def _pack_extension(header: Header) -> bytes:
    """The extension, empty where all its fields have their defaults."""
    flags = (
        bool(header.planes)
        | _number("depth", header.depth, DEPTHS) << 1
        | _number("siting", header.siting, SITINGS) << 2
        | (header.chroma is not None) << 4
    )
    if not flags:
        return b""
    chroma = 0 if header.chroma is None else _chroma_steps(header.chroma)
    if header.chroma is not None and quantize_chroma(header.chroma) != header.chroma:
        raise InputError(
            f"expected a chroma from quantize_chroma ({quantize_chroma(header.chroma)}), "
            f"found {header.chroma}"
        )
    return _EXTENSION.pack(flags, chroma)


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


def _parse_extension(extension: bytes, present: bool) -> dict:
    flags, chroma = _EXTENSION.unpack(extension)
    siting = flags >> 2 & 3
    if present and not flags:
        raise CorruptStreamError("expected an extension that says something, found no flags")
    if chroma and not flags >> 4 & 1:
        raise CorruptStreamError(f"expected 0 in the place of chroma, found {chroma}")
    if flags >> 5 or siting >= len(SITINGS):
        raise CorruptStreamError(f"expected 0 in the reserved extension bits, found {flags:#04x}")
    return {
        "planes": bool(flags & 1),
        "depth": DEPTHS[flags >> 1 & 1],
        "siting": SITINGS[siting],
        "chroma": 2.0 ** (chroma / _CHROMA_UNIT) if flags >> 4 & 1 else None,
    }


def _chroma_steps(chroma: float) -> int:
    if not isinstance(chroma, numbers.Real) or not 2.0**-15 <= chroma <= 2.0**15:
        raise InputError(f"expected a chroma from 2^-15 to 2^15, found {chroma!r}")
    return round(math.log2(chroma) * _CHROMA_UNIT)


def _quality_steps(quality: float) -> int:
    if not isinstance(quality, numbers.Real) or not 0 <= quality <= 100:  # NaN is neither
        raise InputError(f"expected a quality from 0 to 100, found {quality!r}")
    return round(quality * _QUALITY_UNIT)


def _number(field: str, value, values: tuple) -> int:
    if value not in values:
        known = ", ".join(map(str, values))
        raise InputError(f"expected {field} to be one of {known}, found {value!r}")
    return values.index(value)


def _varint(value: int) -> bytes:
    """`value` in groups of 7 bits, lowest first; the top bit of a byte says another follows."""
    if value > _VARINT_MAX:
        raise InputError(f"expected a section of at most {_VARINT_MAX} bytes, found {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, offset: int, field: str) -> tuple[int, int]:
    """The value and the offset behind it; only the form that `_varint` writes is accepted."""
    value = 0
    for index in range(5):
        if offset + index >= len(data):
            raise CorruptStreamError(f"truncated: expected the {field}, found the end of the file")
        byte = data[offset + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value > _VARINT_MAX:
                raise CorruptStreamError(f"expected a {field} below 2^32, found {value}")
            if byte == 0 and index:
                raise CorruptStreamError(
                    f"expected the shortest form of the {field}, found a padded one"
                )
            return value, offset + index + 1
    raise CorruptStreamError(f"expected a {field} of at most 5 bytes, found more")
