"""The prior in integers: exact products, proofs, fixed point, and what freezing keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import drawn_parameters, scale_index

from ycc_jax.entropy.tables import LOG_MIN, LOG_STEP
from ycc_jax.exact import fixed_point, prior
from ycc_jax.exact.calibration import drawn_pictures
from ycc_jax.exact.freeze import freeze
from ycc_jax.exact.layers import (
    NARROW,
    WIDE,
    Layer,
    accumulate,
    leaky_relu,
    prove,
    proved,
    requantise,
)
from ycc_jax.exact.prior import ExactPrior
from ycc_jax.models import build
from ycc_jax.nets.context import TAPS
from ycc_jax.registry import LIKELIHOODS


def layer(rng, taps, inputs, outputs, limit, weight=127):
    kernel = rng.integers(-weight, weight + 1, (taps, inputs, outputs)).astype(np.int8)
    bias = rng.integers(-(10**6), 10**6, outputs).astype(np.int32)
    return Layer(kernel, bias, np.full(outputs, 9, np.int8), np.int32(limit))


def windows(x, taps):
    """(h, w, taps, C), zeros beyond the border."""
    side = int(taps**0.5)
    padded = np.pad(x, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    h, w, _ = x.shape
    shifts = [padded[i : i + h, j : j + w] for i in range(side) for j in range(side)]
    return np.stack(shifts, axis=2)


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [NARROW, WIDE])
@pytest.mark.parametrize("taps", [1, 9, 25])
def test_sums_are_those_of_int64(rng, taps, limit):
    """Random and extreme activations, in one piece and in several."""
    weights = layer(rng, taps, 48, 5, limit, weight=127 if limit == NARROW else 40)
    assert prove(weights, "a") == 1
    extreme = rng.choice([-limit, limit, 0], (4, 6, 48))
    for x in (rng.integers(-limit, limit + 1, (4, 6, 48)), extreme):
        expected = np.einsum("hwtc,tcf->hwf", windows(x, taps), weights.kernel.astype(np.int64))
        found = jax.jit(accumulate)(proved(weights, "a"), x.astype(np.int32))
        np.testing.assert_array_equal(found, expected + weights.bias)
        assert found.dtype == jnp.int32


def test_long_sums_are_taken_in_pieces(rng):
    """Float32 would round this sum: it is above 2^24, and in pieces exact."""
    kernel = np.full((1, 3840, 2), 127, np.int8)
    kernel[:, ::3, 1] = -126
    weights = Layer(kernel, np.zeros(2, np.int32), np.zeros(2, np.int8), np.int32(NARROW))
    pieces = prove(weights, "a")
    assert pieces > 1 and 3840 % pieces == 0
    assert 3840 // pieces * 127 * NARROW < 2**24
    x = np.full((3, 3840), NARROW, np.int32) - rng.integers(0, 2, (3, 3840)).astype(np.int32)
    expected = x.astype(np.int64) @ kernel[0].astype(np.int64)
    assert np.abs(expected).max() > 2**24
    np.testing.assert_array_equal(accumulate(proved(weights, "a"), x), expected)
    in_one = (x.astype(np.float32) @ kernel[0].astype(np.float32)).astype(np.int64)
    assert (in_one != expected).any()


def test_operands_survive_narrow_hardware(rng):
    """8 bits of mantissa hold a half and a weight (bfloat16), 11 a narrow activation (tf32)."""
    bits16 = np.arange(-128, 128).astype(jnp.bfloat16).astype(np.int32)
    np.testing.assert_array_equal(bits16, np.arange(-128, 128))
    x = np.arange(-WIDE, WIDE + 1)
    high = (x + 64) >> 7
    low = x - 128 * high
    assert (np.abs(high).max(), low.min(), low.max()) == (127, -64, 63)
    assert NARROW < 2**11


def test_what_cannot_be_proved_is_refused_by_name():
    kernel = np.full((1, 2000, 3), 127, np.int8)
    wide = Layer(kernel, np.zeros(3, np.int32), np.zeros(3, np.int8), np.int32(WIDE))
    with pytest.raises(ValueError, match=r"layer hidden_1, channel 0: expected sums below 2\^31"):
        prove(wide, "hidden_1")
    bias = np.array([0, 2**31 - 1, 0], np.int32)
    with pytest.raises(ValueError, match="layer x, channel 1"):
        prove(Layer(kernel[:, :2], bias, np.full(3, 9, np.int8), np.int32(NARROW)), "x")
    with pytest.raises(ValueError, match="expected a limit 2047 or 16319, found 5"):
        prove(wide._replace(limit=np.int32(5)), "x")


def test_requantisation_rounds_and_clips():
    total = jnp.array([-(2**30), -513, -512, -256, 255, 256, 511, 512, 2**30], jnp.int32)
    found = requantise(total, jnp.full(9, 9, jnp.int32), 100)
    assert found.tolist() == [-100, -1, -1, 0, 0, 1, 1, 1, 100]
    assert requantise(total, jnp.zeros(9, jnp.int32), 10**6).tolist()[1:-1] == total.tolist()[1:-1]
    assert leaky_relu(jnp.array([-16319, -100, -49, 0, 7])).tolist() == [-163, -1, 0, 0, 7]


# ---- fixed point ---------------------------------------------------------------------------------


def test_factors_are_powers_of_two(rng):
    log2 = rng.integers(-10 * 4096, 10 * 4096, 500)
    x = rng.integers(-(2**20), 2**20, (7, 500))
    for left in (-2, 0, 3):
        found = fixed_point.exp2(log2, left).times(x)
        expected = x * 2.0 ** (log2 / 4096 - left)
        np.testing.assert_allclose(found, expected, rtol=4e-5, atol=0.51)
    width = 2.0 ** (log2 / 4096)
    found = fixed_point.inverse_width(log2, -2).times(x)
    np.testing.assert_allclose(found, 4 * x / np.sqrt(width**2 + 0.25), rtol=2e-4, atol=0.51)
    far = fixed_point.exp2(np.array([-(31 << 12), 31 << 12]), 0)
    assert far.mantissa.tolist() == [0, 32767] and far.shift.tolist() == [30, 0]


def test_levels_are_interpolated_as_the_gains_are(rng):
    """`gain.level_weights` in floats, up to the rounding of either."""
    from ycc_jax.nets.gain import level_weights

    values = rng.integers(-50000, 50000, (4, 3, 6))
    for quality, chroma in ((0, -9000), (51200, 0), (12345, -3000), (40000, -5217), (7, 500)):
        knots = np.array([-7000, -4096, -1000])
        at = [
            fixed_point.position(quality * 3, np.arange(4) * 51200),
            fixed_point.position(chroma, knots),
        ]
        level = [[quality * 3 / 51200, np.interp(chroma, knots, range(3))]]
        expected = np.asarray(level_weights(level, (4, 3)) @ values.reshape(12, 6))[0]
        np.testing.assert_allclose(fixed_point.interpolate(values, at), expected, atol=25)
    assert fixed_point.position(5, np.array([3])) == (0, 0)
    np.testing.assert_array_equal(fixed_point.interpolate(np.arange(3), []), np.arange(3))


def test_places_on_the_scale_table(rng):
    """From log2 of a width, and from a scale that a net gives itself."""
    log2 = rng.integers(-6 * 4096, 10 * 4096, 1000)
    exact = 256 * (log2 / 4096 * np.log(2) - LOG_MIN) / LOG_STEP
    np.testing.assert_allclose(fixed_point.place(log2), exact, atol=1)
    scale = np.exp(rng.uniform(np.log(0.05), np.log(400), 5000))
    found = jax.jit(prior._place, static_argnums=1)(np.rint(scale * 2**14).astype(np.int32), 14)
    exact = 256 * (np.log(scale) - LOG_MIN) / LOG_STEP
    np.testing.assert_allclose(found, exact, atol=2)
    wild = prior._place(np.array([-(2**31), 0, 1, 2**31 - 1], np.int64).astype(np.int32), 14)
    assert (np.diff(wild) >= 0).all() and wild[0] == wild[2]


def test_no_integer_of_a_table_is_near_a_tie():
    """So that every libm rounds to the same ones."""
    exact = {
        "exp2": 2.0 ** (np.arange(4096) / 4096 + 14),
        "log2": np.log2(1 + (np.arange(4096) + 0.5) / 4096) * 65536,
        "steps": np.log(2) / LOG_STEP * 256,
        "origin": LOG_MIN / np.log(2) * 65536,
        "most": 8 * 256 / LOG_STEP,
    }
    for name, values in exact.items():
        assert np.abs(values - np.floor(values) - 0.5).min() > 1e-6, name
    assert (fixed_point.STEPS, fixed_point.ORIGIN) == (1442, -208694)


# ---- freezing ------------------------------------------------------------------------------------

KINDS = {
    "autoregressive": dict(levels=3, entropy_width=6),
    "grouped": dict(levels=3, context="grouped", groups=(4, 4), entropy_width=6),
    "grouped_4": dict(levels=2, context="grouped", groups=(4,), phases=4, entropy_width=6),
    "grid": dict(levels=3, chroma_weights=(0.05, 0.25, 1.0), context="none", entropy_width=6),
    "asymmetric": dict(levels=3, likelihood="asymmetric_gaussian", entropy_width=6),
    "unaware": dict(levels=3, level_aware=False),
    "direct": dict(levels=0, level_aware=False, context="none"),
    "direct_asymmetric": dict(levels=0, level_aware=False, likelihood="asymmetric_gaussian"),
    "scale": dict(levels=0, level_aware=False, context="none", hyperprior="scale"),
}


def random_model(name):
    """A model all of whose parameters matter, its prior giving sensible means and scales."""
    net = build(N=8, M=12, **KINDS[name])
    params = drawn_parameters(net, 4)
    for gain, sign in (("log_gain", 1), ("log_inverse", -1)):
        for latent in ("gain_y", "gain_z"):
            if net.grid:
                rates = np.arange(net.levels).reshape(-1, *[1] * len(net.grid))
                params[latent][gain] = params[latent][gain] + sign * np.float32(0.7) * rates
    if not net.level_aware:
        # Scales above the least of the table, as trained nets give them.
        nets = params.get("entropy_parameters", params["hyper_synthesis"])
        head = nets.get("output", nets.get("Conv_0"))
        scales = net.M * LIKELIHOODS[net.likelihood].SCALES
        head["bias"] = head["bias"] + np.float32(4) * (np.arange(head["bias"].size) < scales)
    return net, params


@pytest.mark.parametrize("name", KINDS)
def test_frozen_means_and_tables_are_those_of_the_floats(name, monkeypatch):
    """Every kind of prior: what errors of the mean cost, and tables at most one off."""
    net, params = random_model(name)

    def drawn(*_):
        """Latents like those below, which calibrate."""
        rng = np.random.default_rng(1)
        for rate in range(max(net.levels, 1)):
            y, z = rng.uniform(-6, 6, (8, 12, net.M)), rng.integers(-4, 5, (2, 3, net.N))
            yield np.array([rate, 1], np.float32)[: len(net.grid)], y, z

    monkeypatch.setattr("ycc_jax.exact.calibration._latents", drawn)
    frozen = freeze(net, params)
    assert all(value.dtype.kind == "i" for value in frozen.values())
    exact = ExactPrior(net, frozen)
    quality, chroma = (33 * 512, -3000 if net.chroma_weights else None)
    positions = [0.33 * max(net.levels - 1, 0)] if net.grid else []
    if net.chroma_weights:
        positions.append(np.interp(-3000, np.log2(net.chroma_weights) * 2048, range(3)))
    level = np.array([positions], np.float32)
    rng = np.random.default_rng(0)
    z = rng.integers(-4, 5, (2, 3, net.N)).astype(np.int32)
    y_hat = rng.integers(-6 * 256, 6 * 256, (8, 12, net.M)).astype(np.int32)
    at = exact.level(quality, chroma)
    hyper = exact.hyper(z, at)
    seen = exact.seen(y_hat, at, slice(None))

    def floats(method, *arguments, **static):
        def run(params, *arguments):
            return net.apply({"params": params}, *arguments, **static, method=method)

        with jax.default_matmul_precision("highest"):
            return jax.jit(run)(params, *arguments)

    z_hat = (z + np.asarray(params["density_z"].get("offset", 0)))[None].astype(np.float32)
    hyper_floats = floats(net.hyper_synthesise, z_hat, level)
    for step in net.steps:
        near, known = hyper, seen
        if net.context == "autoregressive":
            padded = np.pad(seen, ((2, 0), (2, 2), (0, 0)))
            taps = [padded[2 + i : 10 + i, 2 + j : 14 + j] for i, j in TAPS]
            known = np.stack(taps, axis=2).reshape(96, -1)
            near = hyper.reshape(96, -1)
        mean, index = (a.reshape(8, 12, -1) for a in exact.parameters(near, known, at, step))
        known_floats = (y_hat / 256)[None].astype(np.float32)
        expected = floats(net.parameters, hyper_floats, known_floats, level, step=step)
        mean_floats, *scales = (np.asarray(a[0], np.float64) for a in expected)
        width = np.clip(np.min(scales, axis=0), 0.11, 256)
        assert np.abs(scales).max() > 0.2  # not all at the table's end
        # An error d of a Gaussian's mean costs d^2 / (2 ln 2 scale^2) bits.
        cost = np.mean(((mean / 256 - mean_floats) / width) ** 2) / (2 * np.log(2))
        assert cost < 0.003, cost
        if len(scales) == 1:
            # A scale that is wrong by a factor r costs about (ln r)^2 / ln 2 bits.
            away = np.abs(index - scale_index(scales[0]))
            cost = np.mean(away.astype(float) ** 2) * LOG_STEP**2 / np.log(2)
            assert cost < 0.004
        else:
            away = np.abs(index // 15 - scale_index(np.mean(scales, axis=0)))
            # Bounds of the ratio of the two scales move u where they differ much.
            assert np.mean(away <= 1) > 0.9


def test_freezing_is_of_what_is_given(rng):
    """No hyperprior, nothing to freeze; a layer that has no exact integers is named."""
    assert (
        freeze(build(N=4, M=8, levels=0, level_aware=False, context="none", hyperprior="none"), {})
        == {}
    )
    net, params = random_model("direct")
    kernel = params["hyper_synthesis"]["Conv_0"]["kernel"]
    params["hyper_synthesis"]["Conv_0"]["kernel"] = kernel * np.float32(1e9)
    with pytest.raises(ValueError, match="layer hyper_2, channel"):
        freeze(net, params)


def test_drawn_pictures_are_pictures():
    found = drawn_pictures()
    assert len({picture.tobytes() for picture in found}) == 4
    for picture in found:
        assert picture.shape == (128, 128, 3) and picture.dtype == np.uint8
        assert picture.std() > 20
