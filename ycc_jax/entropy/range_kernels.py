"""The loops of the range coder, compiled by numba: `encode`, `decode` and `ends`.

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

The compiled code is kept beside this file, or in the user's cache folder where that is read-only
(`NUMBA_CACHE_DIR` overrides both); where neither can be written, each process compiles anew.
"""

import numba
import numpy as np

from ycc_jax.entropy.tables import PRECISION

GAMMA_BITS = 30  # with more, the int32 arithmetic of TFC's gamma code overflows
_MASK = 0xFFFFFFFF


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
def encode(symbols, rows, cdf, length, out):
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


def decoder_state(data):
    """What `decode` and `ends` take as `state` before the first symbol of the bytes `data`."""
    first = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
    return np.array([0, _MASK, first, 4], np.int64)


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
def decode(data, state, cdf, length, rows, symbols):
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
                if bits > GAMMA_BITS:
                    return False
            distance = 1
            for _ in range(bits - 1):
                distance = 2 * distance + _take_bit(data, state)
            symbol = -distance if _take_bit(data, state) else distance + escape - 1
        symbols[i] = symbol
    return True


@_compiled
def ends(data, state):
    """Whether an encoder that is where the decoder is would have written `data`."""
    base, value, read = state[0], state[2], state[3]
    if base == 0:
        return value == 0 and data.size == read - 4
    number = _final_number(base, base + state[1])
    return value == number & _MASK and 0 < data.size <= read and data[-1] != 0
