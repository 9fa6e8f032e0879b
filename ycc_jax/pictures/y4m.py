"""4:2:0 picture files <-> `planes.Planes`: Y4M (YUV4MPEG2) and raw planar YUV.

The samples are kept as they are, no colour is converted. A file may hold a film: one frame is read,
and where there are several the caller must say which.

Y4M: the manual page yuv4mpeg(5) of MJPEGtools, with FFmpeg's tags for 10 bits (C420p10) and range
(XCOLORRANGE). It does not carry the matrix. Raw YUV carries nothing but the samples, in FFmpeg's
layouts yuv420p and yuv420p10le: Y, Cb, Cr, row by row; 10 bits in two bytes, the low one first.
"""

import os
import re
import warnings
from typing import BinaryIO

import numpy as np

from ycc_jax.errors import InputError
from ycc_jax.pictures import files, limits
from ycc_jax.pictures.planes import Planes, chroma_shape, sample_dtype
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, PLANES_SUFFIXES

# C tag -> (depth, siting), the tag that is written before its synonym. PAL-DV has Cr a line below
# Cb; like FFmpeg we take both for top-left. 10 bits have one tag for every siting.
_CHROMA = {
    "420jpeg": (8, "center"),
    "420mpeg2": (8, "left"),
    "420paldv": (8, "top-left"),
    "420p10": (10, "left"),
    "420": (8, "center"),
}
_RANGES = {"FULL": "full", "LIMITED": "limited"}


def read_y4m(
    source: str | os.PathLike | BinaryIO,
    frame: int | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    *,
    matrix: str = "bt601",
    range: str | None = None,
    bytes_per_pixel: int = limits.READING,
) -> Planes:
    """One frame of a Y4M file.

    Args:
      source: a path, "-" for standard input, or a binary file.
      frame: which one, from 0; None if the file has but one.
      max_pixels: most pixels to accept, each side padded to a multiple of 64, told from the
        header; None for no limit.
      matrix: one of `vocabulary.YCBCR_MATRICES`, which the file does not tell.
      range: "full" or "limited"; None for what the file says, limited if it says nothing.
      bytes_per_pixel: as in `images.read`.

    Raises:
      InputError: unreadable, not Y4M, damaged, not 4:2:0 in 8 or 10 bits, interlaced, or no such
        frame; or several, and none is named.
      LimitError: more pixels than `max_pixels`, than the memory holds, or an endless stream.
    """
    name, data = _read(source, max_pixels)
    header = re.match(rb"YUV4MPEG2( [^\n]*)?\n", data)
    if header is None:
        raise InputError(
            f"{name}: expected a Y4M file, whose first line is 'YUV4MPEG2 ...', "
            f"found {len(data)} bytes starting with {data[:10]!r}"
        )
    words = (header[1] or b"").decode("ascii", "replace").split()
    tags = {word[0]: word[1:] for word in words}
    extensions = dict(word[1:].partition("=")[::2] for word in words if word[0] == "X")

    width, height = (_size(name, tag, tags.get(tag)) for tag in "WH")
    # Old files name the chroma format in an extension alone.
    chroma = tags.get("C", extensions.get("YSCSS", "420jpeg").lower())
    if chroma not in _CHROMA:
        raise InputError(
            f"{name}: expected 4:2:0 with a tag of C{' C'.join(_CHROMA)}, found C{chroma}"
        )
    if tags.get("I", "?") not in ("p", "?"):
        raise InputError(f"{name}: expected progressive frames, Ip or I?, found I{tags['I']}")
    if range is None:
        stated = extensions.get("COLORRANGE", "LIMITED")
        if stated not in _RANGES:
            raise InputError(
                f"{name}: expected XCOLORRANGE=FULL or XCOLORRANGE=LIMITED, found {stated!r}; "
                "name the range"
            )
        range = _RANGES[stated]
    depth, siting = _CHROMA[chroma]

    size = _frame_bytes(name, width, height, depth, max_pixels, bytes_per_pixel)
    starts = _frame_starts(name, data, header.end(), size)
    start = starts[_choose(name, len(starts), frame)]
    return _planes(name, data, start, width, height, depth, range, matrix, siting)


def write_y4m(planes: Planes, target: str | os.PathLike | BinaryIO) -> None:
    """Write a Y4M file of one frame, 25 a second; it appears whole or not at all.

    Warns where 10 bits are not sited left: their tag, C420p10, does not tell the siting, and
    `read_y4m` takes it for left, the default of the video standards. The matrix is never told.

    Args:
      planes: the picture.
      target: a path, "-" for standard output, or a binary file.

    Raises:
      OSError: the file cannot be written.
    """
    kind = (planes.depth, planes.siting)
    chroma = next((tag for tag, known in _CHROMA.items() if known == kind), "420p10")
    if _CHROMA[chroma] != kind:
        warnings.warn(
            f"chroma is sited {planes.siting}, which Y4M cannot tell at 10 bits: "
            "readers will take it for left",
            stacklevel=2,
        )
    # No XYSCSS, which repeats the C tag: many readers refuse a line of 80 characters.
    header = (
        f"YUV4MPEG2 W{planes.width} H{planes.height} F25:1 Ip A0:0 C{chroma} "
        f"XCOLORRANGE={planes.range.upper()}\nFRAME\n"
    )
    _write(header.encode() + _samples(planes), target)


def read_yuv(
    source: str | os.PathLike | BinaryIO,
    width: int,
    height: int,
    depth: int = 8,
    frame: int | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    *,
    matrix: str = "bt601",
    range: str = "limited",
    siting: str = "left",
    bytes_per_pixel: int = limits.READING,
) -> Planes:
    """One frame of a raw planar file, yuv420p (depth 8) or yuv420p10le (depth 10).

    Args:
      source: a path, "-" for standard input, or a binary file.
      width, height: of the picture, in luma samples.
      depth, matrix, range, siting: as in `Planes`; the file tells none of them.
      frame, max_pixels, bytes_per_pixel: as in `read_y4m`.

    Raises:
      InputError: unreadable, not a whole number of frames of this size, or no such frame; or
        several, and none is named; or an argument is not one of those named.
      LimitError: more pixels than `max_pixels`, than the memory holds, or an endless stream.
    """
    if width < 1 or height < 1:
        raise InputError(f"expected a width and height of at least 1, found {width} x {height}")
    name, data = _read(source, max_pixels)
    size = _frame_bytes(name, width, height, depth, max_pixels, bytes_per_pixel)
    count, rest = divmod(len(data), size)
    if rest or not count:
        raise InputError(
            f"{name}: expected a whole number of frames of {size} bytes "
            f"({width} x {height}, {depth} bits), found {len(data)} bytes"
        )
    start = _choose(name, count, frame) * size
    return _planes(name, data, start, width, height, depth, range, matrix, siting)


def write_yuv(planes: Planes, target: str | os.PathLike | BinaryIO) -> None:
    """Write the samples alone, yuv420p or yuv420p10le; arguments and errors as in `write_y4m`."""
    _write(_samples(planes), target)


def write(planes: Planes, target: str | os.PathLike) -> None:
    """`write_y4m` or `write_yuv`, by the name's ending; "-" is Y4M.

    Raises:
      InputError: any other ending.
      OSError: the file cannot be written.
    """
    ending = ".y4m" if target == "-" else os.path.splitext(target)[1].lower()
    if ending not in PLANES_SUFFIXES:
        known = " ".join(PLANES_SUFFIXES)
        raise InputError(f"{target}: expected a name in {known}, found {ending!r}")
    if ending == ".y4m":
        write_y4m(planes, target)
    else:
        write_yuv(planes, target)


def _read(source, max_pixels):
    max_bytes = limits.max_file_bytes(max_pixels)
    if hasattr(source, "read"):
        name = getattr(source, "name", "picture")
        return name, files.read_stream(name, source, max_bytes)
    return "standard input" if source == "-" else source, files.map_bytes(source, max_bytes)


def _write(data, target):
    if hasattr(target, "write"):
        target.write(data)
    else:
        files.write_bytes(target, data)


def _size(name, tag, value):
    # Nine digits at most, zeros in front aside: Python refuses thousands, with its own error.
    if value is None or not re.fullmatch("0*[1-9][0-9]{0,8}", value):
        found = "none" if value is None else f"{tag}{value[:20]}"
        raise InputError(f"{name}: expected a tag {tag} with a size from 1, found {found}")
    return int(value.lstrip("0"))


def _frame_bytes(name, width, height, depth, max_pixels, bytes_per_pixel):
    limits.check_pixels(name, width, height, max_pixels)
    tile = limits.default_tile(width, height)
    limits.check_memory(name, width, height, bytes_per_pixel, tile)
    rows, columns = chroma_shape(height, width)
    return sample_dtype(depth).itemsize * (height * width + 2 * rows * columns)


def _frame_starts(name, data, start, size):
    """Where the samples of each frame start. A FRAME line may be longer, so there is no formula."""
    frame_line = re.compile(rb"FRAME( [^\n]*)?\n")
    starts = []
    while start < len(data):
        line = frame_line.match(data, start)
        if line is None:
            raise InputError(
                f"{name}: expected a line FRAME at byte {start}, found {data[start : start + 8]!r}"
            )
        start = line.end()
        if len(data) - start < size:
            raise InputError(
                f"{name}: expected {size} bytes in frame {len(starts)}, found {len(data) - start}"
            )
        starts.append(start)
        start += size
    return starts


def _choose(name, count, frame):
    if frame is None and count != 1:
        raise InputError(f"{name}: expected one frame, or frame=N to name it, found {count} frames")
    if frame is not None and frame not in range(count):
        raise InputError(f"{name}: expected one of {count} frames, from 0, found {frame!r}")
    return int(frame or 0)


def _planes(name, data, start, width, height, depth, range, matrix, siting):
    stored, half = sample_dtype(depth).newbyteorder("<"), chroma_shape(height, width)
    planes = []
    for shape in ((height, width), half, half):
        plane = np.frombuffer(data, stored, shape[0] * shape[1], start).reshape(shape)
        start += plane.nbytes
        planes.append(plane.astype(sample_dtype(depth)))  # a copy: `data` may be a whole film
    try:
        return Planes(*planes, depth, range, matrix, siting)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _samples(planes):
    stored = sample_dtype(planes.depth).newbyteorder("<")
    return b"".join(plane.astype(stored).tobytes() for plane in (planes.y, planes.cb, planes.cr))
