"""One picture in its tiles: windows of pixels to sections, and sections to y_hat and pixels.

The prior and the range coder see a tile alone, the transforms the window around it
(`pictures/tiling.py`). A picture without tiles is one tile, whose window is the picture.
"""

import zlib
from collections.abc import Callable

import numpy as np

from ycc_jax import operating_point
from ycc_jax.bitstream import CodedTile
from ycc_jax.codec_model import CodecModel
from ycc_jax.entropy import backends
from ycc_jax.entropy.symbols import Reader, Writer
from ycc_jax.errors import CorruptStreamError, ModelError
from ycc_jax.head import head_crc
from ycc_jax.header import Header
from ycc_jax.operating_point import DEFAULT_CHROMA, OperatingPoint
from ycc_jax.pictures import framing
from ycc_jax.pictures.planes import Planes
from ycc_jax.pictures.tiling import Area, Tiling, around
from ycc_jax.refinement import Task
from ycc_jax.stages import Stages

STRIDE = 16
"""Pixels, down and across, of one position of the latent y."""

Progress = Callable[[int, int], None]


def ignored(done: int, total: int) -> None:
    """Progress that nobody looks at."""


class TileCoder:
    """Codes the tiles of one picture.

    Args:
      model, stages: of the codec.
      backend: of the range coder.
      header: of the file.
      point: at which it is coded.

    Attributes:
      header: as above.
      tiling: the picture's.
    """

    def __init__(
        self,
        model: CodecModel,
        stages: Stages,
        backend: str,
        header: Header,
        point: OperatingPoint,
    ):
        self._model, self._stages, self._backend, self.header = model, stages, backend, header
        self.tiling = Tiling(header.height, header.width, stages.net.stride, header.tile)
        self._crc, self._point = head_crc(header), point
        self._level = operating_point.level_at(stages.net, point)
        steps = operating_point.steps_of(point)
        self._prior_level = stages.prior.level(*steps) if stages.prior else None

    def encode(
        self,
        picture: framing.Input,
        worth: float,
        iterations: int = 0,
        progress: Progress = ignored,
    ) -> tuple[list[CodedTile], np.ndarray]:
        """The tiles of a padded picture (`framing.to_input`), and y_hat of it all (h, w, M).

        Args:
          worth: of `rdo.quantize`.
          iterations: of the search for better latents (`refinement.py`).
          progress: told after each how many there were, and how many there will have been.
        """
        backends.operations(self._backend)  # warns or fails here rather than after the transforms
        latent = self._latent(self.tiling.picture)
        coded, stages = [], self._stages
        for number, tile in enumerate(self.tiling.tiles):
            window = self.tiling.window(tile)
            seen = _seen(picture, window)
            y_around = stages.analyse(seen, self._level)
            y = tile.within(window).of(y_around, STRIDE)
            z = stages.hyper_analyse(y, self._level)
            self._check_finite(y, z)
            best = self._write(number, y, z, worth)
            if iterations:
                task = self._task(seen, y_around, tile.within(window), y, z)
                told = _among(progress, number, len(self.tiling.tiles), iterations)
                better = stages.refinement(task, y, z, iterations, told)
                self._check_finite(*better)
                found = best, self._write(number, *better, worth)
                costs = [stages.refinement.cost(task, y_hat, c.size) for c, y_hat in found]
                best = found[int(np.argmin(costs))]
            tile.of(latent, STRIDE)[...] = best[1]
            coded.append(best[0])
        return coded, latent

    def _write(
        self, number: int, y: np.ndarray, z: np.ndarray, worth: float
    ) -> tuple[CodedTile, np.ndarray]:
        """A tile of these latents, not rounded, and its y_hat."""
        z = self._stages.factorized_symbols(z)
        symbols = Writer(z, y, self._model.tables, worth, self._seed(number))
        y_hat = self._stages.y_hat(z, self._prior_level, symbols)
        return CodedTile(*symbols.sections(self._backend), symbols.crc), y_hat

    def _task(
        self, seen: framing.Input, y_around: np.ndarray, tile: Area, y: np.ndarray, z: np.ndarray
    ) -> Task:
        """The search for the latents of a tile in its window."""
        chroma = DEFAULT_CHROMA if self._point.chroma is None else self._point.chroma
        row, column = tile.top // STRIDE, tile.left // STRIDE
        lmbda = operating_point.lambda_of(self._model.lambdas, self._level)
        task = Task(seen, np.rint(y_around)[None], row, column, self._level, chroma, lmbda or 0.0)
        if lmbda:
            return task
        return task._replace(lmbda=self._stages.refinement.lmbda(task, y, z))

    def around(self, wanted: Area) -> Area:
        """All tiles that the pixels of an area depend on, as one area."""
        shown = [tile for tile in self.tiling.tiles if tile.meets(wanted)]
        reach = around([self.tiling.window(tile) for tile in shown])
        return around([tile for tile in self.tiling.tiles if tile.meets(reach)])

    def decode(
        self, coded: list[CodedTile | None], held: Area, lost: set[Area] | None
    ) -> np.ndarray:
        """y_hat (h, w, M) of an area of whole tiles.

        Args:
          coded: of all tiles; None is a damaged one.
          held: the area.
          lost: takes the tiles that cannot be decoded, whose y_hat is 0; None: they raise.
        """
        latent = self._latent(held)
        for number, tile in enumerate(self.tiling.tiles):
            if not tile.meets(held):
                continue
            try:
                tile.within(held).of(latent, STRIDE)[...] = self._read(coded[number], number, tile)
            except CorruptStreamError:
                if lost is None:
                    raise
                lost.add(tile)
        return latent

    def paint(
        self, latent: np.ndarray, held: Area, wanted: Area, lost: set[Area]
    ) -> np.ndarray | Planes:
        """The wanted part of the picture, from the y_hat held; grey where a tile is lost."""
        canvas = framing.Canvas(self.header, *wanted.shape)
        for tile in self.tiling.tiles:
            if tile in lost or not tile.meets(wanted):
                continue
            window, kept = self.tiling.window(tile), tile.common(wanted)
            y_hat = window.within(held).of(latent, STRIDE)
            if self.header.planes:
                pixels: tuple[np.ndarray, ...] = self._stages.synthesise_planes(y_hat, self._level)
            else:
                pixels = (self._stages.synthesise(y_hat, self._level),)
            self._check_finite(*pixels)
            canvas.paint(pixels, kept.within(window), kept.within(wanted))
        return canvas.picture()

    def _read(self, coded: CodedTile | None, number: int, tile: Area) -> np.ndarray:
        if coded is None:
            raise CorruptStreamError(f"damaged: expected tile {number}, found other bytes")
        stride, channels = self._stages.net.stride, self._stages.net.factorized_channels
        shape = (tile.shape[0] // stride, tile.shape[1] // stride, channels)
        tables, backend = self._model.tables, self._backend
        symbols = Reader(coded.z, coded.y, shape, tables, backend, self._seed(number))
        y_hat = self._stages.y_hat(symbols.z, self._prior_level, symbols)
        symbols.finish(coded.symbols_crc)
        return y_hat

    def _seed(self, number: int) -> int:
        """What the checksum of a tile's symbols starts from: that of the head, then its number."""
        return zlib.crc32(number.to_bytes(4, "little"), self._crc)

    def _latent(self, area: Area) -> np.ndarray:
        height, width = area.shape
        return np.zeros((height // STRIDE, width // STRIDE, self._stages.net.M), np.float32)

    def _check_finite(self, *arrays: np.ndarray) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model {self._model.name}: expected finite values, found NaN or infinity"
            )


def _seen(picture: framing.Input, window: Area) -> framing.Input:
    if isinstance(picture, tuple):
        return window.of(picture[0]), window.of(picture[1], 2)
    return window.of(picture)


def _among(progress: Progress, number: int, tiles: int, iterations: int) -> Callable[[int], None]:
    """The progress of one tile's search as that of all tiles."""
    return lambda n: progress(number * iterations + n, tiles * iterations)
