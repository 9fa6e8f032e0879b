"""Opening a picture file: only the formats of `vocabulary.READABLE`, and no state of the process.

`PIL.Image.open` checks the size against `Image.MAX_IMAGE_PIXELS`, one limit for all threads, warns
of it through the one filter of the process, and without a list of formats asks every plugin, of
which one (EPS) runs another program. So the decoders are called here, as it would call them, and
the caller checks the size that they find.
"""

import struct
from typing import BinaryIO

from PIL import Image, ImageFile

from ycc_jax.errors import InputError
from ycc_jax.vocabulary import READABLE

_PREFIX_BYTES = 16  # what Pillow's plugins are shown to tell their format


def open_image(name: object, file: BinaryIO) -> ImageFile.ImageFile:
    """The picture with its header read and its size known; `load` decodes the pixels.

    No decoder of READABLE touches memory for pixels here, whatever size the header claims.

    Args:
      name: of the file, for messages.
      file: it must stay open until the pixels are loaded, and allow `seek`.

    Raises:
      InputError: none of READABLE.
      OSError, ValueError, ...: what a decoder raises where a header is damaged.
    """
    Image.init()
    formats = [format for format in READABLE if format in Image.OPEN]
    prefix = file.read(_PREFIX_BYTES)
    for format in formats:
        factory, accepts = Image.OPEN[format]
        try:
            # A string says that it is this format, but of a kind that this Pillow does not decode.
            if accepts is None or accepts(prefix) is True:
                file.seek(0)
                return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # the plugins' way to say that it is not theirs
    raise InputError(
        f"{name}: expected a picture ({', '.join(formats)}), found bytes starting with {prefix!r}"
    )
