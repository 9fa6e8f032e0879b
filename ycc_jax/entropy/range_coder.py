"""Integers to bytes and back: the range coder of TensorFlow Compression (TFC), byte for byte.

What the bytes are, and the loops that write and read them, is in `range_kernels.py`; here are the
interface and its checks. An integer outside its row's support is coded as the row's escape symbol
and its distance in an Elias gamma code. `backends.py` says which of two backends runs: "native" are
those loops, "tfc" are TFC's own operations.

Measured on a 2-core x86-64 machine, 491,520 symbols: "native" 25 ms to encode and 18 ms to decode
in 141 pieces, "tfc" 33 and 57 ms; importing TensorFlow 3 to 5 s, importing numba 0.15 to 0.4 s. The
first calls take 3 s to compile once per installation, then 0.2 s per process; `range_kernels.py`
says where the compiled code is kept.
"""

import numpy as np

from ycc_jax.entropy import backends, range_kernels
from ycc_jax.entropy.range_kernels import GAMMA_BITS
from ycc_jax.errors import CorruptStreamError, InputError

GAMMA_LIMIT = 1 << GAMMA_BITS


def encode(values, indexes, tables, backend="auto"):
    """Codes integers.

    Args:
      values: integer array of any shape, coded in C order. `value - offset` of its row must be
        above -2**30 and less than 2**30 past the row's support.
      indexes: integer array of the same shape: the row of `tables` for each value.
      tables: `CdfTables`.
      backend: "auto", "native" or "tfc" (`backends.py`); the bytes are the same.

    Returns:
      bytes. No integers are no bytes.

    Raises:
      InputError: shapes differ, a dtype is not integer, or a value or index is out of range.
      MissingBackendError: "tfc" is asked for, and not installed or not to be loaded.
    """
    ops = backends.operations(backend)
    values, indexes = np.asarray(values), np.asarray(indexes)
    if values.shape != indexes.shape:
        raise InputError(
            f"values and indexes must have the same shape, found {values.shape}, {indexes.shape}"
        )
    indexes = _flat_indexes(indexes, tables)
    _check_integer("values", values)
    symbols = values.reshape(-1).astype(np.int64) - tables.offset[indexes]
    escape = tables.length[indexes] - 2
    distance = np.where(symbols < 0, -symbols, symbols - escape + 1)
    if distance.size and distance.max() >= GAMMA_LIMIT:
        worst = int(distance.argmax())
        raise InputError(
            f"values must be less than {GAMMA_LIMIT} outside their row's support, found "
            f"{values.reshape(-1)[worst]} in row {indexes[worst]}"
        )
    symbols = symbols.astype(np.int32)
    if ops is not None:
        handle = ops.create_range_encoder([], tables.lookup)
        handle = ops.entropy_encode_index(handle, indexes, symbols)
        return ops.entropy_encode_finalize(handle).numpy()
    # Every step shifts out two bytes at most. An escape takes up to 2 * GAMMA_BITS steps more.
    steps = symbols.size + 2 * GAMMA_BITS * np.count_nonzero(distance > 0)
    out = np.empty(2 * steps + 4, np.uint8)
    return out[: range_kernels.encode(symbols, indexes, tables.cdf, tables.length, out)].tobytes()


class Decoder:
    """Reads what `encode` wrote, in pieces of any sizes.

    Whatever the bytes, it reads nothing outside them and ends. Each piece takes time proportional
    to its number of symbols.

    Args:
      data: bytes-like.
      tables: the `CdfTables` that the stream was written with. With others, wrong integers or
        `CorruptStreamError` result.
      backend: "auto", "native" or "tfc". The last runs TFC's decoder behind the native one: alone
        it would never return from some damaged streams.

    Raises:
      MissingBackendError: "tfc" is asked for, and not installed or not to be loaded.
    """

    def __init__(self, data, tables, backend="auto"):
        self._ops = backends.operations(backend)
        data = bytes(data)
        self._tables = tables
        self._data = np.frombuffer(data, np.uint8)
        self._state = range_kernels.decoder_state(data)
        if self._ops is not None:
            self._handle = self._ops.create_range_decoder(data, tables.lookup)

    def decode(self, indexes):
        """The next integers.

        Args:
          indexes: integer array of any shape: the row of the tables for each of them.

        Returns:
          int32 of the same shape.

        Raises:
          InputError: the dtype is not integer or an index is out of range. Nothing was read.
          CorruptStreamError: an escape's distance has more than 30 bits, which no encoder writes.
            The decoder is of no further use.
        """
        indexes = np.asarray(indexes)
        rows = _flat_indexes(indexes, self._tables)
        symbols = np.empty(rows.size, np.int32)
        cdf, length = self._tables.cdf, self._tables.length
        if not range_kernels.decode(self._data, self._state, cdf, length, rows, symbols):
            raise CorruptStreamError(
                f"an escape code must have at most {GAMMA_BITS} bits, found more before byte "
                f"{self._state[3]} of {self._data.size}"
            )
        if self._ops is not None:
            self._handle, symbols = self._ops.entropy_decode_index(
                self._handle, rows, [rows.size], Tdecoded=np.int32
            )
            symbols = symbols.numpy()
        return (symbols + self._tables.offset[rows]).reshape(indexes.shape)

    def finish(self):
        """Checks that `data` is, to the last byte, what `encode` writes for the integers decoded.

        No stricter check is possible without knowing the integers. It finds bytes that they do not
        need: added ones (zeros too, which TFC's own check may let pass) and those of integers not
        yet decoded. Other damage it mostly does not find: as zeros follow the end, nearly every
        truncated stream, or one from which too many integers are read, is the whole stream of the
        integers that come out, and so is many a stream with a flipped bit. A file format needs the
        stream's length and a checksum of the integers beside it.

        Raises:
          CorruptStreamError: it is not.
        """
        ends = range_kernels.ends(self._data, self._state)
        if ends and self._ops is not None:
            ends = bool(self._ops.entropy_decode_finalize(self._handle))
        if not ends:
            raise CorruptStreamError(
                f"the {self._data.size} bytes must be those that encode the integers decoded; "
                "some are missing, left over or changed"
            )


def _check_integer(name, array):
    if not np.can_cast(array.dtype, np.int64) or array.dtype == bool:
        raise InputError(f"{name} must be integers of at most 64 bits, found {array.dtype}")


def _flat_indexes(indexes, tables):
    _check_integer("indexes", indexes)
    rows = tables.length.size
    if indexes.size and not (0 <= indexes.min() and indexes.max() < rows):
        raise InputError(
            f"indexes must be in [0, {rows}), found {indexes.min()} to {indexes.max()}"
        )
    return indexes.reshape(-1).astype(np.int32)
