"""Pictures to bytes and back with a codec model: the stages of `models.py`, run for real."""

import contextlib
import os
import zlib
from pathlib import Path

import jax
import numpy as np

from ycc_jax import bitstream
from ycc_jax.codec_model import CodecModel, find_model, load_model
from ycc_jax.entropy import range_coder, rdo
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.models import build
from ycc_jax.nets.gain import alpha_position
from ycc_jax.pictures.color import rgb_to_ycbcr, to_uint8
from ycc_jax.pictures.padding import crop_to, pad_to_multiple, padded_size
from ycc_jax.pictures.planes import Planes, from_float, to_float
from ycc_jax.stages import Stages
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS

DEFAULT_QUALITY = 50.0
DEFAULT_ALPHA = 0.25  # what models without a grid of gains are trained with


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


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, for later processes.

    JAX_COMPILATION_CACHE_DIR, if set, stays in force. Does nothing on JAX before 0.10: programs
    that 0.5.3 reads back from its cache crash on the CPU, and those in between are untested.
    """
    if jax.__version_info__ < (0, 10) or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "ycc_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


class Codec:
    """Encodes and decodes with one codec model; safe to share between threads.

    Attributes:
      model: the `CodecModel`.
      net: its `HyperpriorModel`.
      stages: the net's compiled stages.
    """

    def __init__(self, model: CodecModel, *, backend: str = "auto"):
        self.model = model
        self.backend = backend
        range_coder.backend_ops(backend)  # fails here rather than after the transforms
        try:
            self.net = build(**model.arguments)
        except (TypeError, ValueError) as error:
            raise ModelError(f"model {model.name}: {error}") from error
        rgb = self.net.color_space == "rgb"
        self._colour = {
            "matrix": "rgb" if rgb else self.net.matrix,
            "range": "full" if rgb else self.net.color_range,
        }
        self.stages = Stages(self.net, model.params)
        if "y" in model.tables:
            self._quantize = rdo.RdoQuantizer(model.tables["y"])

    # ---- pictures to bytes ---------------------------------------------------------------------

    def encode(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        alpha: float | None = None,
        worth: float = rdo.BITS_PER_SQUARED_STEP,
    ) -> bytes:
        """A picture as a `.ycc` stream.

        Args:
          image: uint8 RGB (H, W, 3) or grey (H, W), any size from 1x1; or 4:2:0 `Planes`, which are
            coded as they are (by models with the transform "dlec").
          quality: 0 (smallest) to 100 (best), continuous; stored in steps of 1/512. None is 50. A
            single-rate model takes only None.
          alpha: weight of a chroma plane against luma, for models with a grid of gains: smaller
            moves bits from chroma to luma. In their range, stored in steps of 0.03 %. None: 0.25,
            or what of the range is nearest.
          worth: of the rate-distortion optimised quantisation (`rdo.py`), in bits per squared step;
            `float("inf")` rounds plainly. Every choice decodes.

        Raises:
          InputError: another dtype or shape, quality or alpha out of range, or one that the model
            does not have; planes for a model that codes RGB.
          LimitError: more than this machine's memory holds.
        """
        return self._encode(image, quality, alpha, worth)[0]

    def encode_with_picture(
        self,
        image: np.ndarray | Planes,
        quality: float | None = None,
        *,
        alpha: float | None = None,
        worth: float = rdo.BITS_PER_SQUARED_STEP,
    ) -> tuple[bytes, np.ndarray | Planes]:
        """`encode`, and the picture that `decode` will return for it, without decoding."""
        data, header, y_hat = self._encode(image, quality, alpha, worth)
        with memory_for((header.height, header.width)):
            return data, self._picture(header, y_hat)

    def _encode(self, image, quality, alpha, worth):
        fields = {**self.settings(quality, alpha), **self._colour}
        fields["planes"] = isinstance(image, Planes)
        if fields["planes"]:
            fields.update({k: getattr(image, k) for k in ("matrix", "range", "depth", "siting")})
            height, width = image.height, image.width
        else:
            image = np.asarray(image)
            fields["grey"] = image.ndim == 2
            colour = np.repeat(image[..., None], 3, axis=-1) if fields["grey"] else image
            if image.dtype != np.uint8 or colour.shape[2:] != (3,) or not image.size:
                raise InputError(
                    "expected a uint8 picture (H, W, 3) or (H, W) of at least 1x1, "
                    f"found {image.dtype} {image.shape}"
                )
            height, width = colour.shape[:2]
            image = colour
        with memory_for((height, width)):
            return self._code(image, worth, {**fields, "height": height, "width": width})

    def _code(self, image, worth, fields):
        """The stream, its header, and y_hat."""
        level = self._level(fields["quality"], fields["alpha"])
        latents = self.stages.analyse(self._input(image), level)
        self._check_finite(*latents)
        z = self.stages.factorized_symbols(latents[-1])
        symbols = [np.zeros((0, self.net.M), np.int32)]
        indexes = [np.zeros((0, self.net.M), np.int32)]

        def exchange(rows, columns, mean, index):
            symbols.append(self._quantize(latents[0][rows, columns] - mean, index, worth))
            indexes.append(index)
            return symbols[-1]

        y_hat = self.stages.code(z, level, exchange)
        y, indexes = np.concatenate(symbols), np.concatenate(indexes)
        header = bitstream.Header(
            model_id=self.model.model_id,
            weights_hash=self.model.weights_hash,
            symbols_crc=symbols_crc(z, y),
            subsampling=self.net.subsampling,
            **fields,
        )
        tables, options = self.model.tables, {"backend": self.backend}
        z_section = range_coder.encode(z, channel_indexes(z.shape), tables["z"], **options)
        y_section = range_coder.encode(y, indexes, tables["y"], **options) if y.size else b""
        return bitstream.pack(header, z_section, y_section), header, y_hat

    def _input(self, image):
        """The picture, padded, as the stage `analyse` takes it."""
        stride = self.net.stride
        if not isinstance(image, Planes):
            return pad_to_multiple(image, stride)[None]
        if self.net.transform != "dlec":
            raise InputError(
                f"model {self.model.name} codes three planes of one size: expected an RGB picture, "
                "found 4:2:0 planes"
            )
        luma, chroma = to_float(image)
        return pad_to_multiple(luma, stride)[None], pad_to_multiple(chroma, stride // 2)[None]

    # ---- bytes to pictures ---------------------------------------------------------------------

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
        self._check_model(header)
        with memory_for((header.height, header.width)):
            return self._picture(header, self._decode(header, z_section, y_section))

    def _decode(self, header, z_section, y_section):
        """y_hat of a stream."""
        net, tables = self.net, self.model.tables
        shape = tuple(
            padded_size(n, net.stride) // net.stride for n in (header.height, header.width)
        )
        decoder = range_coder.Decoder(z_section, tables["z"], self.backend)
        channels = net.M if net.hyperprior == "none" else net.N
        z = decoder.decode(channel_indexes((*shape, channels)))
        decoder.finish()
        symbols = [np.zeros((0, net.M), np.int32)]
        decoder = (
            range_coder.Decoder(y_section, tables["y"], self.backend) if "y" in tables else None
        )

        def exchange(rows, columns, mean, index):
            symbols.append(decoder.decode(index))
            return symbols[-1]

        y_hat = self.stages.code(z, self._level(header.quality, header.alpha), exchange)
        if symbols_crc(z, np.concatenate(symbols)) != header.symbols_crc:
            raise CorruptStreamError(
                "expected the symbols that the encoder coded, found others: this machine or library"
                " version computes other probabilities than the one that wrote the file"
            )
        if decoder is not None:
            decoder.finish()
        elif y_section:
            raise CorruptStreamError(f"expected no y section, found {len(y_section)} bytes")
        return y_hat

    # ---- shared by both directions -------------------------------------------------------------

    def _picture(self, header: bitstream.Header, y_hat: np.ndarray) -> np.ndarray | Planes:
        level = self._level(header.quality, header.alpha)
        size = {"height": header.height, "width": header.width}
        if header.planes:
            luma, chroma = self.stages.synthesise_planes(y_hat, level)
            self._check_finite(luma, chroma)
            kind = {k: getattr(header, k) for k in ("depth", "range", "matrix", "siting")}
            return from_float(luma, chroma, **size, **kind)
        rgb = crop_to(self.stages.synthesise(y_hat, level), **size)
        self._check_finite(rgb)
        return to_uint8(rgb_to_ycbcr(rgb)[..., 0] if header.grey else rgb)

    def _check_finite(self, *arrays: np.ndarray) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model {self.model.name}: expected finite values, found NaN or infinity"
            )

    def settings(self, quality: float | None, alpha: float | None) -> dict[str, float | None]:
        """What `encode` makes of its "quality" and "alpha": rounded as a header stores them.

        Raises:
          InputError: out of range, or not of this model.
        """
        net = self.net
        if quality is not None and not net.levels:
            raise InputError(
                f"model {self.model.name} has a single rate: expected no quality, found {quality}"
            )
        if alpha is not None and not net.alphas:
            raise InputError(
                f"model {self.model.name} has one balance of luma and chroma: expected no alpha, "
                f"found {alpha}"
            )
        if net.alphas:
            alpha = bitstream.quantize_alpha(
                min(max(DEFAULT_ALPHA, net.alphas[0]), net.alphas[-1]) if alpha is None else alpha
            )
            # The ends of the range, too, are stored rounded.
            if not net.alphas[0] * 0.999 < alpha < net.alphas[-1] * 1.001:
                raise InputError(
                    f"model {self.model.name}: expected alpha from {net.alphas[0]:g} to "
                    f"{net.alphas[-1]:g}, found {alpha:g}"
                )
        quality = DEFAULT_QUALITY if quality is None else bitstream.quantize_quality(quality)
        return {"quality": quality, "alpha": alpha}

    def _level(self, quality: float, alpha: float | None = None) -> np.ndarray:
        """Position on the grid of levels, (1,) or (1, 2): quality 0..100 is linear in the rates."""
        position = [quality / 100 * max(self.net.levels - 1, 0)]
        if self.net.alphas:
            position.append(alpha_position(alpha, self.net.alphas))
        return np.array([position] if self.net.alphas else position, np.float32)

    def _check_model(self, header: bitstream.Header) -> None:
        checks = [
            ("model id", f"{header.model_id:04x}", f"{self.model.model_id:04x}"),
            ("weights hash", header.weights_hash.hex(), self.model.weights_hash.hex()),
            ("subsampling", header.subsampling, self.net.subsampling),
        ]
        if not header.planes:
            checks.append(("colour", header.matrix, self._colour["matrix"]))
            checks.append(("range", header.range, self._colour["range"]))
        for what, expected, found in checks:
            if expected != found:
                raise ModelError(
                    f"the file needs a model with {what} {expected}, found {found} in model "
                    f"{self.model.name}"
                )
        # The hash is right, so what is refused from here on was written wrong.
        if bool(self.net.alphas) != (header.alpha is not None):
            raise CorruptStreamError(
                f"expected {'an' if self.net.alphas else 'no'} alpha, found {header.alpha}"
            )
        if header.planes and self.net.transform != "dlec":
            raise CorruptStreamError("expected a picture in RGB or grey, found planes")


@contextlib.contextmanager
def memory_for(shape: tuple[int, ...]):
    """Turns running out of memory, NumPy's or the device's, into a LimitError naming the size."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise LimitError(
            f"expected a picture that fits this machine's memory, found {shape[1]} x {shape[0]}"
        ) from error


def channel_indexes(shape: tuple[int, ...]) -> np.ndarray:
    """Table of each symbol of z (..., N): its channel."""
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)


def symbols_crc(z: np.ndarray, y: np.ndarray) -> int:
    """CRC-32 of the symbols in coding order, z's then y's, as little-endian int32."""
    crc = zlib.crc32(np.ascontiguousarray(z, "<i4").tobytes())
    return zlib.crc32(np.ascontiguousarray(y, "<i4").tobytes(), crc)
