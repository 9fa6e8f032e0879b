"""What a picture or file may cost at most, told from its header before anything is allocated.

Transforms work on whole padded pictures, so what counts is the size after padding: a picture of one
pixel by 300,000 is 64 by 300,032 to them. Two bounds hold at a time: the caller's limit on pixels,
and the memory of this machine, which no argument switches off. Pure Python: a refusal is quick.
"""

import math

from ycc_jax.errors import LimitError
from ycc_jax.pictures.memory import available_memory
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, MAX_FILE_BYTES, MAX_STRIDE

READING = 32
"""Bytes that a file takes for each padded pixel while it is read.

Measured as below: 11 for a PNG of 8 bits, 28 for one of 16 bits with transparency.
"""
_BUNDLED_CHANNELS = 64

HELD = 32
"""Bytes of each padded pixel of a picture in tiles that are held while one tile after the other is
coded: samples in and out, y_hat (5 at 320 channels), and what reading took."""

LISTED = 300
"""Bytes that each tile of a file takes in lists of tiles and their places, beside its sections.

Measured with tracemalloc: 273."""

DEFAULT_TILE = 2048
MOST_UNTILED = 1 << 22
"""Padded pixels: larger pictures are coded in tiles by default."""


def encoding(channels: int = _BUNDLED_CHANNELS) -> int:
    """Bytes that `Codec.encode` takes for each padded pixel.

    Measured on a CPU under Linux with JAX 0.10.2, as the growth of the peak resident set of a fresh
    process (getrusage): 275 to 336 with the bundled model (64 channels), at 1024 x 1024,
    2048 x 2048 and 64 x 65536; 875 at 2048 x 1024 with 192 channels. What does not grow with the
    picture, half a gigabyte for the process, is left out.

    Args:
      channels: `width` of the model; of the bundled one before the model is known.
    """
    return 4 * channels + 110


def refining(channels: int = _BUNDLED_CHANNELS) -> int:
    """As `encoding`, of `Codec.encode` with an effort above 0: 953 with the bundled model, at
    1024 x 1024.

    Args:
      channels: as of `encoding`.
    """
    return 3 * encoding(channels)


def decoding(channels: int = _BUNDLED_CHANNELS) -> int:
    """As `encoding`, of `Codec.decode`: 298 to 378 with the bundled model, 835 with 192 channels.

    Args:
      channels: as of `encoding`.
    """
    return 4 * channels + 140


def check_pixels(name: object, width: int, height: int, max_pixels: int | None) -> None:
    """Raise a LimitError if the picture, padded, has more than `max_pixels` pixels (None: any).

    Args:
      name: of the picture or file, for the message.
      width, height: in pixels, from 1, without padding.
      max_pixels: the most to accept, padding included.
    """
    pixels = _padded(width) * _padded(height)
    if max_pixels is not None and pixels > max_pixels:
        raise LimitError(
            f"{name}: expected at most {max_pixels} pixels with padding, "
            f"found {_described(width, height)}; raise --max-pixels (max_pixels) to accept it"
        )


def default_tile(width: int, height: int) -> int | None:
    """Side of the tiles that a picture of this size is coded in if nobody says another one."""
    return DEFAULT_TILE if _padded(width) * _padded(height) > MOST_UNTILED else None


def check_memory(
    name: object, width: int, height: int, bytes_per_pixel: int, tile: int | None = None
) -> None:
    """Raise a LimitError if the picture needs more memory than this machine has left.

    Args:
      name: of the picture or file, for the message.
      width, height: in pixels, from 1, without padding.
      bytes_per_pixel: what each padded pixel takes: READING, `encoding()` or `decoding()`.
      tile: side of the tiles: it takes that for the pixels around a tile alone, and HELD for all.
    """
    pixels, available = _padded(width) * _padded(height), available_memory()
    needed = pixels * bytes_per_pixel
    if tile is not None:
        sides = (min(_padded(side), tile + 2 * MAX_STRIDE) for side in (width, height))
        needed = min(needed, math.prod(sides) * bytes_per_pixel + pixels * HELD)
    if available is not None and needed > available:
        raise LimitError(
            f"{name}: expected a picture that fits the {available / 1e9:.1f} GB of memory left, "
            f"found {_described(width, height)} pixels, which need about {needed / 1e9:.1f} GB"
        )


def check_tiles(name: object, tiles: int) -> None:
    """Raise a LimitError if the memory that this machine has left cannot list so many tiles."""
    needed = tiles * LISTED
    if needed < 1 << 24:
        return  # asking the system would take longer than reading such a file
    available = available_memory()
    if available is not None and needed > available:
        raise LimitError(
            f"{name}: expected a list of tiles that fits the {available / 1e9:.1f} GB of memory "
            f"left, found {tiles}, which need about {needed / 1e9:.1f} GB"
        )


def max_file_bytes(max_pixels: int | None) -> int:
    """Most bytes to read of a file that may hold `max_pixels` pixels, compressed or not.

    MAX_FILE_BYTES, and eight bytes for each pixel above DEFAULT_MAX_PIXELS; without a limit on
    pixels (None) a quarter of the memory left, so that an endless stream ends, too.
    """
    if max_pixels is None:
        return max(MAX_FILE_BYTES, (available_memory() or 0) // 4)
    return MAX_FILE_BYTES + 8 * max(0, max_pixels - DEFAULT_MAX_PIXELS)


def _padded(size: int) -> int:
    return -(-size // MAX_STRIDE) * MAX_STRIDE


def _described(width: int, height: int) -> str:
    padded = _padded(width), _padded(height)
    return f"{width} x {height}, padded to {padded[0]} x {padded[1]} = {padded[0] * padded[1]}"
