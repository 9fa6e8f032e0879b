"""The range coder: against TFC's bytes, an encoder in Python's integers, and damaged streams."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ycc_jax.entropy.backends import available_backends
from ycc_jax.entropy.range_coder import Decoder, encode
from ycc_jax.entropy.tables import CdfTables, gaussian_tables, quantize_pmf, tables_from_pmf
from ycc_jax.errors import CorruptStreamError, InputError

needs_tfc = pytest.mark.skipif(
    "tfc" not in available_backends(),
    reason="tensorflow-compression-ops is not installed; the test environment with TFC runs this",
)
BACKENDS = ["native", pytest.param("tfc", marks=needs_tfc)]

# The middle symbol of row 0 keeps the interval astride a multiple of 2**32, so that a carry stays
# undecided; row 1 has the escape only; row 2 is all but certain of its second symbol.
GOLDEN_TABLES = CdfTables(
    np.array(
        [
            [0, 32767, 32769, 65535, 65536],
            [0, 65536, 65536, 65536, 65536],
            [0, 1, 65535, 65536, 65536],
        ],
        np.int32,
    ),
    np.array([5, 2, 4], np.int32),
    np.array([-1, 0, 5], np.int32),
)
# Values, indexes, and what tensorflow-compression-ops 2.17.0 wrote for values - offset[indexes]:
# create_range_encoder([], GOLDEN_TABLES.lookup), entropy_encode_index, entropy_encode_finalize.
GOLDEN = [
    ([], [], ""),
    ([0] * 9, [0] * 9, "80"),
    ([0] * 9 + [-1], [0] * 10, "7fffffffffffffffffffffffffffffffff"),
    ([0] * 9 + [1], [0] * 10, "800000000000000000000000000000000001"),
    ([5] * 6, [2] * 6, "000000000000000000000000"),
    ([5, 5, 6], [2] * 3, "0000000001"),
    ([6], [2], "01"),
    ([2, -2, 100, -100, 5000], [0] * 5, "ffffbffffffff031bfffc0c7ffff0009c380"),
    ([0, -1, 1, 2**30 - 2, 1 - 2**30], [1] * 5, "b400000007ffffffe00000007fffffff"),
    ([1, -1, 0, 6, 4, 7, 5, 3, -7, 0], [0, 0, 0, 2, 2, 2, 2, 1, 1, 0], "a0007ffe8002f0000107c0"),
]


def read_all(data, indexes, tables, backend="native", pieces=1):
    decoder = Decoder(data, tables, backend)
    values = [decoder.decode(part) for part in np.array_split(indexes, pieces)]
    decoder.finish()
    return np.concatenate(values)


def reference_encode(values, indexes, tables):
    """The definition in the docstring of `range_kernels`, with one integer for the whole stream."""
    base, size, shifts = 0, 1 << 32, 0
    for value, row in zip(values, indexes, strict=True):
        counts = [int(c) for c in tables.cdf[row, : tables.length[row]]]
        symbol, escape = int(value) - int(tables.offset[row]), len(counts) - 2
        inside = 0 <= symbol < escape
        shown = symbol if inside else escape
        steps = [(counts[shown], counts[shown + 1], 16)]
        if not inside:
            distance = -symbol if symbol < 0 else symbol - escape + 1
            code = "0" * (distance.bit_length() - 1) + f"{distance:b}" + "01"[symbol < 0]
            steps += [(int(bit), int(bit) + 1, 1) for bit in code]
        for lower, upper, precision in steps:
            start, end = size * lower >> precision, size * upper >> precision
            base, size = base + start, end - start
            if size <= 1 << 16:
                base, size, shifts = base << 16, size << 16, shifts + 1
    if base % 2**32 == 0:
        return (base >> 32).to_bytes(2 * shifts, "big")
    for unit in (1 << 32, 1 << 24, 1 << 16):
        number = -(-base // unit) * unit
        if number < base + size:
            return number.to_bytes(2 * shifts + 4, "big").rstrip(b"\0")
    raise AssertionError("2**16 < size, so a multiple of it lies in the interval")


def random_case(seed, count):
    """Tables from flat to spiked, values mostly inside their support and one in ten far outside."""
    rng = np.random.default_rng(seed)
    cdfs = [quantize_pmf(rng.random(m) ** p) for m in (2, 3, 17, 400) for p in (1, 6, 40)]
    cdfs += [np.array([0, 65536]), np.array([0, 32767, 32769, 65535, 65536])]
    length = np.array([cdf.size for cdf in cdfs], np.int32)
    cdf = np.full((length.size, length.max()), 65536, np.int32)
    for row, entries in enumerate(cdfs):
        cdf[row, : entries.size] = entries
    offset = rng.integers(-500, 500, length.size).astype(np.int32)
    offset[:2] = [-(2**29), 2**29]
    tables = CdfTables(cdf, length, offset)

    indexes = rng.integers(0, length.size, count).astype(np.int32)
    indexes[rng.random(count) < 0.3] = length.size - 1  # many undecided carries
    draws = rng.integers(0, 65536, count)
    symbols = np.empty(count, np.int64)
    for row, entries in enumerate(cdfs):
        chosen = indexes == row
        symbols[chosen] = np.searchsorted(entries, draws[chosen], "right") - 1
    far = rng.random(count) < 0.1
    distance = np.exp2(rng.uniform(0, 29.99, count)).astype(np.int64) * rng.choice([-1, 1], count)
    symbols = np.where(far, distance, symbols)
    return (symbols + offset[indexes]).astype(np.int32), indexes, tables


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("values", "indexes", "expected"), GOLDEN)
def test_golden(values, indexes, expected, backend):
    values, indexes = np.array(values, np.int32), np.array(indexes, np.int32)
    data = encode(values, indexes, GOLDEN_TABLES, backend)
    assert data.hex() == expected
    np.testing.assert_array_equal(read_all(data, indexes, GOLDEN_TABLES, backend), values)


@pytest.mark.parametrize("seed", range(5))
def test_native_is_the_definition(seed):
    values, indexes, tables = random_case(seed, 500)
    for count in (*range(40), 500):
        data = encode(values[:count], indexes[:count], tables, "native")
        assert data == reference_encode(values[:count], indexes[:count], tables)


@needs_tfc
def test_backends_are_byte_identical_on_a_million_integers():
    values, indexes, tables = random_case(7, 10**6)
    data = encode(values, indexes, tables, "native")
    assert data == encode(values, indexes, tables, "tfc")
    for backend in ("native", "tfc"):
        decoded = read_all(data, indexes, tables, backend, pieces=141)
        np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes_pieces_and_auto(backend):
    values, indexes, tables = random_case(8, 6 * 5 * 4)
    cube, rows = values.reshape(6, 5, 4), indexes.reshape(6, 5, 4)
    data = encode(cube, rows, tables, backend)
    assert data == encode(values, indexes.astype(np.uint8), tables)
    assert data == encode(cube.transpose(2, 0, 1).transpose(1, 2, 0), rows, tables, "auto")
    decoder = Decoder(bytearray(data), tables, backend)
    first = decoder.decode(rows[:2])
    assert first.shape == (2, 5, 4) and first.dtype == np.int32
    assert decoder.decode(rows[:0]).shape == (0, 5, 4)
    scalar = decoder.decode(rows[2, 0, 0])
    assert scalar.shape == () and scalar == cube[2, 0, 0]
    with pytest.raises(CorruptStreamError):
        decoder.finish()
    rest = decoder.decode(indexes[41:])
    decoder.finish()
    np.testing.assert_array_equal(np.concatenate([first.ravel(), [scalar], rest]), values)


def test_length_is_the_shannon_bound():
    rng = np.random.default_rng(9)
    tables = gaussian_tables()
    indexes = rng.integers(0, 64, 100_000)
    draws = rng.integers(0, 65536, indexes.size)
    symbols = (tables.cdf[indexes] <= draws[:, None]).sum(1) - 1
    inside = symbols < tables.length[indexes] - 2
    indexes, symbols = indexes[inside], symbols[inside]
    counts = tables.cdf[indexes, symbols + 1] - tables.cdf[indexes, symbols]
    bound = -np.log2(counts / 65536).sum()
    bits = 8 * len(encode(symbols + tables.offset[indexes], indexes, tables))
    assert bound - 16 <= bits <= bound * 1.0002 + 16


def is_whole(stream, indexes, tables, backend="native"):
    """Whether `finish` accepts, after checking that it does so exactly for what `encode` writes."""
    decoder = Decoder(stream, tables, backend)
    try:
        decoded = np.concatenate([decoder.decode(part) for part in np.array_split(indexes, 4)])
    except CorruptStreamError:
        return False
    try:
        decoder.finish()
        accepted = True
    except CorruptStreamError:
        accepted = False
    assert accepted == (encode(decoded, indexes, tables, backend) == stream)
    return accepted


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_streams_decode_or_raise(backend):
    tables = tables_from_pmf([[0.2, 0.3, 0.2], [], [0.9]], [-1, 0, 3])
    rng = np.random.default_rng(10)
    indexes = rng.integers(0, 3, 40)
    values = rng.integers(-4, 6, 40)
    data = encode(values, indexes, tables, backend)
    flips = []
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(flipped))
    cut = [data[:n] for n in range(len(data))]
    for stream in flips + [b"\0" * 9, b"\xff" * 9, data + b"\xff"]:
        is_whole(stream, indexes, tables, backend)
    for n in range(1, 6):  # the same number, hence the same integers, but not as encode writes it
        assert not is_whole(data + bytes(n), indexes, tables, backend)
    assert not is_whole(data, indexes[:20], tables, backend)
    # Zeros follow the end: a cut stream is the whole stream of other integers, and so a codec needs
    # a checksum.
    assert sum(is_whole(stream, indexes, tables, backend) for stream in cut) > len(cut) // 2
    is_whole(data, np.append(indexes, [1, 2, 0]), tables, backend)


@pytest.mark.parametrize("seed", range(3))
def test_finish_accepts_what_encode_writes_and_nothing_else(seed):
    rng = np.random.default_rng(seed)
    accepted = 0
    for _ in range(3000):
        stream = rng.choice([0, 0, 1, 0x7F, 0x80, 0xFF, 0xFF], rng.integers(0, 7))
        indexes = rng.choice([0, 0, 2, 1], rng.integers(0, 6))
        accepted += is_whole(stream.astype(np.uint8).tobytes(), indexes, GOLDEN_TABLES)
    assert accepted > 20


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("data", [b"", bytes(100)])
def test_endless_gamma_code_is_refused(data, backend):
    with pytest.raises(CorruptStreamError, match="at most 30 bits"):
        Decoder(data, GOLDEN_TABLES, backend).decode([1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_are_checked(backend):
    def refuses(message, values, indexes):
        with pytest.raises(InputError, match=message):
            encode(np.array(values), np.array(indexes), GOLDEN_TABLES, backend)

    refuses(r"same shape, found \(1,\), \(2,\)", [1], [0, 0])
    refuses("values must be integers of at most 64 bits, found float64", [1.0], [0])
    refuses("indexes must be integers of at most 64 bits, found bool", [1], [True])
    refuses(r"indexes must be in \[0, 3\), found 0 to 3", [1, 1], [0, 3])
    refuses(r"indexes must be in \[0, 3\), found -1 to 0", [1, 1], [0, -1])
    for value in (2**30 - 1, -(2**30), 2**31 - 1, -(2**31), 2**40):
        refuses(f"outside their row's support, found {value} in row 1", [0, value], [0, 1])
    decoder = Decoder(encode([1], [0], GOLDEN_TABLES), GOLDEN_TABLES, backend)
    with pytest.raises(ValueError, match=r"indexes must be in \[0, 3\), found 7 to 7"):
        decoder.decode([7])
    np.testing.assert_array_equal(decoder.decode([0]), [1])  # nothing had been read
    decoder.finish()


def test_works_where_nothing_can_be_cached():
    # Only the locator for zipped code is left, which does not apply: as in a read-only container.
    code = (
        "from ycc_jax.entropy import range_coder, range_kernels, tables\n"
        "rows = tables.tables_from_pmf([[1.0]], [9])\n"
        "assert range_coder.encode([9], [0], rows, 'native') == b''\n"
        "assert not range_kernels.encode.stats.cache_path\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "ZipCacheLocator"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
