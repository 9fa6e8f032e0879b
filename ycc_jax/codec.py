"""Pictures to bytes and back with a codec model: the stages of `models.py`, run for real."""

import contextlib
import os
import zlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax import bitstream, rdo, wavefront
from ycc_jax.checkpoint import CodecModel, load_model
from ycc_jax.color import from_uint8, rgb_to_ycbcr, to_uint8
from ycc_jax.entropy import range_coder
from ycc_jax.entropy.tables import LOG_MIN, LOG_STEP, NUM_SCALES
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, ModelError
from ycc_jax.models import Z_STRIDE, build
from ycc_jax.padding import crop_to, pad_to_multiple, padded_size

Array = jax.Array

DEFAULT_QUALITY = 50.0
BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_DEFAULT = "dlec_gain_small"


def load(model: str | Path | None = None, *, backend: str = "auto") -> "Codec":
    """A codec from a codec model.

    Args:
      model: a folder that training exported (WORKDIR/model), the name of a bundled model, or None
        for the bundled default.
      backend: of the range coder, "auto", "native" or "tfc" (`entropy.range_coder`).

    Raises:
      ModelError: no such model, or a damaged one.
    """
    name = BUNDLED_DEFAULT if model is None else model
    path = BUNDLED / str(name)
    # A folder wins over a bundled model of that name, but only one that is a model.
    if model is not None and (Path(model) / "model.json").is_file():
        path = Path(model)
    if not path.is_dir():
        bundled = sorted(p.name for p in BUNDLED.glob("*") if p.is_dir())
        raise ModelError(
            f"expected a codec model folder or one of the bundled models {bundled}, "
            f"found {str(name)!r}"
        )
    return Codec(load_model(path), backend=backend)


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
        params = jax.device_put(model.params)
        self._analyse, self._hyper, self._step, self._synthesise = (
            partial(jax.jit(stage), params)
            for stage in (self.analyse, self.hyper, self.step, self.synthesise)
        )

    # ---- compiled stages -----------------------------------------------------------------------
    # Those between z_hat and the tables are each one function for encoder and decoder: the same
    # compiled program on the same shapes gives both the same bits.

    def _apply(self, params, method, *args):
        # Accelerators would otherwise multiply in bf16 or tf32.
        with jax.default_matmul_precision("highest"):
            return self.net.apply({"params": params}, *args, method=method)

    def analyse(self, params, image: Array, level: Array) -> tuple[Array, Array]:
        """uint8 (1, H, W, 3) -> gained y (h, w, M) and z (h/4, w/4, N), not rounded."""
        x = from_uint8(image)
        y = self._apply(params, self.net.analyse, x, level)
        z = self._apply(params, self.net.hyper_analyse, y, level)
        return y[0], z[0]

    def hyper(self, params, z: Array, level: Array) -> Array:
        """Symbols of z -> hyper features (h, w, F)."""
        z = z[None].astype(jnp.float32)
        return self._apply(params, self.net.hyper_synthesise, z, level)[0]

    def step(self, params, level: Array, hyper: Array, neighbours: Array) -> tuple[Array, Array]:
        """One step of the wavefront: mean and scale index of `wavefront.POSITIONS` positions."""
        mean, scale = self._apply(params, self.net.parameters, hyper, neighbours, level)
        index = jnp.round((jnp.log(jnp.maximum(scale, 1e-9)) - LOG_MIN) / LOG_STEP)
        return mean, jnp.clip(index, 0, NUM_SCALES - 1).astype(jnp.int32)

    def synthesise(self, params, y_hat: Array, level: Array) -> Array:
        """y_hat (h, w, M) -> RGB (H, W, 3), floats."""
        return self._apply(params, self.net.synthesise, y_hat[None], level)[0]

    # ---- pictures to bytes ---------------------------------------------------------------------

    def encode(
        self,
        image: np.ndarray,
        quality: float | None = None,
        *,
        worth: float = rdo.BITS_PER_SQUARED_STEP,
    ) -> bytes:
        """A picture as a `.ycc` stream.

        Args:
          image: uint8 RGB (H, W, 3) or grey (H, W), any size from 1x1.
          quality: 0 (smallest) to 100 (best), continuous; stored in steps of 1/512. None is 50. A
            single-rate model takes only None.
          worth: of the rate-distortion optimised quantisation (`rdo.py`), in bits per squared step;
            `float("inf")` rounds plainly. Every choice decodes.

        Raises:
          InputError: another dtype or shape, or quality out of range.
          LimitError: more than this machine's memory holds.
        """
        return self._encode(image, quality, worth)[0]

    def encode_with_picture(
        self,
        image: np.ndarray,
        quality: float | None = None,
        *,
        worth: float = rdo.BITS_PER_SQUARED_STEP,
    ) -> tuple[bytes, np.ndarray]:
        """`encode`, and the picture that `decode` will return for it, without decoding."""
        image = np.asarray(image)
        data, y_hat, level = self._encode(image, quality, worth)
        with memory_for(image.shape):
            return data, self._picture(y_hat, level, image.shape, grey=image.ndim == 2)

    def _encode(self, image, quality, worth):
        image = np.asarray(image)
        grey = image.ndim == 2
        colour = np.repeat(image[..., None], 3, axis=-1) if grey else image
        if image.dtype != np.uint8 or colour.ndim != 3 or colour.shape[2] != 3 or not image.size:
            raise InputError(
                "expected a uint8 picture (H, W, 3) or (H, W) of at least 1x1, "
                f"found {image.dtype} {image.shape}"
            )
        quality = self._stored_quality(quality)
        level = self._level(quality)
        with memory_for(image.shape):
            y, z = map(np.asarray, self._analyse(pad_to_multiple(colour, Z_STRIDE)[None], level))
        self._check_finite(y, z)
        z = np.rint(z).astype(np.int32)
        quantize = rdo.RdoQuantizer(self.model.tables["y"], worth)
        symbols, indexes = [], []

        def exchange(rows, columns, mean, index):
            symbols.append(quantize(y[rows, columns] - mean, index))
            indexes.append(index)
            return symbols[-1]

        y_hat = self._walk(z, level, exchange)
        symbols, indexes = np.concatenate(symbols), np.concatenate(indexes)
        tables, options = self.model.tables, {"backend": self.backend}
        header = bitstream.Header(
            width=colour.shape[1],
            height=colour.shape[0],
            quality=quality,
            model_id=self.model.model_id,
            weights_hash=self.model.weights_hash,
            symbols_crc=symbols_crc(z, symbols),
            grey=grey,
            **self._colour,
        )
        z_section = range_coder.encode(z, channel_indexes(z.shape), tables["z"], **options)
        y_section = range_coder.encode(symbols, indexes, tables["y"], **options)
        return bitstream.pack(header, z_section, y_section), y_hat, level

    # ---- bytes to pictures ---------------------------------------------------------------------

    def decode(
        self, data: bytes, *, max_pixels: int | None = bitstream.DEFAULT_MAX_PIXELS
    ) -> np.ndarray:
        """The picture of a `.ycc` stream: uint8, (H, W, 3), or (H, W) if it was encoded from grey.

        Args:
          data: the stream.
          max_pixels: larger pictures are refused before anything is allocated; None: no limit.

        Raises:
          CorruptStreamError: damaged, truncated, of another version; or this machine computes
            other probabilities than the encoder's did.
          ModelError: the stream was made with another model or other weights.
          LimitError: above max_pixels, or more than this machine's memory holds.
        """
        header, z_section, y_section = bitstream.unpack(data, max_pixels)
        self._check_model(header)
        with memory_for((header.height, header.width)):
            return self._decode(header, z_section, y_section)

    def _decode(self, header, z_section, y_section):
        height, width = (padded_size(n, Z_STRIDE) for n in (header.height, header.width))
        z_shape = (height // Z_STRIDE, width // Z_STRIDE, self.net.N)
        level = self._level(header.quality)
        tables = self.model.tables
        decoder = range_coder.Decoder(z_section, tables["z"], self.backend)
        z = decoder.decode(channel_indexes(z_shape))
        decoder.finish()
        decoder = range_coder.Decoder(y_section, tables["y"], self.backend)
        symbols = []

        def exchange(rows, columns, mean, index):
            symbols.append(decoder.decode(index))
            return symbols[-1]

        y_hat = self._walk(z, level, exchange)
        if symbols_crc(z, np.concatenate(symbols)) != header.symbols_crc:
            raise CorruptStreamError(
                "expected the symbols that the encoder coded, found others: this machine or library"
                " version computes other probabilities than the one that wrote the file"
            )
        decoder.finish()
        return self._picture(y_hat, level, (header.height, header.width), grey=header.grey)

    # ---- shared by both directions -------------------------------------------------------------

    def _walk(self, z: np.ndarray, level: np.ndarray, exchange: wavefront.Exchange) -> np.ndarray:
        """y_hat (h, w, M), from the symbols of z and those that exchange gives."""
        hyper = np.asarray(self._hyper(z, level))

        def step(*positions):
            return tuple(np.asarray(a) for a in self._step(level, *positions))

        return wavefront.code(hyper, self.net.M, step, exchange)

    def _picture(self, y_hat, level, shape, grey: bool) -> np.ndarray:
        rgb = crop_to(np.asarray(self._synthesise(y_hat, level)), *shape[:2])
        self._check_finite(rgb)
        return to_uint8(rgb_to_ycbcr(rgb)[..., 0] if grey else rgb)

    def _check_finite(self, *arrays: np.ndarray) -> None:
        if not all(np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model {self.model.name}: expected finite values, found NaN or infinity"
            )

    def _stored_quality(self, quality: float | None) -> float:
        if quality is None:
            return DEFAULT_QUALITY
        if not self.net.levels:
            raise InputError(
                f"model {self.model.name} has a single rate: expected no quality, found {quality}"
            )
        return bitstream.quantize_quality(quality)

    def _level(self, quality: float) -> np.ndarray:
        """Quality 0..100 -> fractional gain level (1,), 0 .. levels - 1, linearly."""
        return np.array([quality / 100 * max(self.net.levels - 1, 0)], np.float32)

    def _check_model(self, header: bitstream.Header) -> None:
        for what, expected, found in (
            ("model id", f"{header.model_id:04x}", f"{self.model.model_id:04x}"),
            ("weights hash", header.weights_hash.hex(), self.model.weights_hash.hex()),
            ("colour", header.matrix, self._colour["matrix"]),
            ("range", header.range, self._colour["range"]),
            ("subsampling", header.subsampling, "444"),
        ):
            if expected != found:
                raise ModelError(
                    f"the file needs a model with {what} {expected}, found {found} in model "
                    f"{self.model.name}"
                )


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
