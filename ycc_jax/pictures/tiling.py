"""A picture in tiles, and the windows around them that the transforms see.

Symbols of a tile depend on nothing outside it, so a tile decodes alone. Its pixels do depend on its
neighbours, as those of an untiled picture depend on what lies around them: the transforms run on a
window, the tile and a halo of what they reach, and only the tile is kept. So there is no seam, and
a tile's pixels are the same whatever part of the picture is decoded.

Everything is in pixels of the padded picture, whose sides are multiples of 64 as those of the tiles
and the halo. A window that would reach beyond the picture is moved inwards: all windows of a
picture then have one size, so that they share a compiled program.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ycc_jax.pictures.padding import padded_size

HALO = 64
"""What the transforms reach beyond a tile, at least; `tests/test_tiling.py` measures it."""


class Area(NamedTuple):
    """Rows top .. bottom - 1, columns left .. right - 1."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, array, unit: int = 1):
        """This area, from multiples of the unit on, of an array (.., H / unit, W / unit, C)."""
        rows = slice(self.top // unit, -(-self.bottom // unit))
        columns = slice(self.left // unit, -(-self.right // unit))
        return array[..., rows, columns, :]

    def within(self, other: "Area") -> "Area":
        """The same area, in an array that holds another one around it."""
        top, left = other.top, other.left
        return Area(self.top - top, self.bottom - top, self.left - left, self.right - left)

    def meets(self, other: "Area") -> bool:
        """Whether two areas have a pixel in common."""
        rows = self.top < other.bottom and other.top < self.bottom
        return rows and self.left < other.right and other.left < self.right

    def common(self, other: "Area") -> "Area":
        """What two areas that meet have in common."""
        return Area(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


def around(areas: list[Area]) -> Area:
    """The smallest area that holds all of these, of which there is one at least."""
    tops, bottoms, lefts, rights = zip(*areas, strict=True)
    return Area(min(tops), max(bottoms), min(lefts), max(rights))


class Tiling:
    """The tiles of one picture.

    Args:
      height, width: of the picture, in pixels.
      stride: multiples of which its padded sides are.
      side: of the tiles, a multiple of 64; None: the picture is one tile.

    Attributes:
      picture: the padded picture.
      tiles: in raster order; the last ones of rows and columns may be smaller.
    """

    def __init__(self, height: int, width: int, stride: int, side: int | None):
        height, width = padded_size(height, stride), padded_size(width, stride)
        self.picture, self.side = Area(0, height, 0, width), side
        rows, columns = (list(_parts(size, side or size)) for size in (height, width))
        self.tiles = [Area(*row, *column) for row in rows for column in columns]

    def window(self, tile: Area) -> Area:
        """What the transforms see for a tile."""
        if self.side is None:
            return self.picture
        _, height, _, width = self.picture
        top, tall = _around(tile.top, self.side, height)
        left, wide = _around(tile.left, self.side, width)
        return Area(top, top + tall, left, left + wide)


def _parts(size: int, side: int) -> Iterator[tuple[int, int]]:
    for start in range(0, size, side):
        yield start, min(start + side, size)


def _around(start: int, side: int, size: int) -> tuple[int, int]:
    """Start and length of the window around a tile of `side` from `start` on."""
    length = min(side + 2 * HALO, size)
    return min(max(start - HALO, 0), size - length), length
