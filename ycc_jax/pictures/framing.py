"""What a picture is to the codec: grey, RGB or 4:2:0 planes <-> what the network takes and gives.

The network sees RGB or planes whose sides are multiples of its stride. Grey is coded as RGB with
equal channels and comes back as its luma.
"""

import numpy as np

from ycc_jax.errors import InputError
from ycc_jax.header import Frame
from ycc_jax.pictures.color import rgb_to_ycbcr, to_uint8
from ycc_jax.pictures.padding import pad_to_multiple
from ycc_jax.pictures.planes import Planes, from_float, to_float
from ycc_jax.pictures.tiling import Area

# Padded uint8 RGB (1, H, W, 3); or float planes, luma (1, H, W, 1) and chroma (1, H/2, W/2, 2).
Input = np.ndarray | tuple[np.ndarray, np.ndarray]


def describe(image: np.ndarray | Planes, matrix: str, range: str) -> Frame:
    """What a header says of a picture.

    Args:
      image: uint8 RGB (H, W, 3) or grey (H, W), at least 1x1; or `Planes`, which tell their own
        matrix and range.
      matrix, range: in which the network codes RGB.

    Raises:
      InputError: another dtype or shape.
    """
    if isinstance(image, Planes):
        return Frame(
            width=image.width,
            height=image.height,
            matrix=image.matrix,
            range=image.range,
            planes=True,
            depth=image.depth,
            siting=image.siting,
        )
    shape = image.shape
    if image.dtype != np.uint8 or not (len(shape) == 2 or shape[2:] == (3,)) or not image.size:
        raise InputError(
            "expected a uint8 picture (H, W, 3) or (H, W) of at least 1x1, "
            f"found {image.dtype} {shape}"
        )
    return Frame(width=shape[1], height=shape[0], matrix=matrix, range=range, grey=len(shape) == 2)


def to_input(image: np.ndarray | Planes, stride: int) -> Input:
    """The picture that `describe` accepted, padded to multiples of the stride, a batch of one."""
    if isinstance(image, Planes):
        luma, chroma = to_float(image)
        return pad_to_multiple(luma, stride)[None], pad_to_multiple(chroma, stride // 2)[None]
    rgb = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    return pad_to_multiple(rgb, stride)[None]


class Canvas:
    """A picture, or a part of one, as a decoder paints it: grey at first.

    Args:
      frame: of the picture, which says its kind.
      height, width: of the part, in pixels.
    """

    def __init__(self, frame: Frame, height: int, width: int):
        self._frame, self._size = frame, (height, width)
        if frame.planes:
            # Codes / 255.
            chroma = (-(-height // 2), -(-width // 2), 2)
            sizes = ((height, width, 1), chroma)
            self._planes = [np.full(size, 128 / 255, np.float32) for size in sizes]
        else:
            channels = 1 if frame.grey else 3
            self._planes = [np.full((height, width, channels), 128, np.uint8)]

    def paint(self, pixels: tuple[np.ndarray, ...], source: Area, target: Area) -> None:
        """Puts an area of what the network gave, RGB (H, W, 3) in [0, 1] or luma and chroma, where
        it belongs."""
        if self._frame.planes:
            luma, chroma = self._planes
            target.of(luma)[...] = source.of(pixels[0])
            target.of(chroma, 2)[...] = source.of(pixels[1], 2)
            return
        rgb = source.of(pixels[0])
        target.of(self._planes[0])[...] = to_uint8(
            rgb_to_ycbcr(rgb)[..., :1] if self._frame.grey else rgb
        )

    def picture(self) -> np.ndarray | Planes:
        """uint8 RGB (height, width, 3) or grey (height, width), or planes."""
        if not self._frame.planes:
            return self._planes[0][..., 0] if self._frame.grey else self._planes[0]
        kind = {name: getattr(self._frame, name) for name in ("depth", "range", "matrix", "siting")}
        height, width = self._size
        return from_float(*self._planes, height=height, width=width, **kind)
