"""What a `.ycc` file says before its first coded byte; `head.py` has the bytes of it.

Pure Python, so that `ycc info` needs neither NumPy nor JAX.
"""

import math
import numbers
import re
from dataclasses import dataclass
from typing import NamedTuple

from ycc_jax.errors import InputError

QUALITY_UNIT = 512
"""Steps to one of quality."""
CHROMA_UNIT = 2048
"""Steps to an octave of chroma: 0.03 %."""
LEAST_TILE = 64
TILES = tuple(LEAST_TILE << k for k in range(11))
"""Sides that a tile may have, in pixels; the position is the stored exponent."""


class WrittenBy(NamedTuple):
    """What wrote a file: whoever looks for a difference between two machines starts here.

    Attributes:
      library: version of ycc_jax, (major, minor, patch).
      jax: version of JAX, likewise.
      device: what JAX computed on, one of DEVICES.
    """

    library: tuple[int, int, int]
    jax: tuple[int, int, int]
    device: str

    @classmethod
    def of(cls, library: str, jax: str, platform: str) -> "WrittenBy":
        """From versions such as "0.12.0.1" or "0.5.3.dev1" and JAX's name of the platform.

        Raises:
          InputError: a version does not start with a number.
        """
        kinds = {"cpu": "cpu", "tpu": "tpu", "gpu": "gpu", "cuda": "gpu", "rocm": "gpu"}
        return cls(_version(library), _version(jax), kinds.get(platform, "other"))


class Chunk(NamedTuple):
    """A named piece of data that belongs to the picture.

    Attributes:
      name: four ASCII letters, the first upper case if the chunk is critical.
      data: bytes, whose meaning the name says.
    """

    name: str
    data: bytes

    @property
    def critical(self) -> bool:
        """Whether a reader that does not know the name must refuse the file."""
        return self.name[0].isupper()


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
        is the model's default, or what a model without a grid of gains has.
      weights_hash: 4 bytes that identify the model: its arguments, tables and weights.
      writer: what wrote the file.
      tile: side of the tiles in pixels, one of TILES; None: the picture is one tile.
      chunks: what belongs to the picture beside its samples, in the order of the file.
    """

    quality: float
    chroma: float | None = None
    weights_hash: bytes
    writer: WrittenBy
    tile: int | None = None
    chunks: tuple[Chunk, ...] = ()


def tiles_of(header: Header) -> tuple[int, int]:
    """Rows and columns of tiles; the last of each may be smaller than the others."""
    if header.tile is None:
        return 1, 1
    return -(-header.height // header.tile), -(-header.width // header.tile)


def quantize_quality(quality: float) -> float:
    """The value nearest to `quality` that a header can carry (step 1/512).

    The encoder must code with this value, since it is the one the decoder will see.

    Raises:
      InputError: `quality` is not a number from 0 to 100.
    """
    if not isinstance(quality, numbers.Real) or not 0 <= quality <= 100:  # NaN is neither
        raise InputError(f"expected a quality from 0 to 100, found {quality!r}")
    return round(quality * QUALITY_UNIT) / QUALITY_UNIT


def quantize_chroma(chroma: float) -> float:
    """The value nearest to `chroma` that a header can carry (1/2048 of an octave, 0.03 %).

    Raises:
      InputError: `chroma` is not a number from 2^-15 to 2^15.
    """
    if not isinstance(chroma, numbers.Real) or not 2.0**-15 <= chroma <= 2.0**15:
        raise InputError(f"expected a chroma from 2^-15 to 2^15, found {chroma!r}")
    return 2.0 ** (round(math.log2(chroma) * CHROMA_UNIT) / CHROMA_UNIT)


def _version(text: str) -> tuple[int, int, int]:
    match = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", text, re.ASCII)
    if match is None:
        raise InputError(f"expected a version such as 0.10.2, found {text!r}")
    major, minor, patch = (int(number or 0) for number in match.groups())
    return major, minor, patch
