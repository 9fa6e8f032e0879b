"""Pictures to bytes and back with a codec model: the stages of `models.py`, run for real.

picture -> framing -> windows -> analysis -> y, z -> Writer <-> prior, step by step -> sections
picture <- framing <- windows <- synthesis <- y_hat <-------- prior <-> Reader <------ sections

What is done to one tile after the other is in `tile_coder.py`.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ycc_jax import __version__, bitstream, operating_point
from ycc_jax.bitstream import Stream
from ycc_jax.codec_model import CodecModel, find_model, load_model, model_in_memory
from ycc_jax.entropy import backends
from ycc_jax.entropy.rdo import BITS_PER_SQUARED_STEP
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.header import Header, WrittenBy
from ycc_jax.operating_point import OperatingPoint
from ycc_jax.pictures import framing, limits
from ycc_jax.pictures.planes import Planes
from ycc_jax.pictures.tiling import Area
from ycc_jax.refinement import ITERATIONS
from ycc_jax.stages import Stages
from ycc_jax.tile_coder import Progress, TileCoder, ignored
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS


def load(model: str | Path | None = None, *, backend: str = "auto") -> "Codec":
    """A codec from a codec model.

    Args:
      model: a folder that training exported (WORKDIR/model), the name of a bundled model, or None
        for the bundled default.
      backend: of the range coder, "native", TensorFlow Compression's own "tfc", or "auto": what the
        environment variable YCC_CODER says, else "tfc" where it is installed
        (`entropy/backends.py`). Files are the same. TensorFlow is imported with the first picture.

    Raises:
      ModelError: no such model, or a damaged one.
      InputError: another backend, or another value of YCC_CODER.
      MissingBackendError: "tfc" is asked for, and not installed.
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
      model, backend, stages: as above.
      net: the model's `HyperpriorModel`.
    """

    def __init__(self, model: CodecModel, *, backend: str = "auto", stages: Stages | None = None):
        self.model, self.backend = model, backend
        backends.chosen(backend)  # fails here rather than with the first picture
        try:
            self.stages = stages or Stages(model)
        except (TypeError, ValueError) as error:
            raise ModelError(f"model {model.name}: {error}") from error
        self.net = self.stages.net

    @classmethod
    def from_params(
        cls,
        params: Any,
        arguments: dict[str, Any],
        *,
        calibration: Sequence[np.ndarray] = (),
        backend: str = "auto",
        **options: Any,
    ) -> "Codec":
        """A codec of parameters in memory, with no folder.

        The prior is frozen into integers and the tables are computed, which takes seconds. Files
        are those of the codec model that `export_model` would write with the same arguments.

        Args:
          params: nested dict of arrays, of `init` or trained.
          arguments: of `build`.
          calibration: uint8 RGB pictures (H, W, 3), of the kind that will be coded, by which the
            integers are scaled; () for drawn ones.
          backend: as in `load`.
          **options: of `codec_model.model_in_memory`: name, training, dtype, frozen.

        Raises:
          ValueError: as of `export_model`.
        """
        model = model_in_memory(arguments, params, calibration=calibration, **options)
        return cls(model, backend=backend)

    def encode_batch(
        self,
        images: Iterable[np.ndarray | Planes],
        quality: float | None | Sequence[float | None] | np.ndarray = None,
        **options: Any,
    ) -> list[bytes]:
        """`encode` of several pictures, one after the other, each of its own size.

        Args:
          images: pictures as `encode` takes them, or an array (B, H, W, 3) of them.
          quality: one for all, or one each.
          **options: of `encode`, for all.

        Returns:
          A stream for each picture.

        Raises:
          As `encode`; and InputError: another number of qualities than of pictures.
        """
        images = list(images)
        if isinstance(quality, Sequence | np.ndarray):
            qualities = list(quality)
        else:
            qualities = [quality] * len(images)
        if len(qualities) != len(images):
            raise InputError(
                f"expected a quality for each of {len(images)} pictures, found {len(qualities)}"
            )
        return [self.encode(*pair, **options) for pair in zip(images, qualities, strict=True)]

    def decode_batch(self, streams: Iterable[bytes], **options: Any) -> list[np.ndarray | Planes]:
        """`decode` of several streams, one after the other.

        Args:
          streams: of this model.
          **options: of `decode`, for all.

        Returns:
          A picture for each stream.

        Raises:
          As `decode`: the first that fails ends it.
        """
        return [self.decode(data, **options) for data in streams]

    def encode(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        chroma: float | None = None,
        worth: float = BITS_PER_SQUARED_STEP,
        tile: int | None = None,
        effort: int = 0,
        progress: Progress = ignored,
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
          effort: 0 to 9: a search for a smaller and better file of this picture (`refinement.py`),
            of `refinement.ITERATIONS` at each effort. It changes nothing for who decodes. The same
            picture and effort give the same file on one machine.
          progress: called as progress(done, total) after each iteration of the search.

        Raises:
          InputError: another dtype or shape, quality, chroma, tile or effort out of range, or one
            that the model does not have; planes for a model that codes RGB.
          LimitError: more than this machine's memory holds.
        """
        return self._encode(image, quality, chroma, worth, tile, effort, progress)[0]

    def encode_with_picture(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        chroma: float | None = None,
        worth: float = BITS_PER_SQUARED_STEP,
        tile: int | None = None,
        effort: int = 0,
        progress: Progress = ignored,
    ) -> tuple[bytes, np.ndarray | Planes]:
        """`encode`, and the picture that `decode` will return for it, without decoding.

        Args:
          image, quality, chroma, worth, tile, effort, progress: as of `encode`; so are the errors.

        Returns:
          The stream; and uint8 (H, W, 3), (H, W) or `Planes`, of the kind that was encoded.

        Raises:
          As `encode`.
        """
        asked = quality, chroma, worth, tile, effort, progress
        data, coder, latent = self._encode(image, *asked)
        header = coder.header
        with memory_for(header.width, header.height, header.tile, limits.encoding(self.net.width)):
            return data, coder.paint(latent, coder.tiling.picture, part(header, None), set())

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
            max_pixels is of them, and of a picture of so many pixels in tiles of 64 is the most
            tiles that the index may have.

        Returns:
          uint8 (H, W, 3), or (H, W) if it was encoded from grey; `Planes` if from planes.

        Raises:
          CorruptStreamError: damaged, truncated, of another version.
          ModelError: the stream was made with another model or other weights.
          LimitError: above max_pixels, or more than this machine's memory holds.
          InputError: a region that is not inside the picture, or of planes not at even positions.
        """
        stream = bitstream.unpack(data, max_pixels, region=region is not None)
        return self._decode(stream, max_pixels, region, None)

    def decode_partial(
        self, data: bytes, *, max_pixels: int | None = DEFAULT_MAX_PIXELS
    ) -> tuple[np.ndarray | Planes, float]:
        """As `decode`, of a stream of which parts are damaged or missing.

        Args:
          data, max_pixels: as of `decode`.

        Returns:
          The picture, grey where a tile is lost, and what share of its pixels that is, 0 up to but
          not including 1.

        Raises:
          CorruptStreamError: header or index are damaged, or all tiles are. All else as `decode`.
        """
        lost: set[Area] = set()
        stream = bitstream.unpack(data, max_pixels, partial=True)
        picture = self._decode(stream, max_pixels, None, lost)
        if len(lost) == len(stream.tiles):
            raise CorruptStreamError(
                f"damaged: expected a tile that is whole, found none of {len(lost)}"
            )
        shown = part(stream.header, None)
        areas = [tile.common(shown).shape for tile in lost]
        return picture, sum(h * w for h, w in areas) / (shown.shape[0] * shown.shape[1])

    def _encode(
        self, image, quality, chroma, worth, tile, effort, progress
    ) -> tuple[bytes, TileCoder, np.ndarray]:
        if effort not in range(len(ITERATIONS)):
            raise InputError(f"expected an effort from 0 to {len(ITERATIONS) - 1}, found {effort}")
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
        coder = self._coder(header, point)
        memory = (limits.refining if effort else limits.encoding)(self.net.width)
        with memory_for(frame.width, frame.height, header.tile, memory):
            padded = framing.to_input(image, self.net.stride)
            tiles, latent = coder.encode(padded, worth, ITERATIONS[effort], progress)
        return bitstream.pack(header, tiles), coder, latent

    def _decode(
        self,
        stream: Stream,
        max_pixels: int | None,
        region: tuple[int, int, int, int] | None,
        lost: set[Area] | None,
    ) -> np.ndarray | Planes:
        header = stream.header
        coder, wanted = self._coder(header, self._check(header)), part(header, region)
        held = coder.around(wanted)
        height, width = held.shape if region else (header.height, header.width)
        limits.check_pixels("stream", width, height, max_pixels)
        with memory_for(width, height, header.tile, limits.decoding(self.net.width)):
            latent = coder.decode(stream.tiles, held, lost)
            return coder.paint(latent, held, wanted, lost or set())

    def _coder(self, header: Header, point: OperatingPoint) -> TileCoder:
        return TileCoder(self.model, self.stages, self.backend, header, point)

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
                f"expected colours {' '.join(net.colours)}, found {header.matrix} {header.range}"
            )
        if header.planes and not net.takes_planes:
            raise CorruptStreamError("expected a picture in RGB or grey, found planes")
        try:
            quality = header.quality if net.levels else None
            return operating_point.choose(net, quality, header.chroma)
        except InputError as error:
            raise CorruptStreamError(str(error)) from error


@contextlib.contextmanager
def memory_for(width: int, height: int, tile: int | None, bytes_per_pixel: int) -> Iterator[None]:
    """Refuses a picture that needs more memory than there is, and turns running out of it for all
    that, NumPy's or the device's, into a LimitError naming the size."""
    limits.check_memory("picture", width, height, bytes_per_pixel, tile)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise LimitError(
            f"expected a picture that fits this machine's memory, found {width} x {height}"
        ) from error


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
