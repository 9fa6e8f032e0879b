"""The symbols of one picture, wave after wave: to the coded sections, and back.

A `Writer` and a `Reader` answer the same call, `exchange(place, mean, index) -> symbols`:
the one chooses the symbols of those positions of y and keeps them to be coded, the other reads
them. Both know the CRC of all symbols so far: z's, then y's in coding order. What it starts
from covers the header.
"""

import zlib

import numpy as np

from ycc_jax.entropy import range_coder, rdo
from ycc_jax.entropy.tables import CdfTables
from ycc_jax.errors import CorruptStreamError
from ycc_jax.rounding import Y_BITS

Tables = dict[str, CdfTables]


class Writer:
    """Symbols of a picture that is encoded.

    Args:
      z: symbols of the latent with the factorized density, integers (h, w, N).
      y: (h, w, M), the latent with gain, not rounded.
      tables: of the codec model: "z", and "y" unless it has no hyperprior (then nothing is asked).
      worth: of `rdo.quantize`.
      crc: what the checksum of the symbols starts from.

    Attributes:
      crc: CRC-32 of the symbols so far, each as little-endian int32.
    """

    def __init__(self, z: np.ndarray, y: np.ndarray, tables: Tables, worth: float, crc: int = 0):
        self.crc = _crc(z, crc)
        self._z, self._y, self._tables, self._worth = z, y, tables, worth
        self._symbols: list[np.ndarray] = []
        self._indexes: list[np.ndarray] = []

    def __call__(self, place: tuple, mean: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Symbols, int32 (n, m), of m channels at n positions of y.

        Args:
          place: where they are: an index of y, rows (n,), columns (n,) and a slice of channels.
          mean: (n, m), int32 in 1/256 quantiser steps.
          index: (n, m), row of the tables of y.
        """
        residual = self._y[place] - mean / np.float32(1 << Y_BITS)
        symbols = rdo.quantize(residual, index, self._tables["y"], self._worth)
        self._symbols.append(symbols.ravel())
        self._indexes.append(index.ravel())
        self.crc = _crc(symbols, self.crc)
        return symbols

    def sections(self, backend: str) -> tuple[bytes, bytes]:
        """The z and the y section, by a backend of the range coder."""
        z = range_coder.encode(self._z, _channels(self._z.shape), self._tables["z"], backend)
        if not self._symbols:
            return z, b""
        symbols, indexes = np.concatenate(self._symbols), np.concatenate(self._indexes)
        return z, range_coder.encode(symbols, indexes, self._tables["y"], backend)


class Reader:
    """Symbols of a picture that is decoded; reads those of z at once.

    Args:
      z_section, y_section: what `Writer.sections` gave.
      shape: of z, (h, w, N).
      tables, crc: as in `Writer`.
      backend: of the range coder.

    Attributes:
      z: symbols of z, int32.
      crc: as in `Writer`.

    Raises:
      CorruptStreamError: the z section is not that of such symbols.
    """

    def __init__(
        self,
        z_section: bytes,
        y_section: bytes,
        shape: tuple[int, int, int],
        tables: Tables,
        backend: str,
        crc: int = 0,
    ):
        decoder = range_coder.Decoder(z_section, tables["z"], backend)
        self.z = decoder.decode(_channels(shape))
        decoder.finish()
        self.crc = _crc(self.z, crc)
        # Without a hyperprior there is no symbol of y to read, and any table reads none.
        self._decoder = range_coder.Decoder(y_section, tables.get("y", tables["z"]), backend)

    def __call__(self, place: tuple, mean: np.ndarray, index: np.ndarray) -> np.ndarray:
        """As `Writer.__call__`."""
        symbols = self._decoder.decode(index)
        self.crc = _crc(symbols, self.crc)
        return symbols

    def finish(self, crc: int) -> None:
        """Checks that all was read, and that it is what the encoder coded.

        Raises:
          CorruptStreamError: the symbols have another CRC, or bytes are left over.
        """
        if self.crc != crc:
            raise CorruptStreamError(
                f"damaged: expected the symbols that the encoder coded, with checksum {crc:08x}, "
                f"found {self.crc:08x}"
            )
        self._decoder.finish()


def _crc(symbols: np.ndarray, crc: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(symbols, "<i4").tobytes(), crc)


def _channels(shape: tuple[int, ...]) -> np.ndarray:
    """Row of each symbol of z, (..., N): its channel."""
    return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)
