"""Picture files <-> 8-bit arrays, by Pillow.

An array is uint8 (height, width, 3) in sRGB, or (height, width) if the picture is grey. Nothing
is dropped silently: transparency is an error unless a background is named, and a change of
colour profile or depth, further frames and metadata are warned of.
"""

import io
import math
import os
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageColor

from ycc_jax.errors import InputError
from ycc_jax.pictures import files, limits
from ycc_jax.pictures.colour_profile import convert_to_srgb
from ycc_jax.pictures.image_decoding import decode_first_frame
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, LARGEST_SIDE, WRITABLE

_SAVE_OPTIONS: dict[str, dict] = {
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}

# By EXIF orientation; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(
    source: str | os.PathLike | BinaryIO,
    background: str | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    *,
    bytes_per_pixel: int = limits.READING,
) -> np.ndarray:
    """The picture as sRGB uint8 (height, width, 3), or (height, width) if it is stored as grey.

    The format is told from the content. EXIF orientation is applied, colours other than sRGB are
    converted (`colour_profile.py`), 16 bits are rounded to 8; both conversions warn. (Of JPEG 2000
    and AVIF with more than 8 bits Pillow gives 8, and does not tell.)

    Args:
      source: a path, "-" for standard input, or a binary file.
      background: colour to put behind a transparent picture, as in CSS ("white", "#ff8000").
      max_pixels: most pixels to accept, each side padded to a multiple of 64, told before any
        is decoded; None for no limit.
      bytes_per_pixel: memory that the caller will use for each of those, reading included
        (`limits`); what does not fit this machine is refused, whatever `max_pixels`.

    Raises:
      InputError: unreadable, not a picture, damaged, transparent without `background`, or in a
        colour mode that has no exact 8-bit RGB or grey form here (CMYK, LAB, 32-bit, PQ, HLG).
      LimitError: more pixels than `max_pixels`, than the memory holds, or a longer file than they
        need.
    """
    backdrop = None if background is None else _colour(background)
    max_bytes = limits.max_file_bytes(max_pixels)
    if isinstance(source, str | os.PathLike):
        name = "standard input" if source == "-" else source
        data = files.read_bytes(source, max_bytes)
    else:
        name = getattr(source, "name", "picture")
        data = files.read_stream(name, source, max_bytes)

    image, info, orientation = decode_first_frame(name, data, max_pixels, bytes_per_pixel)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    grey = image.mode in ("1", "L", "LA")
    opacity = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        opacity = image.getchannel("A")
    image = image.convert("RGB")
    if grey:
        image = image.getchannel("R")
    image = convert_to_srgb(name, image, data, info.get("icc_profile"))
    if opacity is not None and np.asarray(opacity).min() < 255:
        if backdrop is None:
            raise InputError(
                f"{name}: expected an opaque picture, found transparency; "
                "name a colour to put behind it (--background white, background='white')"
            )
        if len(set(backdrop)) > 1:
            image = image.convert("RGB")
        behind = backdrop if image.mode == "RGB" else backdrop[0]
        image = Image.composite(image, Image.new(image.mode, image.size, behind), opacity)

    metadata = {"exif": "EXIF", "icc_profile": "ICC profile", "xmp": "XMP"}
    dropped = [label for key, label in metadata.items() if info.get(key)]
    if dropped:
        warnings.warn(f"{name}: metadata is not kept ({', '.join(dropped)})", stacklevel=2)
    return np.array(image)


def output_format(path: str | os.PathLike, shape: tuple[int, ...] = (1, 1)) -> str:
    """Pillow's name of the lossless format that the file name's ending stands for; "-" is PNG.

    Args:
      path: the name.
      shape: (height, width, ...) of the picture to write.

    Raises:
      InputError: any other ending, or one of a format that has no such large pictures.
    """
    if path == "-":
        return "PNG"
    ending = os.path.splitext(path)[1].lower()
    if ending not in WRITABLE:
        raise InputError(f"{path}: expected a name in {' '.join(WRITABLE)}, found {ending!r}")
    format = WRITABLE[ending]
    if max(shape[:2]) > (largest := LARGEST_SIDE.get(format, math.inf)):
        raise InputError(
            f"{path}: expected a picture that {format} can hold, of at most {largest} pixels a "
            f"side, found {shape[1]} x {shape[0]}"
        )
    return format


def write(
    array: np.ndarray, target: str | os.PathLike | BinaryIO, format: str | None = None
) -> None:
    """Write the picture losslessly; a file appears whole or not at all.

    Args:
      array: uint8 (height, width, 3) in sRGB or (height, width).
      target: a path, "-" for standard output, or a binary file.
      format: PNG, TIFF, PPM, BMP or WEBP; None for what `output_format` says, PNG for a file.

    Raises:
      InputError: not such an array, or one that the format cannot hold.
      OSError: the file cannot be written.
    """
    array = np.asarray(array)
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] == (3,)):
        raise InputError(
            "expected a uint8 array of shape (height, width, 3) or (height, width), "
            f"found {array.dtype} {array.shape}"
        )
    if format is None:
        path = target if isinstance(target, str | os.PathLike) else "-"
        format = output_format(path, array.shape)
    if format not in WRITABLE.values():
        known = ", ".join(dict.fromkeys(WRITABLE.values()))
        raise InputError(f"expected a format of {known}, found {format!r}")
    buffer = io.BytesIO()
    try:
        Image.fromarray(array).save(buffer, format, **_SAVE_OPTIONS.get(format, {}))
    except (OSError, ValueError, SystemError) as error:
        raise InputError(
            f"expected a picture that {format} can hold, found shape {array.shape}: {error}"
        ) from error
    if isinstance(target, str | os.PathLike):
        files.write_bytes(target, buffer.getvalue())
    else:
        target.write(buffer.getvalue())


def _colour(name: str) -> tuple[int, int, int]:
    expected = "expected an opaque background colour such as 'white' or '#ff8000'"
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except ValueError as error:
        raise InputError(f"{expected}, found {name!r}") from error
    # Pillow takes rgb(999,0,0), and a colour that is not opaque itself.
    if max(red, green, blue) > 255 or opacity not in ([], [255]):
        raise InputError(f"{expected}, found {name!r}")
    return red, green, blue
