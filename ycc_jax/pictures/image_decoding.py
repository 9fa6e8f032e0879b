"""The bytes of a picture file -> a Pillow image in an 8-bit mode, or an error that says why not.

The file may be hostile: only the decoders of `image_opening.py` see it, the limits hold before one
of them runs, and what they raise becomes an `InputError`. 16 bits are rounded to 8: of 16-bit
colour Pillow keeps one byte of each sample, so such a file is decoded a second time for the other.
"""

import io
import sys
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from ycc_jax.errors import InputError, LimitError, YccError
from ycc_jax.pictures.image_opening import open_image
from ycc_jax.pictures.limits import check_memory, check_pixels, default_tile

_ORIENTATION_TAG = 0x0112  # of EXIF; 1 is upright
_BITS_PER_SAMPLE_TAG = 258  # of TIFF
# Pillow keeps one byte of each 16-bit sample; read in the wrong byte order it keeps the other.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def decode_first_frame(
    name, data: bytes, max_pixels: int | None, bytes_per_pixel: int
) -> tuple[Image.Image, dict, int]:
    """The first frame in an 8-bit mode, its metadata, its EXIF orientation.

    Warnings name the caller's caller, which is that of `images.read`.

    Args:
      name: of the file, for messages.
      data: its content.
      max_pixels, bytes_per_pixel: as in `images.read`.

    Raises:
      InputError: not a picture, damaged, or in a mode that has no exact 8-bit form here.
      LimitError: more pixels than `max_pixels`, or than the memory holds.
    """
    try:
        image = open_image(name, io.BytesIO(data))
        check_pixels(name, *image.size, max_pixels)
        check_memory(name, *image.size, bytes_per_pixel, default_tile(*image.size))
        frames = getattr(image, "n_frames", 1)
        raw_mode = _raw_mode(image)
        deep = _is_deep(image, raw_mode)
        image.load()
        result: Image.Image = image
        if deep:
            result = _round_to_8_bits(name, data, image, raw_mode)
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (YccError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Some plugins ask Pillow's limit themselves, of a canvas or a tile.
        raise LimitError(
            f"{name}: expected a picture within PIL.Image.MAX_IMAGE_PIXELS, found more: {error}"
        ) from error
    except Exception as error:  # decoders of hostile files raise whatever they stumble over
        raise InputError(f"{name}: expected a whole picture, found damage: {error}") from error

    if result.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise _unsupported(name, f"mode {result.mode}")
    if frames > 1:
        warnings.warn(f"{name}: only the first of {frames} pictures is coded", stacklevel=3)
    return result, image.info, orientation


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How samples lie in the file, as Pillow names it ("RGB;16B"); empty if the codec decides."""
    if not image.tile or image.tile[0].codec_name not in ("zip", "raw", "libtiff"):
        return ""
    args: Any = image.tile[0].args
    return args if isinstance(args, str) else args[0]


def _is_deep(image: ImageFile.ImageFile, raw_mode: str) -> bool:
    """Whether samples have more than 8 bits in the file."""
    if image.mode.startswith("I") or ";16" in raw_mode:
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))) > 8
    if image.format == "PPM" and image.tile[0].codec_name.startswith("ppm"):
        args: Any = image.tile[0].args
        return args[1] > 255  # the largest sample
    return False


def _round_to_8_bits(name, data: bytes, image: Image.Image, raw_mode: str) -> Image.Image:
    """The picture with samples rounded to 8 bits, where Pillow would cut them off or keep 16."""
    if "transparency" in image.info:
        raise _unsupported(name, "16 bits with a transparent colour")
    peak = 65535
    if image.mode.startswith("I;16"):
        samples = np.array(image, np.uint32)
        peak = 4095 if raw_mode == "I;12" else peak
    elif image.mode == "I" and image.format in ("PNG", "PPM"):  # never above 65535 in these
        samples = np.array(image, np.uint32)
    elif image.format == "PPM":
        samples, peak = np.array(image, np.uint32), 255  # this one Pillow rounds itself
    elif raw_mode[:-1] in ("RGB;16", "RGBA;16"):
        low = _reread(name, data, raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]])
        samples = np.array(image, np.uint32)
        samples *= 256
        samples += low
    elif raw_mode == "LA;16B":
        # Pillow makes this RGBA, whose four bytes a pixel can hold both samples unchanged.
        pairs = _reread(name, data, "RGBA").astype(np.uint32)
        samples = pairs[..., 0::2] * 256 + pairs[..., 1::2]
    else:
        raise _unsupported(name, f"mode {image.mode}, samples {raw_mode or 'of unknown layout'}")
    warnings.warn(f"{name}: samples of more than 8 bits are rounded to 8", stacklevel=4)
    # In place: these are the largest arrays of the way.
    samples *= 255
    samples += peak // 2
    samples //= peak
    return Image.fromarray(samples.astype(np.uint8))


def _reread(name, data: bytes, raw_mode: str) -> np.ndarray:
    """The pixels as if the file had said that its samples lie as `raw_mode` says."""
    again = open_image(name, io.BytesIO(data))
    tiles = []
    for tile in again.tile:
        others: Any = tile.args
        args = raw_mode if isinstance(others, str) else (raw_mode, *others[1:])
        tiles.append(tile._replace(args=args))
    again.tile = tiles
    return np.asarray(again)


def _unsupported(name, found: str) -> InputError:
    return InputError(
        f"{name}: expected an RGB or grey picture of 8 or 16 bits, found {found}; convert it "
        "first, say to an RGB PNG with an image editor or ImageMagick"
    )
