"""Names and limits that files, codec and command line share; pure Python, and their only home.

Where a name stands for a number in the stream, its position in the tuple is that number: such a
tuple is only ever appended to.
"""

# ---- of pictures in YCbCr (ITU-T H.273) --------------------------------------------------------

MATRICES = ("bt601", "bt709", "bt2020", "rgb")
"""Of a stream; "rgb" says that the network codes RGB without conversion."""
YCBCR_MATRICES = MATRICES[:3]
RANGES = ("full", "limited")
SUBSAMPLINGS = ("444", "420")
SITINGS = ("center", "left", "top-left")
"""Of 4:2:0 chroma: amid its four luma samples, amid the left two, on the first."""
DEPTHS = (8, 10)
"""Bits of a sample of planes."""

# ---- of the machine that wrote a file ----------------------------------------------------------

DEVICES = ("other", "cpu", "gpu", "tpu")
"""What JAX computed on."""

# ---- of files ----------------------------------------------------------------------------------

READABLE = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "PPM", "BMP", "GIF", "AVIF", "JPEG2000", "QOI")
"""Pillow's names of the formats that are decoded, whoever asks: codec, evaluation or trainer.

A list, so that no plugin that runs another program (EPS: Ghostscript) sees a file.
"""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
"""Of the files that are taken for photographs in a folder."""
PLANES_SUFFIXES = (".y4m", ".yuv")
"""Of files that hold 4:2:0 planes."""
WRITABLE = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pnm": "PPM",
    ".bmp": "BMP",
    ".webp": "WEBP",
}
"""Pillow's format by the suffix of a decoded picture's name; all lossless."""
LARGEST_SIDE = {"WEBP": 16383}
"""Pixels of a picture's longer side, of the formats that have a limit that a picture may reach."""

# ---- limits ------------------------------------------------------------------------------------

DEFAULT_MAX_PIXELS = 8192 * 8192
"""Of a picture with its padding, which is what the transforms work on (`pictures/limits.py`)."""
MAX_FILE_BYTES = 8 * DEFAULT_MAX_PIXELS + 2**26
"""Of a file that is read whole: 16-bit RGBA of that many pixels, and 64 MiB for the rest."""
MAX_STRIDE = 64
"""What each side is padded to a multiple of; 16 by models without a hyperprior."""
