"""Integers in as few bytes as they need (LEB128), and the care that reading bytes takes."""

from ycc_jax.errors import CorruptStreamError, InputError

VARINT_MAX = 2**32 - 1


def take(data: bytes, offset: int, size: int, field: str) -> tuple[bytes, int]:
    """The next `size` bytes and the offset behind them.

    Raises:
      CorruptStreamError: there are fewer.
    """
    if size > len(data) - offset:
        raise CorruptStreamError(
            f"truncated: expected {size} bytes of the {field}, found {max(0, len(data) - offset)}"
        )
    return data[offset : offset + size], offset + size


def varint(value: int, field: str) -> bytes:
    """`value` in groups of 7 bits, lowest first; the top bit of a byte says another follows.

    Raises:
      InputError: the value is 2^32 or more.
    """
    if value > VARINT_MAX:
        raise InputError(f"expected a {field} of at most {VARINT_MAX}, found {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, offset: int, field: str) -> tuple[int, int]:
    """The value and the offset behind it; only the form that `varint` writes is accepted.

    Raises:
      CorruptStreamError: another form, or the end of the data.
    """
    if offset < len(data) and data[offset] < 0x80:  # most are, and an index may be long
        return data[offset], offset + 1
    value = 0
    for index in range(5):
        if offset + index >= len(data):
            raise CorruptStreamError(f"truncated: expected the {field}, found the end of the file")
        byte = data[offset + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value > VARINT_MAX:
                raise CorruptStreamError(f"expected a {field} below 2^32, found {value}")
            if byte == 0 and index:
                raise CorruptStreamError(
                    f"expected the shortest form of the {field}, found a padded one"
                )
            return value, offset + index + 1
    raise CorruptStreamError(f"expected a {field} of at most 5 bytes, found more")
