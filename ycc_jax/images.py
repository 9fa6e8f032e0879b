"""Picture files <-> 8-bit arrays, by Pillow.

An array is uint8 (height, width, 3) in sRGB, or (height, width) if the picture is grey. Nothing
is dropped silently: transparency is an error unless a background is named, and a change of
colour profile or depth, further frames and metadata are warned of.
"""

import contextlib
import io
import os
import sys
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageColor

from ycc_jax import files
from ycc_jax.bitstream import DEFAULT_MAX_PIXELS
from ycc_jax.errors import InputError, LimitError

# A list, so that no plugin that runs another program (EPS: Ghostscript) sees the file.
_READABLE = "PNG JPEG MPO WEBP TIFF PPM BMP GIF AVIF JPEG2000 QOI".split()
# All lossless: a decoded picture is written as it is.
_WRITABLE = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pnm": "PPM",
    ".bmp": "BMP",
    ".webp": "WEBP",
}
_SAVE_OPTIONS = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_adobe_deflate"}}

# EXIF tag 274; 1 is upright.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow keeps one byte of each 16-bit sample; read in the wrong byte order it keeps the other.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def read(
    source: str | os.PathLike | BinaryIO,
    background: str | None = None,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
) -> np.ndarray:
    """The picture as sRGB uint8 (height, width, 3), or (height, width) if it is stored as grey.

    The format is told from the content. EXIF orientation is applied, a colour profile other
    than sRGB is converted, 16 bits are rounded to 8; both conversions warn. (Of JPEG 2000 and AVIF
    with more than 8 bits Pillow gives 8, and does not tell.)

    Args:
        source: a path, "-" for standard input, or a binary file.
        background: colour to put behind a transparent picture, as in CSS ("white", "#ff8000").
        max_pixels: most pixels to accept, told before any is decoded; None for no limit.

    Raises:
        InputError: unreadable, not a picture, damaged, transparent without `background`, or in a
            colour mode that has no exact 8-bit RGB or grey form here (CMYK, LAB, 32-bit).
        LimitError: more than `max_pixels` pixels.
    """
    backdrop = None if background is None else _colour(background)
    if hasattr(source, "read"):
        name, data = getattr(source, "name", "picture"), source.read()
    else:
        name, data = "standard input" if source == "-" else source, files.read_bytes(source)

    image, info, orientation = _decode(name, data, max_pixels)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    grey = image.mode in ("1", "L", "LA")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    image = image.convert("RGB")
    if grey:
        image = image.getchannel("R")
    if info.get("icc_profile"):
        image = _to_srgb(name, image, info["icc_profile"])
    if alpha is not None and alpha.getextrema()[0] < 255:
        if backdrop is None:
            raise InputError(
                f"{name}: expected an opaque picture, found transparency; "
                "name a colour to put behind it (--background white, background='white')"
            )
        if len(set(backdrop)) > 1:
            image = image.convert("RGB")
        behind = backdrop if image.mode == "RGB" else backdrop[0]
        image = Image.composite(image, Image.new(image.mode, image.size, behind), alpha)

    metadata = {"exif": "EXIF", "icc_profile": "ICC profile", "xmp": "XMP"}
    dropped = [label for key, label in metadata.items() if info.get(key)]
    if dropped:
        warnings.warn(f"{name}: metadata is not kept ({', '.join(dropped)})", stacklevel=2)
    return np.array(image)


def output_format(path: str | os.PathLike) -> str:
    """Pillow's name of the lossless format that the file name's ending stands for; "-" is PNG.

    Raises:
        InputError: any other ending.
    """
    if path == "-":
        return "PNG"
    ending = os.path.splitext(path)[1].lower()
    if ending not in _WRITABLE:
        raise InputError(f"{path}: expected a name in {' '.join(_WRITABLE)}, found {ending!r}")
    return _WRITABLE[ending]


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
    is_file = hasattr(target, "write")
    if format is None:
        format = "PNG" if is_file else output_format(target)
    if format not in _WRITABLE.values():
        known = ", ".join(dict.fromkeys(_WRITABLE.values()))
        raise InputError(f"expected a format of {known}, found {format!r}")
    buffer = io.BytesIO()
    try:
        Image.fromarray(array).save(buffer, format, **_SAVE_OPTIONS.get(format, {}))
    except (OSError, ValueError, SystemError) as error:
        raise InputError(
            f"expected a picture that {format} can hold, found shape {array.shape}: {error}"
        ) from error
    if is_file:
        target.write(buffer.getvalue())
    else:
        files.write_bytes(target, buffer.getvalue())


def _decode(name, data: bytes, max_pixels: int | None) -> tuple[Image.Image, dict, int]:
    """The first frame in an 8-bit mode, its metadata, its EXIF orientation."""
    Image.init()
    formats = [format for format in _READABLE if format in Image.OPEN]
    try:
        with _pixel_limit(max_pixels):
            image = Image.open(io.BytesIO(data), formats=formats)
            frames = getattr(image, "n_frames", 1)
            raw_mode = _raw_mode(image)
            deep = image.mode.startswith("I") or ";16" in raw_mode or _peak(image) > 255
            image.load()
            result = image
            if deep:
                result = _round_to_8_bits(name, data, image, raw_mode)
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise LimitError(f"{name}: expected at most {max_pixels} pixels: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(
            f"{name}: expected a picture ({', '.join(formats)}), "
            f"found {len(data)} bytes starting with {data[:8]!r}"
        ) from error
    except Exception as error:  # decoders of hostile files raise whatever they stumble over
        raise InputError(f"{name}: expected a whole picture, found damage: {error}") from error

    if result.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise _unsupported(name, f"mode {result.mode}")
    if frames > 1:
        warnings.warn(f"{name}: only the first of {frames} pictures is coded", stacklevel=3)
    return result, image.info, orientation


def _raw_mode(image: Image.Image) -> str:
    """How samples lie in the file, as Pillow names it ("RGB;16B"); empty if the codec decides."""
    if not image.tile or image.tile[0].codec_name not in ("zip", "raw", "libtiff"):
        return ""
    args = image.tile[0].args
    return args if isinstance(args, str) else args[0]


def _peak(image: Image.Image) -> int:
    """The largest sample that a TIFF or PPM can hold; 0 for other formats, whose mode tells."""
    if image.format == "TIFF":
        return 2 ** max(image.tag_v2.get(258, (1,))) - 1
    if image.format == "PPM" and image.tile[0].codec_name.startswith("ppm"):
        return image.tile[0].args[1]
    return 0


def _round_to_8_bits(name, data: bytes, image: Image.Image, raw_mode: str) -> Image.Image:
    """The picture with samples rounded to 8 bits, where Pillow would cut them off or keep 16."""
    if "transparency" in image.info:
        raise _unsupported(name, "16 bits with a transparent colour")
    peak = 65535
    if image.mode.startswith("I;16"):
        samples = np.asarray(image, np.uint32)
        peak = 4095 if raw_mode == "I;12" else peak
    elif image.mode == "I" and image.format in ("PNG", "PPM"):  # never above 65535 in these
        samples = np.asarray(image, np.uint32)
    elif image.format == "PPM":
        samples, peak = np.asarray(image, np.uint32), 255  # this one Pillow rounds itself
    elif raw_mode[:-1] in ("RGB;16", "RGBA;16"):
        low = _reread(data, image, raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]])
        samples = np.asarray(image, np.uint32) * 256 + low
    elif raw_mode == "LA;16B":
        # Pillow makes this RGBA, whose four bytes a pixel can hold both samples unchanged.
        pairs = _reread(data, image, "RGBA").astype(np.uint32)
        samples = pairs[..., 0::2] * 256 + pairs[..., 1::2]
    else:
        raise _unsupported(name, f"mode {image.mode}, samples {raw_mode or 'of unknown layout'}")
    warnings.warn(f"{name}: samples of more than 8 bits are rounded to 8", stacklevel=4)
    return Image.fromarray(((samples * 255 + peak // 2) // peak).astype(np.uint8))


def _reread(data: bytes, image: Image.Image, raw_mode: str) -> np.ndarray:
    """The pixels as if the file had said that its samples lie as `raw_mode` says."""
    again = Image.open(io.BytesIO(data), formats=[image.format])
    tiles = []
    for tile in again.tile:
        args = raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:])
        tiles.append(tile._replace(args=args))
    again.tile = tiles
    return np.asarray(again)


def _to_srgb(name, image: Image.Image, icc: bytes) -> Image.Image:
    """The RGB or L picture in sRGB; unchanged, with a warning, if the profile is unusable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        description = ImageCms.getProfileDescription(profile).strip()
        if "srgb" in description.lower():
            return image
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, TypeError) as error:
        message = f"{name}: unusable ICC profile ignored, colours taken as sRGB: {error}"
        warnings.warn(message, stacklevel=3)
        return image
    warnings.warn(f"{name}: colours converted from {description!r} to sRGB", stacklevel=3)
    # A grey profile maps to equal R, G and B.
    return converted.getchannel("G") if image.mode == "L" else converted


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise InputError(
            f"expected a background colour such as 'white' or '#ff8000', found {name!r}"
        ) from error


def _unsupported(name, found: str) -> InputError:
    return InputError(
        f"{name}: expected an RGB or grey picture of 8 or 16 bits, found {found}; convert it "
        "first, say to an RGB PNG with an image editor or ImageMagick"
    )


@contextlib.contextmanager
def _pixel_limit(max_pixels: int | None):
    """Make Pillow's own check, done on the header, use our limit instead of its default."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            # Pillow warns above the limit and fails above twice the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
