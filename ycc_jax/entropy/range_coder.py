"""Integers to bytes and back: the range coder of TensorFlow Compression (TFC), byte for byte.

A stream is one number in [0, 1), written in base 256 without its trailing zeros. Coding a symbol
narrows an interval of such numbers in proportion to the symbol's counts (Martin 1979). Of the
interval the coder holds `base`, its lower end, and `size`, in units of the 32nd bit after the bytes
already shifted out:

- 2**16 < size <= 2**32 before every step, so that no 16-bit count empties the interval. A step with
  cumulative counts lower < upper of 2**precision makes it
  [base + floor(size lower / 2**precision), base + floor(size upper / 2**precision)).
- Where that leaves size <= 2**16, base and size are multiplied by 2**16 and the upper 16 of base's
  32 bits are shifted out.
- base may pass 2**32: the carry goes into bytes already shifted out. TFC holds those back in a
  variable named `delay` until the carry is decided; here they are in the output and are changed
  there, which gives the same bytes.
- At the end the number written is the first that lies in the interval of: 0; base rounded up to a
  multiple of 2**32, of 2**24, of 2**16. Unless base is 0, trailing zero bytes are dropped; a
  decoder reads zeros after the end.

An integer outside its row's support is the row's escape symbol, then in equiprobable bits the
Elias gamma code of its distance (n - 1 zeros, then n bits) and its side (1: below).

Backends. "native" is this file's code, compiled by numba. "tfc" calls TFC's own operations, from
tensorflow-compression-ops; it is there to check the native one against. "auto" is "native", which
is faster and spares the import of TensorFlow. Measured on a 2-core x86-64 machine, 491,520 symbols:
25 ms to encode and 18 ms to decode in 141 pieces, "tfc" 33 and 57 ms, importing TensorFlow 3 to
5 s, importing numba 0.15 to 0.4 s. The first calls take 3 s to compile once per installation, then
0.2 s per process. The compiled code is kept beside this file, or in the user's cache folder where
that is read-only (`NUMBA_CACHE_DIR` overrides both); where neither can be written, each process
compiles anew.
"""

import importlib.util
import sys

import numba
import numpy as np

from ycc_jax.entropy.tables import PRECISION
from ycc_jax.errors import CorruptStreamError, InputError, YccError

GAMMA_LIMIT = 1 << 30  # from here on the int32 arithmetic of TFC's gamma code overflows
_GAMMA_BITS = 30
_MASK = 0xFFFFFFFF


class MissingBackendError(YccError, ImportError):
    """The range coder's backend is not installed."""


def available_backends():
    """The names that `backend` may have here, "auto" aside, as a tuple. Imports nothing."""
    modules = ("tensorflow", "tensorflow_compression_ops")
    found = all(importlib.util.find_spec(module) for module in modules)
    return ("native", "tfc") if found else ("native",)


def encode(values, indexes, tables, backend="auto"):
    """Codes integers.

    Args:
      values: integer array of any shape, coded in C order. `value - offset` of its row must be
        above -2**30 and less than 2**30 past the row's support.
      indexes: integer array of the same shape: the row of `tables` for each value.
      tables: `CdfTables`.
      backend: "auto", "native" or "tfc"; the bytes are the same.

    Returns:
      bytes. No integers are no bytes.

    Raises:
      InputError: shapes differ, a dtype is not integer, or a value or index is out of range.
      MissingBackendError: TFC is not installed.
    """
    ops = _backend_ops(backend)
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
    # Every step shifts out two bytes at most. An escape takes up to 2 * _GAMMA_BITS steps more.
    steps = symbols.size + 2 * _GAMMA_BITS * np.count_nonzero(distance > 0)
    out = np.empty(2 * steps + 4, np.uint8)
    return out[: _encode(symbols, indexes, tables.cdf, tables.length, out)].tobytes()


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
      MissingBackendError: TFC is not installed.
    """

    def __init__(self, data, tables, backend="auto"):
        self._ops = _backend_ops(backend)
        data = bytes(data)
        self._tables = tables
        self._data = np.frombuffer(data, np.uint8)
        first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._state = np.array([0, _MASK, first, 4], np.int64)
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
        if not _decode(self._data, self._state, cdf, length, rows, symbols):
            raise CorruptStreamError(
                f"an escape code must have at most {_GAMMA_BITS} bits, found more before byte "
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
        ends = _ends(self._data, self._state)
        if ends and self._ops is not None:
            ends = bool(self._ops.entropy_decode_finalize(self._handle))
        if not ends:
            raise CorruptStreamError(
                f"the {self._data.size} bytes must be those that encode the integers decoded; "
                "some are missing, left over or changed"
            )


def _backend_ops(backend):
    """TFC's operations, or None for the native coder."""
    if backend in ("auto", "native"):
        return None
    if backend == "tfc":
        return _load_tfc()
    raise InputError(f'backend must be "auto", "native" or "tfc", found {backend!r}')


def _load_tfc():
    if "tfc" not in available_backends():
        raise MissingBackendError(
            'backend "tfc" needs TensorFlow and tensorflow-compression-ops: '
            "pip install ycc-jax[tfc]"
        )
    started = "tensorflow" in sys.modules
    try:
        import tensorflow as tf

        if not started:  # else TensorFlow would reserve the GPU memory that JAX needs
            tf.config.set_visible_devices([], "GPU")
        import tensorflow_compression_ops
    except Exception as error:  # TensorFlow's own class where its version is another
        raise MissingBackendError(
            'backend "tfc" cannot be loaded, most likely because TensorFlow is not the version '
            f"that pip install ycc-jax[tfc] brings: {error}"
        ) from error
    return tensorflow_compression_ops


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


def _compiled(function):
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no folder to keep the compiled code in
        return numba.njit(function)


# All arithmetic is int64: no quantity exceeds 2**49, and numba makes float64 of int64 with uint64.
# The callers have checked the indexes, and CdfTables the counts.


@_compiled
def _narrow(state, lower, upper, precision):
    """Narrows [base, size - 1] = state[:2]; base is then less than 2**33. True: shift 16 bits."""
    size = state[1] + 1
    start = (size * lower) >> precision
    state[0] += start
    state[1] = ((size * upper) >> precision) - 1 - start
    return state[1] < 1 << 16


@_compiled
def _carry(out, end):
    """Adds one to the number in out[:end]; the interval stays below 1, so it does not overflow."""
    end -= 1
    while out[end] == 0xFF:
        out[end] = 0
        end -= 1
    out[end] += 1


@_compiled
def _put(state, out, lower, upper, precision):
    """One step of the encoder; state is base, size - 1, number of bytes in `out`."""
    shift = _narrow(state, lower, upper, precision)
    end = state[2]
    if state[0] > _MASK:
        state[0] &= _MASK
        _carry(out, end)
    if shift:
        out[end] = state[0] >> 24
        out[end + 1] = (state[0] >> 16) & 0xFF
        state[0] = (state[0] << 16) & _MASK
        state[1] = (state[1] << 16) | 0xFFFF
        state[2] = end + 2


@_compiled
def _final_number(base, last):
    """The number in [base, last] that a stream ends with; 2**32 is a carry and four zero bytes."""
    for shift in (32, 24):
        number = (((base - 1) >> shift) + 1) << shift
        if number <= last:
            return number
    return (((base - 1) >> 16) + 1) << 16


@_compiled
def _encode(symbols, rows, cdf, length, out):
    """Fills `out` and returns the number of bytes."""
    state = np.array([0, _MASK, 0])
    for i in range(symbols.size):
        row = rows[i]
        value = symbols[i]
        escape = length[row] - 2
        symbol = value if 0 <= value < escape else escape
        _put(state, out, cdf[row, symbol], cdf[row, symbol + 1], PRECISION)
        if symbol == escape:
            distance = -value if value < 0 else value - escape + 1
            bits = 1
            while distance >> bits:
                _put(state, out, 0, 1, 1)
                bits += 1
            for k in range(bits - 1, -1, -1):
                bit = (distance >> k) & 1
                _put(state, out, bit, bit + 1, 1)
            below = 1 if value < 0 else 0
            _put(state, out, below, below + 1, 1)
    base, end = state[0], state[2]
    if base == 0:
        return end
    number = _final_number(base, base + state[1])
    if number > _MASK:
        _carry(out, end)
    for shift in (24, 16, 8, 0):
        out[end] = (number >> shift) & 0xFF
        end += 1
    while out[end - 1] == 0:
        end -= 1
    return end


@_compiled
def _take(data, state, lower, upper, precision):
    """One step of the decoder; state is base, size - 1, the 32 bits of data there, bytes read."""
    shift = _narrow(state, lower, upper, precision)
    state[0] &= _MASK
    if shift:
        state[0] = (state[0] << 16) & _MASK
        state[1] = (state[1] << 16) | 0xFFFF
        for _ in range(2):
            byte = data[state[3]] if state[3] < data.size else 0
            state[2] = ((state[2] << 8) & _MASK) | byte
            state[3] += 1


@_compiled
def _take_bit(data, state):
    bit = 1 if ((state[2] - state[0]) & _MASK) >= (state[1] + 1) >> 1 else 0
    _take(data, state, bit, bit + 1, 1)
    return bit


@_compiled
def _decode(data, state, cdf, length, rows, symbols):
    """Fills `symbols`. False: an escape code was too long.

    The 32 bits of data lie in [base, base + size) from the start, whatever they are, and each step
    keeps them there; so every search below finds a symbol.
    """
    for i in range(rows.size):
        row = rows[i]
        escape = length[row] - 2
        # The smallest symbol whose upper end, floor(size count / 2**16), is past the data.
        target = (((state[2] - state[0]) & _MASK) + 1) << PRECISION
        symbol, high = 0, escape
        while symbol < high:
            middle = (symbol + high) >> 1
            if (state[1] + 1) * cdf[row, middle + 1] >= target:
                high = middle
            else:
                symbol = middle + 1
        _take(data, state, cdf[row, symbol], cdf[row, symbol + 1], PRECISION)
        if symbol == escape:
            bits = 1
            while _take_bit(data, state) == 0:
                bits += 1
                if bits > _GAMMA_BITS:
                    return False
            distance = 1
            for _ in range(bits - 1):
                distance = 2 * distance + _take_bit(data, state)
            symbol = -distance if _take_bit(data, state) else distance + escape - 1
        symbols[i] = symbol
    return True


@_compiled
def _ends(data, state):
    """Whether an encoder that is where the decoder is would have written `data`."""
    base, value, read = state[0], state[2], state[3]
    if base == 0:
        return value == 0 and data.size == read - 4
    number = _final_number(base, base + state[1])
    return value == number & _MASK and 0 < data.size <= read and data[-1] != 0
