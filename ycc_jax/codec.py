"""Pictures to bytes and back with a codec model: the stages of `models.py`, run for real.

picture -> framing -> windows -> analysis -> y, z -> Writer <-> prior, step by step -> sections
picture <- framing <- windows <- synthesis <- y_hat <-------- prior <-> Reader <------ sections

Tile after tile (`pictures/tiling.py`): the prior and the coder see a tile alone, the transforms the
window around it. A picture without tiles is one tile.
"""

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from ycc_jax import __version__, bitstream, operating_point
from ycc_jax.bitstream import CodedTile, Stream
from ycc_jax.codec_model import CodecModel, find_model, load_model
from ycc_jax.entropy import range_coder
from ycc_jax.entropy.rdo import BITS_PER_SQUARED_STEP
from ycc_jax.entropy.symbols import Reader, Writer
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.exact.prior import Level
from ycc_jax.head import head_crc
from ycc_jax.header import Header
from ycc_jax.header import Writer as WrittenBy
from ycc_jax.operating_point import OperatingPoint
from ycc_jax.pictures import framing, limits
from ycc_jax.pictures.planes import Planes
from ycc_jax.pictures.tiling import Area, Tiling, around
from ycc_jax.stages import Stages
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS

STRIDE = 16
"""Pixels, down and across, of one position of the latent y."""


def load(model: str | Path | None = None, *, backend: str = "auto") -> "Codec":
    """A codec from a codec model.

    Args:
      model: a folder that training exported (WORKDIR/model), the name of a bundled model, or None
        for the bundled default.
      backend: of the range coder, "auto", "native" or "tfc" (`entropy.range_coder`).

    Raises:
      ModelError: no such model, or a damaged one.
    """
    return Codec(load_model(find_model(model)), backend=backend)


class Codec:
    """Encodes and decodes with one codec model; safe to share between threads.

    Args:
      model: the codec model.
      backend: of the range coder, as in `load`.
      stages: compiled stages to use in place of new ones: another codec's of this model, or an
        observer's (a subclass of `Stages`).

    Attributes:
      model, stages: as above.
      net: the model's `HyperpriorModel`.
    """

    def __init__(self, model: CodecModel, *, backend: str = "auto", stages: Stages | None = None):
        self.model, self.backend = model, backend
        range_coder.backend_ops(backend)  # fails here rather than after the transforms
        try:
            self.stages = stages or Stages(model)
        except (TypeError, ValueError) as error:
            raise ModelError(f"model {model.name}: {error}") from error
        self.net = self.stages.net

    def encode(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        chroma: float | None = None,
        worth: float = BITS_PER_SQUARED_STEP,
        tile: int | None = None,
    ) -> bytes:
        """A picture as a `.ycc` stream.

        Args:
          image: uint8 RGB (H, W, 3) or grey (H, W), any size from 1x1; or 4:2:0 `Planes`, which are
            coded as they are (by models that do not code RGB).
          quality: 0 (smallest) to 100 (best), continuous; stored in steps of 1/512. None is 50. A
            single-rate model takes only None.
          chroma: weight of a chroma plane against luma, for models with a grid of gains: smaller
            makes chroma coarser, luma finer, and the file larger. In their range, stored in steps
            of 0.03 %. None: 0.25, or what of the range is nearest.
          worth: of the rate-distortion optimised quantisation (`rdo.py`), in bits per squared step;
            `float("inf")` rounds plainly. Every choice decodes.
          tile: side of the tiles in pixels, one of `header.TILES`; 0: none. None: tiles in large
            pictures (`limits.default_tile`).

        Raises:
          InputError: another dtype or shape, quality, chroma or tile out of range, or one that the
            model does not have; planes for a model that codes RGB.
          LimitError: more than this machine's memory holds.
        """
        return self._encode(image, quality, chroma, worth, tile)[0]

    def encode_with_picture(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        chroma: float | None = None,
        worth: float = BITS_PER_SQUARED_STEP,
        tile: int | None = None,
    ) -> tuple[bytes, np.ndarray | Planes]:
        """`encode`, and the picture that `decode` will return for it, without decoding."""
        data, header, latent = self._encode(image, quality, chroma, worth, tile)
        with self._memory(header, limits.encoding(self.net.N)):
            tiling = self._tiling(header)
            return data, self._paint(header, tiling, latent, tiling.picture, part(header, None), [])

    def decode(
        self,
        data: bytes,
        *,
        max_pixels: int | None = DEFAULT_MAX_PIXELS,
        region: tuple[int, int, int, int] | None = None,
    ) -> np.ndarray | Planes:
        """The picture of a `.ycc` stream, of the kind that was encoded.

        Args:
          data: the stream.
          max_pixels: larger pictures are refused before anything is allocated; None: no limit.
          region: (x, y, width, height) in pixels: that part of the picture alone, with the very
            samples of the whole. Of a picture in tiles only those around it are decoded, and
            max_pixels is of them.

        Returns:
          uint8 (H, W, 3), or (H, W) if it was encoded from grey; `Planes` if from planes.

        Raises:
          CorruptStreamError: damaged, truncated, of another version.
          ModelError: the stream was made with another model or other weights.
          LimitError: above max_pixels, or more than this machine's memory holds.
          InputError: a region that is not inside the picture, or of planes not at even positions.
        """
        stream = bitstream.unpack(data, None if region else max_pixels)
        return self._decode(stream, max_pixels, part(stream.header, region), None)

    def decode_partial(
        self, data: bytes, *, max_pixels: int | None = DEFAULT_MAX_PIXELS
    ) -> tuple[np.ndarray | Planes, float]:
        """As `decode`, of a stream of which parts are damaged or missing.

        Returns:
          The picture, grey where a tile is lost, and what share of its pixels that is, 0 to 1.

        Raises:
          CorruptStreamError: header or index are damaged. All else as `decode`.
        """
        lost: list[Area] = []
        stream = bitstream.unpack(data, max_pixels, partial=True)
        shown = part(stream.header, None)
        picture = self._decode(stream, max_pixels, shown, lost)
        areas = [tile.common(shown).shape for tile in lost]
        return picture, sum(h * w for h, w in areas) / (shown.shape[0] * shown.shape[1])

    def _encode(self, image, quality, chroma, worth, tile) -> tuple[bytes, Header, np.ndarray]:
        point = operating_point.choose(self.net, quality, chroma)
        image = image if isinstance(image, Planes) else np.asarray(image)
        frame = framing.describe(image, *self.net.colours)
        if frame.planes and not self.net.takes_planes:
            raise InputError(
                f"model {self.model.name} codes three planes of one size: expected an RGB picture, "
                "found 4:2:0 planes"
            )
        default = point == operating_point.choose(self.net, quality, None)
        header = Header(
            **dataclasses.asdict(frame),
            quality=point.quality,
            chroma=None if default else point.chroma,
            weights_hash=self.model.weights_hash,
            writer=WrittenBy.of(__version__, jax.__version__, jax.default_backend()),
            tile=(limits.default_tile(frame.width, frame.height) if tile is None else tile) or None,
        )
        crc = head_crc(header)  # refuses a wrong tile
        with self._memory(header, limits.encoding(self.net.N)):
            tiling = self._tiling(header)
            picture = framing.to_input(image, self.net.stride)
            latent = self._latent(tiling.picture)
            coded = []
            for number, area in enumerate(tiling.tiles):
                y = self._analyse(picture, tiling.window(area), area, point)
                z = self.stages.hyper_analyse(y, self._transform_level(point))
                self._check_finite(y, z)
                z = self.stages.factorized_symbols(z)
                symbols = Writer(z, y, self.model.tables, worth, tile_crc(crc, number))
                area.of(latent, STRIDE)[...] = self.stages.y_hat(
                    z, self._prior_level(point), symbols
                )
                coded.append(CodedTile(*symbols.sections(self.backend), symbols.crc))
            return bitstream.pack(header, coded), header, latent

    def _analyse(self, picture: framing.Input, window: Area, tile: Area, point) -> np.ndarray:
        """y (h, w, M) of a tile, from the window around it."""
        if isinstance(picture, tuple):
            seen = window.of(picture[0]), window.of(picture[1], 2)
        else:
            seen = window.of(picture)
        y = self.stages.analyse(seen, self._transform_level(point))
        return tile.within(window).of(y, STRIDE)

    def _decode(
        self, stream: Stream, max_pixels: int | None, wanted: Area, lost: list[Area] | None
    ) -> np.ndarray | Planes:
        """The wanted part of the picture. `lost` takes the tiles that cannot be decoded; without it
        they raise."""
        header = stream.header
        point = self._check(header)
        tiling = self._tiling(header)
        shown = [tile for tile in tiling.tiles if tile.meets(wanted)]
        # What the transforms see of other tiles, and so all of those.
        reach = around([tiling.window(tile) for tile in shown])
        held = around([tile for tile in tiling.tiles if tile.meets(reach)])
        limits.check_pixels("stream", *held.shape[::-1], max_pixels)
        with self._memory(header, limits.decoding(self.net.N), held):
            latent = self._latent(held)
            for number, tile in enumerate(tiling.tiles):
                if tile.meets(held):
                    try:
                        y_hat = self._read(stream, number, tile, point)
                    except CorruptStreamError:
                        if lost is None:
                            raise
                        lost.append(tile)
                    else:
                        tile.within(held).of(latent, STRIDE)[...] = y_hat
            return self._paint(header, tiling, latent, held, wanted, lost or [])

    def _read(self, stream: Stream, number: int, tile: Area, point) -> np.ndarray:
        """y_hat (h, w, M) of a tile."""
        coded = stream.tiles[number]
        if coded is None:
            raise CorruptStreamError(f"damaged: expected tile {number}, found other bytes")
        height, width = (side // self.net.stride for side in tile.shape)
        shape = (height, width, self.net.factorized_channels)
        crc = tile_crc(stream.crc, number)
        symbols = Reader(coded.z, coded.y, shape, self.model.tables, self.backend, crc)
        y_hat = self.stages.y_hat(symbols.z, self._prior_level(point), symbols)
        symbols.finish(coded.symbols_crc)
        return y_hat

    def _paint(self, header, tiling, latent, held, wanted, lost) -> np.ndarray | Planes:
        """The wanted part of the picture, from the y_hat held; grey where a tile is lost."""
        level = self._transform_level(self._point(header))
        canvas = framing.Canvas(header, *wanted.shape)
        for tile in tiling.tiles:
            if tile in lost or not tile.meets(wanted):
                continue
            window, kept = tiling.window(tile), tile.common(wanted)
            y_hat = window.within(held).of(latent, STRIDE)
            if header.planes:
                pixels = self.stages.synthesise_planes(y_hat, level)
            else:
                pixels = (self.stages.synthesise(y_hat, level),)
            self._check_finite(*pixels)
            canvas.paint(pixels, kept.within(window), kept.within(wanted))
        return canvas.picture()

    def _latent(self, area: Area) -> np.ndarray:
        height, width = area.shape
        return np.zeros((height // STRIDE, width // STRIDE, self.net.M), np.float32)

    def _tiling(self, header: Header) -> Tiling:
        return Tiling(header.height, header.width, self.net.stride, header.tile)

    def _point(self, header: Header) -> OperatingPoint:
        quality = header.quality if self.net.levels else None
        return operating_point.choose(self.net, quality, header.chroma)

    def _transform_level(self, point: OperatingPoint) -> np.ndarray:
        return operating_point.level_of(self.net, point.quality, point.chroma)

    def _prior_level(self, point: OperatingPoint) -> Level | None:
        prior = self.stages.prior
        return prior and prior.level(*operating_point.steps_of(point))

    def _check_finite(self, *arrays: np.ndarray) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model {self.model.name}: expected finite values, found NaN or infinity"
            )

    def _check(self, header: Header) -> OperatingPoint:
        """That this is the model which the file needs; the point at which it was coded."""
        net, model = self.net, self.model
        expected, found = header.weights_hash.hex(), model.weights_hash.hex()
        if expected != found:
            raise ModelError(
                f"the file needs a model with weights hash {expected}, found {found} in model "
                f"{model.name}"
            )
        # The hash is right, so what is refused from here on was written wrong.
        if not header.planes and (header.matrix, header.range) != net.colours:
            raise CorruptStreamError(
                f"expected colours {net.colours}, found {(header.matrix, header.range)}"
            )
        if header.planes and not net.takes_planes:
            raise CorruptStreamError("expected a picture in RGB or grey, found planes")
        try:
            return self._point(header)
        except InputError as error:
            raise CorruptStreamError(str(error)) from error

    @contextlib.contextmanager
    def _memory(
        self, header: Header, bytes_per_pixel: int, held: Area | None = None
    ) -> Iterator[None]:
        """Refuses a picture that needs more memory than there is, and turns running out of it for
        all that, NumPy's or the device's, into a LimitError naming the size."""
        height, width = held.shape if held else (header.height, header.width)
        limits.check_memory("picture", width, height, bytes_per_pixel, header.tile)
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise LimitError(
                f"expected a picture that fits this machine's memory, found {width} x {height}"
            ) from error


def tile_crc(crc: int, number: int) -> int:
    """What the checksum of a tile's symbols starts from: that of the head, and its number."""
    return zlib.crc32(number.to_bytes(4, "little"), crc)


def part(header: Header, region: tuple[int, int, int, int] | None) -> Area:
    """The region (x, y, width, height) of a picture; None: all of it, without its padding.

    Raises:
      InputError: it is not inside the picture, or of planes not at even positions.
    """
    x, y, width, height = region or (0, 0, header.width, header.height)
    inside = 0 <= x < x + width <= header.width and 0 <= y < y + height <= header.height
    if not inside:
        raise InputError(
            f"expected a region inside {header.width} x {header.height} pixels, found {width} x "
            f"{height} at {x},{y}"
        )
    if header.planes and (x % 2 or y % 2):
        raise InputError(f"expected a region of planes at even positions, found {x},{y}")
    return Area(y, y + height, x, x + width)
