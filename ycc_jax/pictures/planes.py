"""One 4:2:0 picture as video and JPEG store it: three planes of 8- or 10-bit codes; and as floats.

As floats it is in the units of `color.py`, the 8-bit code / 255, at either depth: a 10-bit code c
is c / 1020, so that 4 c and the 8-bit code c are the same number and the centre of chroma, 128 or
512, is 128/255. In limited range this is how ITU-T H.273 section 8.3 scales depths; in full range
it puts the white of 10 bits, 1023, at 1023/1020.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ycc_jax.errors import InputError
from ycc_jax.pictures.color import to_uint8, ycbcr420_to_rgb
from ycc_jax.vocabulary import RANGES, SITINGS, YCBCR_MATRICES

_DTYPES: dict[int, np.dtype] = {8: np.dtype(np.uint8), 10: np.dtype(np.uint16)}


@dataclasses.dataclass(frozen=True, eq=False)
class Planes:
    """The codes of one 4:2:0 picture of H x W and what they mean.

    Attributes:
      y: (H, W), any size from 1x1; uint8 if the depth is 8, uint16 in 0..1023 if it is 10.
      cb, cr: (ceil(H/2), ceil(W/2)), of the same kind.
      depth: 8 or 10 bits.
      range: "full" or "limited", as in `color.py`.
      matrix: one of `vocabulary.YCBCR_MATRICES`: "bt601", "bt709" or "bt2020".
      siting: where a chroma sample sits among its four luma samples. "center": amid them (JPEG,
        MPEG-1); "left": amid the left two (default of MPEG-2, H.264, H.265); "top-left": on the
        first (usual with BT.2020).

    Raises:
      InputError: an attribute is none of these.
    """

    y: np.ndarray
    cb: np.ndarray
    cr: np.ndarray
    depth: int
    range: str
    matrix: str
    siting: str

    def __post_init__(self):
        dtype = sample_dtype(self.depth)
        for name, known in (("range", RANGES), ("matrix", YCBCR_MATRICES), ("siting", SITINGS)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name}: expected one of {', '.join(known)}, found {getattr(self, name)!r}"
                )
        for name in ("y", "cb", "cr"):
            plane = getattr(self, name)
            if not isinstance(plane, np.ndarray) or plane.dtype != dtype:
                found = getattr(plane, "dtype", None) or type(plane).__name__
                raise InputError(
                    f"{name}: expected a NumPy array of {dtype} at depth {self.depth}, "
                    f"found {type(plane).__name__} of {found}"
                )
        if self.y.ndim != 2 or self.y.size == 0:
            raise InputError(f"y: expected (height, width) from 1x1, found {self.y.shape}")
        for name in ("cb", "cr"):
            found, expected = getattr(self, name).shape, chroma_shape(self.height, self.width)
            if found != expected:
                raise InputError(
                    f"{name}: expected {expected}, half of {self.y.shape} rounded up, found {found}"
                )
        for name in ("y", "cb", "cr"):
            peak = getattr(self, name).max()
            if peak >= 1 << self.depth:
                raise InputError(
                    f"{name}: expected codes in 0..{(1 << self.depth) - 1} at depth {self.depth}, "
                    f"found {peak}"
                )

    @property
    def height(self) -> int:
        """H, in luma samples."""
        return self.y.shape[0]

    @property
    def width(self) -> int:
        """W, in luma samples."""
        return self.y.shape[1]


def sample_dtype(depth: int) -> np.dtype:
    """The dtype of a plane: uint8 at depth 8, uint16 at depth 10.

    Raises:
      InputError: any other depth.
    """
    if depth not in _DTYPES:
        raise InputError(f"depth: expected 8 or 10 bits, found {depth!r}")
    return _DTYPES[depth]


def chroma_shape(height: int, width: int) -> tuple[int, int]:
    """(ceil(height/2), ceil(width/2)): the shape of Cb and of Cr."""
    return (height + 1) // 2, (width + 1) // 2


def to_float(planes: Planes) -> tuple[np.ndarray, np.ndarray]:
    """The codes as float32 luma (H, W, 1) and chroma (ceil(H/2), ceil(W/2), 2), Cb then Cr.

    Code / 255 at 8 bits, code / 1020 at 10: in [0, 1], or [0, 1023/1020].
    """
    unit = np.float32(255 << (planes.depth - 8))
    luma = planes.y[..., None].astype(np.float32) / unit
    chroma = np.stack([planes.cb, planes.cr], axis=-1).astype(np.float32) / unit
    return luma, chroma


def from_float(
    luma, chroma, *, height: int, width: int, depth: int, range: str, matrix: str, siting: str
) -> Planes:
    """The inverse of `to_float`: rounded half to even, clipped to 0..2^depth - 1, cropped to size.

    Args:
      luma: floats (at least height, at least width, 1), JAX or NumPy; the rest is padding.
      chroma: floats (at least ceil(height/2), at least ceil(width/2), 2).
      height, width: of the picture, at least 1.
      depth, range, matrix, siting: as in `Planes`. The codes depend on the depth alone.

    Raises:
      InputError: another shape or dtype, NaN, or an attribute that `Planes` refuses.
    """
    if height < 1 or width < 1:
        raise InputError(f"expected a height and width of at least 1, found {height} x {width}")
    (y,) = _codes("luma", luma, height, width, 1, depth)
    cb, cr = _codes("chroma", chroma, *chroma_shape(height, width), 2, depth)
    return Planes(y, cb, cr, depth, range, matrix, siting)


def to_rgb(planes: Planes) -> np.ndarray:
    """uint8 RGB (H, W, 3): chroma interpolated by its siting, then matrix and range undone."""
    luma, chroma = to_float(planes)
    if planes.range == "full":
        # White is the largest code, 1023 and not 1020; the centre of chroma stays.
        scale = np.float32((255 << (planes.depth - 8)) / ((1 << planes.depth) - 1))
        luma, chroma = luma * scale, (chroma - 128 / 255) * scale + 128 / 255
    rgb = ycbcr420_to_rgb(
        luma, chroma.astype(np.float32), planes.matrix, planes.range, planes.siting
    )
    return to_uint8(rgb)


def _codes(name, x, height, width, channels, depth):
    """Floats (H, W, channels) to codes (channels, height, width)."""
    dtype = sample_dtype(depth)
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[0] < height or x.shape[1] < width or x.shape[2] != channels:
        raise InputError(
            f"{name}: expected a shape of at least {height} x {width} and {channels} channels, "
            f"found {x.shape}"
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"{name}: expected floats, found {x.dtype}")
    x = np.moveaxis(x[:height, :width], -1, 0).astype(np.float32, order="C")
    if np.isnan(x).any():
        raise InputError(f"{name}: expected numbers, found NaN")
    codes = np.rint(x * np.float32(255 << (depth - 8)))
    return np.clip(codes, 0, (1 << depth) - 1).astype(dtype)
