"""Pictures to bytes and back with a codec model: the stages of `models.py`, run for real.

picture -> framing -> analysis -> y, z -> Writer <-> prior, wave by wave -> sections -> bytes
picture <- framing <- synthesis <- y_hat <------- prior <-> Reader <------- sections <- bytes
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ycc_jax import bitstream, operating_point
from ycc_jax.bitstream import Frame, Header
from ycc_jax.codec_model import CodecModel, find_model, load_model
from ycc_jax.entropy import range_coder
from ycc_jax.entropy.rdo import BITS_PER_SQUARED_STEP
from ycc_jax.entropy.symbols import Reader, Writer
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.models import build
from ycc_jax.pictures import framing, limits
from ycc_jax.pictures.padding import padded_size
from ycc_jax.pictures.planes import Planes
from ycc_jax.stages import Stages
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS


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
            self.stages = stages or Stages(build(**model.arguments), model.params)
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

        Raises:
          InputError: another dtype or shape, quality or chroma out of range, or one that the model
            does not have; planes for a model that codes RGB.
          LimitError: more than this machine's memory holds.
        """
        return self._encode(image, quality, chroma, worth)[0]

    def encode_with_picture(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        chroma: float | None = None,
        worth: float = BITS_PER_SQUARED_STEP,
    ) -> tuple[bytes, np.ndarray | Planes]:
        """`encode`, and the picture that `decode` will return for it, without decoding."""
        data, header, y_hat = self._encode(image, quality, chroma, worth)
        with memory_for(header, limits.encoding(self.net.N)):
            return data, self._picture(header, y_hat)

    def decode(
        self, data: bytes, *, max_pixels: int | None = DEFAULT_MAX_PIXELS
    ) -> np.ndarray | Planes:
        """The picture of a `.ycc` stream, of the kind that was encoded.

        Args:
          data: the stream.
          max_pixels: larger pictures are refused before anything is allocated; None: no limit.

        Returns:
          uint8 (H, W, 3), or (H, W) if it was encoded from grey; `Planes` if from planes.

        Raises:
          CorruptStreamError: damaged, truncated, of another version; or this machine computes
            other probabilities than the encoder's did.
          ModelError: the stream was made with another model or other weights.
          LimitError: above max_pixels, or more than this machine's memory holds.
        """
        header, z_section, y_section = bitstream.unpack(data, max_pixels)
        self._check(header)
        with memory_for(header, limits.decoding(self.net.N)):
            sides = (padded_size(n, self.net.stride) for n in (header.height, header.width))
            height, width = (side // self.net.stride for side in sides)
            shape = (height, width, self.net.factorized_channels)
            symbols = Reader(z_section, y_section, shape, self.model.tables, self.backend)
            y_hat = self.stages.y_hat(symbols.z, self._level(header), symbols)
            symbols.finish(header.symbols_crc)
            return self._picture(header, y_hat)

    def _encode(self, image, quality, chroma, worth) -> tuple[bytes, Header, np.ndarray]:
        point = operating_point.choose(self.net, quality, chroma)
        image = image if isinstance(image, Planes) else np.asarray(image)
        frame = framing.describe(image, *self.net.colours)
        if frame.planes and not self.net.takes_planes:
            raise InputError(
                f"model {self.model.name} codes three planes of one size: expected an RGB picture, "
                "found 4:2:0 planes"
            )
        with memory_for(frame, limits.encoding(self.net.N)):
            level = self._level(point)
            latents = self.stages.analyse(framing.to_input(image, self.net.stride), level)
            self._check_finite(*latents)
            z = self.stages.factorized_symbols(latents[-1])
            symbols = Writer(z, latents[0], self.model.tables, worth)
            y_hat = self.stages.y_hat(z, level, symbols)
            header = Header(
                **dataclasses.asdict(frame),
                **dataclasses.asdict(point),
                model_id=self.model.model_id,
                weights_hash=self.model.weights_hash,
                symbols_crc=symbols.crc,
                subsampling=self.net.subsampling,
            )
            return bitstream.pack(header, *symbols.sections(self.backend)), header, y_hat

    def _picture(self, header: Header, y_hat: np.ndarray) -> np.ndarray | Planes:
        level = self._level(header)
        if header.planes:
            luma, chroma = self.stages.synthesise_planes(y_hat, level)
            self._check_finite(luma, chroma)
            return framing.from_planes(luma, chroma, header)
        rgb = self.stages.synthesise(y_hat, level)
        self._check_finite(rgb)
        return framing.from_rgb(rgb, header)

    def _level(self, point: operating_point.OperatingPoint | Header) -> np.ndarray:
        return operating_point.level_of(self.net, point.quality, point.chroma)

    def _check_finite(self, *arrays: np.ndarray) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model {self.model.name}: expected finite values, found NaN or infinity"
            )

    def _check(self, header: Header) -> None:
        """That this is the model which the file needs."""
        net, model = self.net, self.model
        checks = [
            ("model id", f"{header.model_id:04x}", f"{model.model_id:04x}"),
            ("weights hash", header.weights_hash.hex(), model.weights_hash.hex()),
            ("subsampling", header.subsampling, net.subsampling),
        ]
        if not header.planes:
            matrix, color_range = net.colours
            checks += [("colour", header.matrix, matrix), ("range", header.range, color_range)]
        for what, expected, found in checks:
            if expected != found:
                raise ModelError(
                    f"the file needs a model with {what} {expected}, found {found} in model "
                    f"{model.name}"
                )
        # The hash is right, so what is refused from here on was written wrong.
        if bool(net.chroma_weights) != (header.chroma is not None):
            raise CorruptStreamError(
                f"expected {'a' if net.chroma_weights else 'no'} chroma, found {header.chroma}"
            )
        if header.planes and not net.takes_planes:
            raise CorruptStreamError("expected a picture in RGB or grey, found planes")


@contextlib.contextmanager
def memory_for(frame: Frame, bytes_per_pixel: int) -> Iterator[None]:
    """Refuses a picture that needs more memory than there is, and turns running out of it for all
    that, NumPy's or the device's, into a LimitError naming the size."""
    limits.check_memory("picture", frame.width, frame.height, bytes_per_pixel)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise LimitError(
            f"expected a picture that fits this machine's memory, found {frame.width} x "
            f"{frame.height}"
        ) from error
