"""Coding tables: against SciPy's normal distribution, the entropy bound, their invariants."""

import hashlib

import numpy as np
import pytest
import scipy.stats

from ycc_jax.entropy import range_coder, tables
from ycc_jax.errors import InputError


def expected_bits(table, row, pmf, first):
    """Expected length of a coded integer; pmf[k] is P(first + k) far beyond the row's support."""
    counts = np.diff(table.cdf[row, : table.length[row]])
    symbol = first + np.arange(pmf.size) - table.offset[row]
    escape = counts.size - 1
    inside = (symbol >= 0) & (symbol < escape)
    bits = -np.log2(counts[np.where(inside, symbol, escape)] / 65536)
    distance = np.where(symbol < 0, -symbol, symbol - escape + 1)
    gamma = [2 * int(d).bit_length() for d in distance[~inside]]  # code 2n - 1 bits, side 1 bit
    bits[~inside] += gamma
    return float(pmf @ bits)


def entropy(pmf):
    return float(-(pmf[pmf > 0] @ np.log2(pmf[pmf > 0])))


def wide_gaussian(scale):
    reach = int(40 * scale) + 40  # everything that float64 can represent
    k = np.arange(-reach, reach + 1)
    # sf of |k|, not cdf of k: differences of numbers near 1 lose the upper tail.
    normal = scipy.stats.norm(scale=scale)
    return normal.sf(np.abs(k) - 0.5) - normal.sf(np.abs(k) + 0.5), -reach


@pytest.fixture(scope="module")
def gaussian():
    return tables.gaussian_tables()


def test_scale_table():
    table = tables.SCALE_TABLE
    assert table.shape == (64,) and table.dtype == np.float64
    np.testing.assert_allclose(table[[0, -1]], [0.11, 256], rtol=1e-14)
    np.testing.assert_allclose(np.diff(np.log(table)), tables.LOG_STEP, rtol=1e-10)


def test_gaussian_rows_are_symmetric_and_near_the_density(gaussian):
    for row, scale in enumerate(tables.SCALE_TABLE):
        counts = np.diff(gaussian.cdf[row, : gaussian.length[row]])
        width = counts.size - 1
        assert width % 2 == 1 and gaussian.offset[row] == -(width // 2)
        pmf, first = wide_gaussian(scale)
        inside = slice(gaussian.offset[row] - first, gaussian.offset[row] - first + width)
        assert pmf.sum() == pytest.approx(1, abs=1e-12)
        tail = 1 - pmf[inside].sum()
        assert tail <= tables.TAIL_MASS + 1e-12
        assert width == 1 or tail + 2 * pmf[inside][0] > tables.TAIL_MASS  # the smallest support
        # A floor of 1 on the rarest symbols is paid for by the others, in proportion.
        np.testing.assert_allclose(counts[:-1], pmf[inside] * 65536, rtol=0.01, atol=1.01)
        assert np.abs(counts[:-1] - counts[-2::-1]).max() <= 1


def test_gaussian_length_is_within_a_thousandth_of_the_entropy(gaussian):
    excess, small = [], []
    for row, scale in enumerate(tables.SCALE_TABLE):
        pmf, first = wide_gaussian(scale)
        bound = entropy(pmf)
        length = expected_bits(gaussian, row, pmf, first)
        assert length >= bound
        excess.append(length - bound)
        (small if bound < 1 else []).append(length - bound)
        assert length - bound <= max(3e-4 * bound, 7e-5), scale
    assert max(small) <= 7e-5 and np.mean(excess) < 3.2e-4


def test_gaussian_tables_do_not_drift(gaussian):
    # Not a law of nature, but streams written without stored tables would break silently.
    digest = hashlib.sha256(
        b"".join(
            a.astype("<i4").tobytes() for a in (gaussian.cdf, gaussian.length, gaussian.offset)
        )
    )
    assert digest.hexdigest().startswith("60fe3b4477592b625a6f16be5ccb941c")


@pytest.mark.parametrize("scales", [[0.0], [-1.0], [np.nan], [1e6], [], [[1.0]]])
def test_gaussian_tables_refuse(scales):
    with pytest.raises(InputError, match="scales"):
        tables.gaussian_tables(scales)


def test_quantize_pmf_invariants_and_optimality():
    rng = np.random.default_rng(1)
    for size, power in [(1, 1), (2, 9), (3, 1), (50, 4), (700, 8), (5000, 3), (65536, 2)]:
        pmf = rng.random(size) ** power
        pmf[rng.random(size) < 0.2] = 0
        pmf[0] += 1e-3
        cdf = tables.quantize_pmf(pmf)
        counts = np.diff(cdf)
        assert cdf.dtype == np.int32 and cdf[0] == 0 and cdf[-1] == 65536 and counts.min() >= 1
        np.testing.assert_array_equal(cdf, tables.quantize_pmf(pmf.copy()))
        # No single count is better elsewhere, up to the second-order approximation of the logs.
        pmf /= pmf.sum()
        many = counts > 1
        if many.any():
            cost = (pmf[many] * np.log(counts[many] / (counts[many] - 1))).min()
            gain = (pmf * np.log1p(1 / counts)).max()
            assert cost >= gain * 0.9


def test_quantize_pmf_exact_cases():
    np.testing.assert_array_equal(tables.quantize_pmf([3.0]), [0, 65536])
    np.testing.assert_array_equal(tables.quantize_pmf([0.5, 0.25, 0.25]), [0, 32768, 49152, 65536])
    np.testing.assert_array_equal(tables.quantize_pmf([0.0, 1.0, 0.0]), [0, 1, 65535, 65536])
    np.testing.assert_array_equal(
        np.diff(tables.quantize_pmf([1.0, 1.0, 1.0])), [21846, 21845, 21845]
    )
    np.testing.assert_array_equal(np.diff(tables.quantize_pmf(np.eye(1, 65536)[0])), 1)


@pytest.mark.parametrize(
    "pmf", [[], [[1.0]], [0.0, 0.0], [1.0, -1e-9], [1.0, np.nan], [np.inf], np.ones(65537)]
)
def test_quantize_pmf_refuses(pmf):
    with pytest.raises(InputError, match="pmf"):
        tables.quantize_pmf(pmf)


def test_tables_from_pmf():
    laplace = scipy.stats.dlaplace(0.7)
    k = np.arange(-12, 13)
    table = tables.tables_from_pmf([laplace.pmf(k), [1.0], []], [-12, 7, 0])
    np.testing.assert_array_equal(table.length, [27, 3, 2])
    np.testing.assert_array_equal(table.offset, [-12, 7, 0])
    np.testing.assert_array_equal(table.cdf[1, :4], [0, 65535, 65536, 65536])  # escape: one count
    np.testing.assert_array_equal(table.cdf[2, :3], [0, 65536, 65536])  # nothing but escapes
    wide = np.arange(-300, 301)
    bound = entropy(laplace.pmf(wide))
    assert bound < expected_bits(table, 0, laplace.pmf(wide), -300) < bound * 1.001
    with pytest.raises(InputError, match="pmf 1 must sum to at most 1, found 1.5"):
        tables.tables_from_pmf([[0.5], [0.75, 0.75]], [0, 0])
    with pytest.raises(InputError, match="each offset, found 1 and 2"):
        tables.tables_from_pmf([[0.5]], [0, 0])
    with pytest.raises(InputError, match="offset"):
        tables.tables_from_pmf([[0.5]], [2**31])


def good_arrays():
    cdf = np.array([[0, 1, 65536, 65536], [0, 10, 20, 65536]], np.int32)
    return {"cdf": cdf, "length": np.array([3, 4], np.int32), "offset": np.array([-1, 0], np.int32)}


def test_tables_are_frozen_copies_with_a_tfc_lookup():
    arrays = good_arrays()
    table = tables.CdfTables(**arrays)
    arrays["cdf"][:] = 7
    np.testing.assert_array_equal(
        table.lookup, [[-16, 0, 1, 65536, 65536], [-16, 0, 10, 20, 65536]]
    )
    assert table.lookup.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        table.cdf[0, 0] = 1


@pytest.mark.parametrize(
    ("name", "where", "value", "message"),
    [
        ("cdf", (1, 0), 1, "row 1: the cdf must start with 0, found 1"),
        ("cdf", (1, 2), 10, "row 1: every symbol must have a count of at least 1, found 0"),
        ("cdf", (1, 1), 30, "row 1: every symbol must have a count of at least 1, found -10"),
        ("cdf", (1, 3), 65535, "row 1: the last valid entry must be 65536, found 65535"),
        ("cdf", (0, 3), 0, "row 0: entries past the valid ones must be 65536, found 0"),
        ("cdf", (0, 3), 65537, "row 0: entries past the valid ones must be 65536, found 65537"),
        ("length", 0, 1, r"row 0: length must be in \[2, 4\], found 1"),
        ("length", 1, 5, r"row 1: length must be in \[2, 4\], found 5"),
        ("length", 0, 4, "row 0: every symbol must have a count of at least 1, found 0"),
        ("offset", 1, 2**29 + 1, r"row 1: offset must be in \[.*\], found 536870913"),
        ("offset", 1, -(2**31), r"row 1: offset must be in \[.*\], found -2147483648"),
    ],
)
def test_tables_refuse_an_entry(name, where, value, message):
    arrays = good_arrays()
    arrays[name][where] = value
    with pytest.raises(InputError, match=message):
        tables.CdfTables(**arrays)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("cdf", np.zeros((2, 4)), r"cdf must be int32 with 2 axes, found float64 \(2, 4\)"),
        ("length", np.zeros((2, 1), np.int32), "length must be int32 with 1 axes"),
        ("offset", np.zeros(3, np.int32), "same number of rows, at least 1; found 2, 2 and 3"),
        ("cdf", np.zeros((0, 4), np.int32), "at least 1; found 0"),
    ],
)
def test_tables_refuse_an_array(name, array, message):
    with pytest.raises(InputError, match=message):
        tables.CdfTables(**{**good_arrays(), name: array})


def test_bits_of_symbols_are_what_the_coder_writes(rng):
    rows = tables.gaussian_tables(np.array([0.3, 5.0, 40.0]))
    index = rng.integers(0, 3, 20000)
    symbols = np.rint(rng.normal(size=index.size) * np.array([0.3, 5.0, 40.0])[index])
    symbols[::50] *= 100  # outside the tables: escapes
    symbols = symbols.astype(np.int32)
    size = 8 * len(range_coder.encode(symbols, index, rows))
    assert rows.bits(symbols, index).sum() == pytest.approx(size, rel=1e-3)
