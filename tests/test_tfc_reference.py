"""Layers, densities, coding tables and coder against TensorFlow Compression (TFC) 2.14.1.

Its values are in reference/tfc.npz, which reference/make_tfc.py wrote. Ours are computed in
float64, where agreement to the last digits says that the formulas are the same, and in float32,
where the tolerances of the densities are ones that TFC's own float32 needs too.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from ycc_jax.entropy import factorized, gaussian
from ycc_jax.entropy.backends import available_backends
from ycc_jax.entropy.range_coder import Decoder, encode
from ycc_jax.entropy.tables import SCALE_TABLE, CdfTables, gaussian_tables
from ycc_jax.nets.layers import GDN

needs_tfc = pytest.mark.skipif(
    "tfc" not in available_backends(),
    reason="tensorflow-compression-ops is not installed; the test environment with TFC runs this",
)
BACKENDS = ["native", pytest.param("tfc", marks=needs_tfc)]


def reference(part):
    """The stored arrays of one part: "gdn", "factorized" or "gaussian"."""
    with np.load(Path(__file__).parent / "reference" / "tfc.npz") as stored:
        names = [name for name in stored if name.startswith(part + "/")]
        return {name.partition("/")[2]: stored[name] for name in names}


def parameters(stored, dtype):
    names = [name for name in stored if name.startswith(("matrix_", "bias_", "factor_"))]
    return {name: jnp.asarray(stored[name], dtype) for name in names}


def tables_of(stored):
    """TFC's flat rows -16, 0, ..., 65536 as `CdfTables`."""
    flat = stored["cdf"]
    starts = np.flatnonzero(flat < 0)
    assert starts[0] == 0 and (flat[starts] == -16).all()
    rows = [row[1:] for row in np.split(flat, starts[1:])]
    length = np.array([row.size for row in rows], np.int32)
    cdf = np.full((length.size, length.max()), 65536, np.int32)
    for i, row in enumerate(rows):
        cdf[i, : row.size] = row
    return CdfTables(cdf, length, stored["offset"])


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Each floating point type in turn, with JAX computing in it."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "float64")
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_and_its_gradients(inverse, dtype):
    stored = reference("gdn")
    inputs = {name: jnp.asarray(stored[name], dtype) for name in ("x", "beta", "gamma")}

    def loss(inputs):
        params = {"beta": inputs["beta"], "gamma": inputs["gamma"]}
        y = GDN(inverse=inverse).apply({"params": params}, inputs["x"])
        return (stored["weight"].astype(dtype) * y).sum(), y

    gradients, y = jax.jit(jax.grad(loss, has_aux=True))(inputs)
    assert y.dtype == dtype
    # Sums of 6 terms for y, of up to 144 for the gradients, some of which cancel.
    precision = np.finfo(dtype).eps
    name = "igdn" if inverse else "gdn"
    np.testing.assert_allclose(y, stored[name], rtol=10 * precision)
    for of, gradient in gradients.items():
        expected = stored[f"{name}_gradient_{of}"]
        atol = 20 * precision * np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol, err_msg=of)
    # Below their bounds, beta and gamma get those gradients only that raise them.
    below = stored["gamma"] < 0
    assert (np.asarray(gradients["gamma"])[below] == 0).any()
    assert (np.asarray(gradients["gamma"])[below] <= 0).all()


def test_factorized_density(dtype):
    stored = reference("factorized")
    params = parameters(stored, dtype)
    x = jnp.asarray(stored["x"], dtype)
    logits = jax.jit(factorized.cdf_logits)(params, x)
    bits = jax.jit(factorized.FactorizedDensity(5).apply)({"params": params}, x)
    assert logits.dtype == bits.dtype == dtype
    # TFC has no least likelihood.
    expected = np.minimum(stored["bits"], -np.log2(gaussian.LIKELIHOOD_MIN))
    assert (expected < stored["bits"]).any() and stored["bits"].max() > 400
    rtol, atol = {"float64": (1e-14, 1e-12), "float32": (1e-6, 3e-5)}[dtype]
    np.testing.assert_allclose(logits, stored["logits"], rtol=rtol, atol=atol)
    np.testing.assert_allclose(bits, expected, rtol=rtol, atol=atol)
    if dtype == "float32":
        np.testing.assert_allclose(stored["logits_f32"], stored["logits"], rtol=rtol, atol=atol)
        np.testing.assert_allclose(stored["bits_f32"], stored["bits"], rtol=rtol, atol=atol)


def test_gaussian_bits(dtype):
    stored = reference("gaussian")
    y = jnp.asarray(stored["y"], dtype)
    scale = jnp.asarray(SCALE_TABLE[:, None], dtype)
    expected = np.minimum(stored["bits"], -np.log2(gaussian.LIKELIHOOD_MIN))
    assert (expected < stored["bits"]).any()
    # At scale 256 the cumulatives differ by 0.0016; 2 units in the last place of each, 2**-24 in
    # float32, are then 2.2e-4 of its 10 bits. TFC's own float32 is off by as much as ours.
    atol = {"float64": 2e-12, "float32": 2.2e-4}[dtype]
    for mean in (0.0, 0.25):
        bits = jax.jit(gaussian.bits)(y + mean, jnp.asarray(mean, dtype), scale)
        assert bits.dtype == dtype
        np.testing.assert_allclose(bits, expected, rtol=0, atol=atol)
    if dtype == "float32":
        trusted = expected == stored["bits"]
        np.testing.assert_allclose(
            stored["bits_f32"][trusted], expected[trusted], rtol=0, atol=atol
        )


def code_length(tables, row, values):
    """Bits of each value, and the counts of those in the row's support, 0 for the others."""
    counts = np.diff(tables.cdf[row, : tables.length[row]])
    symbol, escape = values - tables.offset[row], counts.size - 1
    inside = (symbol >= 0) & (symbol < escape)
    count = counts[np.where(inside, symbol, escape)]
    distance = np.where(symbol < 0, -symbol, symbol - escape + 1)
    # The gamma code of an n-bit distance takes 2 n - 1 bits, its side one more.
    gamma = np.where(inside, 0, 2 * np.frexp(distance)[1])
    return 16 - np.log2(count) + gamma, np.where(inside, count, 0)


VALUES = np.arange(-3000, 3001)


def gaussian_case():
    edge = np.abs(VALUES) - 0.5
    normals = [scipy.stats.norm(scale=scale) for scale in SCALE_TABLE]
    pmfs = [normal.sf(edge) - normal.sf(edge + 1) for normal in normals]
    return gaussian_tables(), tables_of(reference("gaussian")), pmfs


def factorized_case():
    stored = reference("factorized")
    x = jnp.asarray(np.broadcast_to(VALUES[:, None], (VALUES.size, 5)), "float64")
    pmfs = jax.jit(factorized.likelihood)(parameters(stored, "float64"), x)
    tables = factorized.coding_tables(parameters(stored, "float64"))
    return tables, tables_of(stored), np.asarray(pmfs).T


@pytest.mark.parametrize("dtype", ["float64"], indirect=True)
@pytest.mark.parametrize("case", [gaussian_case, factorized_case])
def test_tables_are_those_of_tfc_but_for_the_last_counts(case, dtype):
    """TFC takes tails a little wider, without the noise, and rounds by another rule."""
    ours, theirs, pmfs = case()
    assert ours.length.size == theirs.length.size == len(pmfs)
    end, their_end = ours.offset + ours.length, theirs.offset + theirs.length
    assert np.isin(ours.offset - theirs.offset, [0, 1]).all()
    assert np.isin(their_end - end, [0, 1]).all()
    for row, pmf in enumerate(pmfs):
        assert pmf.sum() == pytest.approx(1, abs=1e-9)
        length, count = code_length(ours, row, VALUES)
        their_length, their_count = code_length(theirs, row, VALUES)
        both = (count > 0) & (their_count > 0)
        assert np.abs(count - their_count)[both].max() <= 2
        assert abs(pmf @ length - pmf @ their_length) <= 1.5e-4  # bits


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("part", ["gaussian", "factorized"])
def test_coder_writes_and_reads_the_bytes_of_compress(part, backend):
    stored = reference(part)
    tables, values, data = tables_of(stored), stored["values"], stored["bytes"].tobytes()
    indexes = stored["indexes"] if part == "gaussian" else np.indices(values.shape)[1]
    symbols = values - tables.offset[indexes]
    assert (symbols < 0).sum() > 30 and (symbols >= tables.length[indexes] - 2).sum() > 30
    assert encode(values, indexes, tables, backend) == data
    decoder = Decoder(data, tables, backend)
    np.testing.assert_array_equal(decoder.decode(indexes), values)
    decoder.finish()
