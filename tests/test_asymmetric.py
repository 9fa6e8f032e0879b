"""The asymmetric Gaussian: against numerical integration, the Gaussian, and real coded bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from ycc_jax.entropy import asymmetric, gaussian, range_coder
from ycc_jax.entropy.asymmetric import MAX_RATIO, NUM_SKEWS, SKEW_STEP
from ycc_jax.entropy.tables import LOG_MIN, LOG_STEP, SCALE_TABLE, TAIL_MASS

MOST_BITS = -np.log2(gaussian.LIKELIHOOD_MIN)
bits, index_of_places = jax.jit(asymmetric.bits), jax.jit(asymmetric.index)


def index(*scales):
    """The rows of scales, whose places are first rounded to integers as a codec's are."""
    logs = np.log(np.clip(scales, 1e-9, 1e9).astype(np.float64))
    places = np.rint(256 * (logs - LOG_MIN) / LOG_STEP).astype(np.int32)
    return np.asarray(index_of_places(*places))


def integrated(d, left, right):
    """Mass of the bin around d, one float after the other, by quadrature of the density."""

    def density(x):
        return np.exp(-0.5 * (x / (left if x < 0 else right)) ** 2) / (left + right)

    inside = [0.0] if abs(d) < 0.5 else None
    mass, _ = scipy.integrate.quad(
        density, d - 0.5, d + 0.5, points=inside, epsabs=0, epsrel=1e-10, limit=200
    )
    return 2 / np.sqrt(2 * np.pi) * mass


def wide_pmf(left, right):
    """(P, first integer): all the mass that matters, by SciPy's normal survival function."""
    halves = []
    for scale in (left, right):
        edges = np.maximum(np.arange(int(9 * scale) + 4) - 0.5, 0)
        halves.append(-2 * scale / (left + right) * np.diff(scipy.stats.norm.sf(edges / scale)))
    left, right = halves
    pmf = np.concatenate([left[:0:-1], [left[0] + right[0]], right[1:]])
    return pmf, 1 - left.size


def random_scales(rng, count):
    """(count, 2) scales within all bounds, log-uniform in geometric mean and in ratio."""
    mean = rng.uniform(np.log(0.11), np.log(256), 3 * count)
    half = rng.uniform(-0.5, 0.5, 3 * count) * np.log(MAX_RATIO)
    scales = np.exp(np.stack([mean - half, mean + half], axis=-1))
    return scales[(scales > 0.11).all(1) & (scales < 256).all(1)][:count]


def sample(rng, scales):
    """One rounded value from each density."""
    left, right = scales.T
    side = rng.random(left.size) < right / (left + right)
    distance = np.abs(rng.normal(size=left.size))
    return np.rint(np.where(side, right, -left) * distance).astype(np.int32)


@pytest.fixture(scope="module")
def tables():
    return asymmetric.coding_tables()


# ---- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (0.11, 0.11),
        (0.11, 1.76),
        (0.3, 0.9),
        (2.0, 1.0),
        (5.0, 80.0),
        (256.0, 16.0),
        (256.0, 256.0),
    ],
)
def test_bits_are_the_integral_over_the_bin(left, right):
    steps = np.array([-6, -4, -2.5, -1, -0.3])
    y = np.concatenate([[-0.5, -0.49, -0.2, 0, 0.01, 0.4, 0.5], left * steps, -right * steps])
    y = (y + 0.3).astype(np.float32)  # the density sees what is left of y - 0.3 in float32
    mean = np.float32(0.3)
    found = bits(y, mean, np.float32(left), np.float32(right))
    mass = [integrated(float(d), left, right) for d in y - mean]
    expected = np.minimum(-np.log2(np.maximum(mass, 1e-300)), MOST_BITS)
    # 1e-7 in float32 is 1e-4 of the least bin next to the mode, 1/640.
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1.5e-4)


@pytest.mark.parametrize(("left", "right"), [(0.2, 0.2), (0.15, 2.0), (7.0, 1.0), (16.0, 256.0)])
@pytest.mark.parametrize("fraction", [0.0, 0.37, -0.5])
def test_mass_of_all_integers_is_one(left, right, fraction):
    k = np.arange(-2000, 2001, dtype=np.float32)
    found = bits(k, np.float32(fraction), np.float32(left), np.float32(right))
    mass = np.exp2(-np.asarray(found, np.float64)) - gaussian.LIKELIHOOD_MIN
    assert mass.sum() == pytest.approx(1, abs=5e-5)
    if fraction == 0:
        below = 2 * left / (left + right) * scipy.stats.norm.cdf(-0.5 / left)
        assert mass[k < 0].sum() == pytest.approx(below, abs=5e-5)


def test_equal_scales_are_the_gaussian(rng):
    scale = np.exp(rng.uniform(np.log(0.05), np.log(600), 20000)).astype(np.float32)
    y = (rng.normal(0, 2, scale.size) * scale).astype(np.float32)
    mean = rng.normal(0, 1, scale.size).astype(np.float32)
    found, expected = bits(y, mean, scale, scale), gaussian.bits(y, mean, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=3e-4)
    far = np.abs(y - mean) > 0.5
    np.testing.assert_allclose(found[far], expected[far], rtol=1e-6)


def test_mirrored_scales_are_the_mirrored_density(rng):
    left, right = np.float32(random_scales(rng, 500).T)
    y = np.float32(rng.normal(0, 2, left.size) * left)
    zero = np.zeros_like(y)
    mirrored = bits(-y, zero, right, left)
    # The two products are added in the other order, and one of them fused.
    np.testing.assert_allclose(bits(y, zero, left, right), mirrored, rtol=1e-6, atol=1e-6)


def test_scales_and_ratio_are_bounded():
    def at(left, right):
        y = np.array([-0.7, 0.0, 3.0], np.float32)
        return np.asarray(bits(y, np.float32(0), np.float32(left), np.float32(right)))

    np.testing.assert_array_equal(at(0.001, 0.001), at(0.11, 0.11))
    np.testing.assert_array_equal(at(1e6, 100), at(256, 100))
    np.testing.assert_allclose(at(0.2, 8), at(8 / MAX_RATIO, 8), rtol=1e-6)
    np.testing.assert_allclose(at(256, 0.11), at(256, 256 / MAX_RATIO), rtol=1e-6)
    assert (at(8 / MAX_RATIO * 1.05, 8) != at(8 / MAX_RATIO, 8)).all()
    for asked, row in (((0.2, 8), (0.5, 8)), ((0, 0.05), (0.11, 0.11)), ((1e6, 1), (256, 16))):
        assert index(*np.float32(asked)) == index(*np.float32(row))
    # Just at the limit, theta rounds either way: the outermost row of the same u all the same.
    small, large = np.full(200, 0.11, np.float32), np.geomspace(2, 256, 200).astype(np.float32)
    np.testing.assert_array_equal(index(small, large) % NUM_SKEWS, NUM_SKEWS - 1)
    np.testing.assert_array_equal(index(large, small) % NUM_SKEWS, 0)


# ---- gradients -----------------------------------------------------------------------------------

gradient = jax.jit(jax.vmap(jax.grad(asymmetric.bits, argnums=(0, 1, 2, 3))))


@pytest.mark.parametrize(("left", "right"), [(0.4, 1.3), (3.0, 0.7), (10.0, 40.0)])
def test_gradient_is_the_slope_of_the_integral(left, right):
    d = np.array([-2.5 * left - 0.6, -0.7, -0.3, 0.0, 0.2, 0.45, 0.8, 2.5 * right + 0.6])
    columns = [np.full_like(d, value) for value in (0.0, left, right)]
    found = np.stack(gradient(*map(np.float32, [d, *columns])))

    def value(d, mean, left, right):
        return -np.log2(integrated(d - mean, left, right))

    step = 1e-4
    for i, at in enumerate(zip(d, *columns, strict=True)):
        for k in range(4):
            above, below = (np.array(at) + sign * step * np.eye(4)[k] for sign in (1, -1))
            slope = (value(*above) - value(*below)) / (2 * step)
            assert found[k, i] == pytest.approx(slope, rel=1e-3, abs=2e-4), (at, k)


def test_nothing_is_nan_far_out_or_at_wild_scales():
    scales = np.array([0, -1, -np.inf, np.inf, 1e-30, 1e30, 0.11, 3, 256], np.float32)
    y = np.array([-3e5, -300, -0.5, 0, 0.5, 0.2, 40, 1e30], np.float32)
    y, left, right = (a.ravel() for a in np.meshgrid(y, scales, scales))
    zero = np.zeros_like(y)
    found = np.asarray(bits(y, zero, left, right))
    assert np.isfinite(found).all() and found.min() > -1e-6 and found.max() <= MOST_BITS + 1e-4
    assert np.isfinite(np.stack(gradient(y, zero, left, right))).all()
    rows = np.asarray(index(left, right))
    assert rows.min() >= 0 and rows.max() < 64 * NUM_SKEWS


def test_scales_below_a_bound_can_grow():
    # Values far to the left want a larger left scale: at the least scale, and at the least ratio.
    y, right = np.array([-0.8, -1.5], np.float32), np.array([0.11, 8], np.float32)
    _, _, slope, _ = gradient(y, np.zeros_like(y), np.array([0.01, 0.2], np.float32), right)
    assert (np.asarray(slope) < 0).all()


# ---- tables --------------------------------------------------------------------------------------


def test_index_is_the_nearest_row(rng):
    scales = random_scales(rng, 2000)
    found = index(*np.float32(scales.T))
    assert asymmetric.SCALES == 2 and found.dtype == np.int32 and found.shape == (2000,)
    u, theta = scales.mean(1), np.arcsin(np.diff(scales)[:, 0] / scales.sum(1))
    skews = SKEW_STEP * np.arange(-(NUM_SKEWS // 2), NUM_SKEWS // 2 + 1)
    row = np.abs(np.log(u)[:, None] - np.log(SCALE_TABLE)).argmin(1)
    column = np.abs(theta[:, None] - skews).argmin(1)
    # But for those within 1/128 of a step of the table from the border between two rows.
    border_u = np.abs(np.log(u)[:, None] - LOG_MIN - (np.arange(-1, 64) + 0.5) * LOG_STEP).min(1)
    borders = SKEW_STEP * (np.arange(-8, 8) + 0.5)
    border_skew = np.abs(theta[:, None] - borders).min(1)
    clear = (border_u > LOG_STEP / 128) & (border_skew > LOG_STEP / 128)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found[clear], (row * NUM_SKEWS + column)[clear])
    assert (np.abs(found // NUM_SKEWS - row) <= 1).all()
    assert set(column) == set(range(NUM_SKEWS))
    assert np.abs(theta[:, None] - skews).min(1).max() <= SKEW_STEP / 2 + 1e-9


def test_the_middle_rows_are_the_gaussians(tables):
    expected = gaussian.coding_tables()
    width = expected.cdf.shape[1]
    middle = index(SCALE_TABLE, SCALE_TABLE)
    np.testing.assert_array_equal(middle, np.arange(64) * NUM_SKEWS + NUM_SKEWS // 2)
    np.testing.assert_array_equal(tables.length[middle], expected.length)
    np.testing.assert_array_equal(tables.offset[middle], expected.offset)
    # Equal probabilities apart from their last bits, which may tip a tie between two counts.
    assert np.abs(tables.cdf[middle, :width] - expected.cdf).max() <= 1


def test_no_integer_of_the_tables_is_near_a_tie():
    """So that every libm rounds to the same ones."""
    apart = np.arange(asymmetric._ABOVE_MEAN.size)
    above = 2 * asymmetric.UNITS * np.log(np.cosh(apart / (2 * asymmetric.UNITS)))
    skews = asymmetric.UNITS * 2 * np.arctanh(np.sin((np.arange(7) + 0.5) * SKEW_STEP))
    assert np.abs(above - np.floor(above) - 0.5).min() > 1e-6
    assert np.abs(skews - np.rint(skews)).min() > 1e-6
    most = np.log(MAX_RATIO) * asymmetric.UNITS
    assert abs(most - np.floor(most) - 0.5) > 1e-6


def test_rows_hold_the_density(tables):
    assert tables.cdf.shape[0] == 64 * NUM_SKEWS and tables.cdf.nbytes < 7.5e6
    for row in (40, 251, 400, 500, 704, 959):
        i, j = divmod(row, NUM_SKEWS)
        skew = np.sin((j - NUM_SKEWS // 2) * SKEW_STEP)
        scales = np.clip(SCALE_TABLE[i] * np.array([1 - skew, 1 + skew]), 0.11, 256)
        pmf, first = wide_pmf(*scales)
        counts = np.diff(tables.cdf[row, : tables.length[row]])
        inside = slice(tables.offset[row] - first, tables.offset[row] - first + counts.size - 1)
        np.testing.assert_allclose(counts[:-1], pmf[inside] * 65536, rtol=0.01, atol=1.01)
        assert 1 - pmf[inside].sum() <= TAIL_MASS + 1e-12


def test_expected_length_is_near_the_entropy(tables, rng):
    scales = random_scales(rng, 400)
    lengths, entropies = [], []
    for (left, right), row in zip(scales, np.asarray(index(*np.float32(scales.T))), strict=True):
        pmf, first = wide_pmf(left, right)
        counts = np.diff(tables.cdf[row, : tables.length[row]])
        escape = counts.size - 1
        symbol = first + np.arange(pmf.size) - tables.offset[row]
        inside = (symbol >= 0) & (symbol < escape)
        length = -np.log2(counts[np.where(inside, symbol, escape)] / 65536)
        distance = np.where(symbol < 0, -symbol, symbol - escape + 1)[~inside]
        length[~inside] += 2 * np.frexp(distance)[1]  # Elias gamma of n bits: 2n - 1, and the side
        lengths.append(pmf @ length)
        entropies.append(-(pmf[pmf > 0] @ np.log2(pmf[pmf > 0])))
    excess = np.array(lengths) - entropies
    assert excess.min() > 0 and excess.max() < 0.02
    assert excess.mean() < 0.0056 and excess.mean() < 0.0012 * np.mean(entropies)


def test_real_bytes_are_near_the_bits(tables, rng):
    scales = random_scales(rng, 60000)
    values = sample(rng, scales)
    left, right = np.float32(scales.T)
    rows = np.asarray(index(left, right))
    symbols = values - tables.offset[rows]
    escapes = np.count_nonzero((symbols < 0) | (symbols >= tables.length[rows] - 2))
    assert escapes > 5
    data = range_coder.encode(values, rows, tables)
    decoder = range_coder.Decoder(data, tables)
    np.testing.assert_array_equal(decoder.decode(rows), values)
    decoder.finish()
    ideal = np.asarray(bits(np.float32(values), np.zeros_like(left), left, right), np.float64).sum()
    assert ideal < 8 * len(data) < 1.002 * ideal
    # A Gaussian of each density's own variance needs more: the asymmetry is worth coding.
    variance = left * right + (1 - 2 / np.pi) * (right - left) ** 2
    mean = np.sqrt(2 / np.pi) * (right - left)
    symmetric = gaussian.bits(jnp.float32(values), jnp.asarray(mean), jnp.sqrt(variance)).sum()
    assert 8 * len(data) < 0.99 * symmetric
