"""Modules of one's own: a transform, a context and a likelihood that the library does not have.

They train, are frozen, and code to real bytes as its own do.
"""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import laplace

import ycc_jax
from ycc_jax import registry
from ycc_jax.entropy.gaussian import bounded, index
from ycc_jax.entropy.tables import SCALE_TABLE, tables_from_pmf
from ycc_jax.nets.grouped import Step
from ycc_jax.rounding import lower_bound

ARGUMENTS = dict(
    N=4,
    M=6,
    levels=2,
    transform="patches",
    color_space="rgb",
    context="thirds",
    likelihood="laplace",
    entropy_width=4,
    surrogate="mixed",
)


class Patches(nn.Module):
    """A linear map of blocks of 16x16."""

    M: int

    @nn.compact
    def __call__(self, x):
        return nn.Conv(self.M, (16, 16), 16, padding="VALID")(x)


class Unpatch(nn.Module):
    """And back, brighter at high rates: it is told the level."""

    @nn.compact
    def __call__(self, y, level):
        x = nn.ConvTranspose(3, (16, 16), (16, 16), padding="VALID")(y)
        return x * (1 + level.reshape(-1, 1, 1, 1))


class PatchesAtLevel(Patches):
    @nn.compact
    def __call__(self, x, level):
        return super().__call__(x)


def laplace_bits(y, mean, scale):
    """Both halves by the tail's formula, exp(-d / b) / 2, which needs no cancellation."""
    b = bounded(scale)
    d = jnp.abs(y - mean)
    far = jnp.exp(-jnp.maximum(d, 0.5) / b) * jnp.sinh(0.5 / b)
    near = 1 - jnp.exp(-0.5 / b) * jnp.cosh(d / b)
    return -jnp.log2(lower_bound(jnp.where(d >= 0.5, far, near), 1e-9))


def laplace_tables():
    values = np.arange(-300, 301)
    edges = np.append(values - 0.5, values[-1] + 0.5)
    pmf = [np.diff(laplace.cdf(edges, scale=b)) for b in SCALE_TABLE]
    return tables_from_pmf(np.array(pmf), np.full(len(pmf), -300))


LAPLACE = SimpleNamespace(
    SCALES=1, ROWS=len(SCALE_TABLE), bits=laplace_bits, index=index, coding_tables=laplace_tables
)


def thirds(model):
    """Two groups; of the first a third of the columns at a time, of the second all at once."""
    pattern = ((0, 1, 2),)
    first = [Step(0, 2, phase, pattern) for phase in range(3)]
    return (*first, Step(2, model.M, 0, ((0,),)))


@pytest.fixture(scope="module")
def registered():
    """The three, until the tests of this file are over."""
    ycc_jax.register_transform(
        "patches", lambda m: PatchesAtLevel(m.M), lambda m: Unpatch(), level=True
    )
    ycc_jax.register_context("thirds", thirds)
    ycc_jax.register_likelihood("laplace", LAPLACE)
    yield
    del registry.TRANSFORMS["patches"], registry.CONTEXTS["thirds"]
    del registry.LIKELIHOODS["laplace"]


def test_laplace_is_scipys():
    y, b = np.meshgrid(np.linspace(-9, 9, 37), [0.3, 1.0, 4.0])
    expected = laplace.cdf(y + 0.5, scale=b) - laplace.cdf(y - 0.5, scale=b)
    np.testing.assert_allclose(laplace_bits(y, 0.0, b), -np.log2(np.maximum(expected, 1e-9)), 1e-4)


def test_they_train_freeze_and_code(registered, photo):
    model = ycc_jax.build(**ARGUMENTS)
    params = ycc_jax.init(model)
    x = jnp.asarray(photo[None, :128, :192], jnp.float32) / 255
    level, lmbda = jnp.ones((1, 1)), jnp.array([0.01])
    tx = optax.adam(1e-2)

    @jax.jit
    def step(params, opt, key):
        def loss(params):
            out = model.apply({"params": params}, x, level, key)
            return ycc_jax.rate_distortion(out, x, lmbda, space="rgb")

        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt = tx.update(grads, opt)
        return optax.apply_updates(params, updates), opt, metrics["loss"]

    losses, opt = [], tx.init(params)
    for n in range(20):
        params, opt, loss = step(params, opt, jax.random.PRNGKey(n))
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]

    codec = ycc_jax.Codec.from_params(params, ARGUMENTS, calibration=[photo[:128, :192]])
    picture = photo[200:331, 100:250]
    data, painted = codec.encode_with_picture(picture, quality=80, worth=float("inf"))
    np.testing.assert_array_equal(codec.decode(data), painted)

    # What the forward pass expects of these symbols is what they take: the float prior, which
    # the integers follow, and the Laplace tables.
    padded = np.pad(picture, ((0, 61), (0, 42), (0, 0)), mode="edge") / np.float32(255)
    variables = {"params": codec.model.params}
    level = ycc_jax.level_of(model, quality=80)
    out = model.apply(variables, jnp.asarray(padded[None]), level, details=True)
    assert out["element_bits_y"].shape == out["y_hat"].shape == (1, 12, 12, 6)
    expected = float(out["bits_y"][0] + out["bits_z"][0])
    assert 8 * len(data) == pytest.approx(expected, rel=0.05, abs=400)
    np.testing.assert_array_equal(codec.model.tables["y"].cdf, laplace_tables().cdf)


def test_who_decodes_has_to_register_it(registered, photo, tmp_path, monkeypatch):
    model = ycc_jax.build(**ARGUMENTS)
    ycc_jax.export_model(
        tmp_path / "m", name="mine", arguments=ARGUMENTS, params=ycc_jax.init(model)
    )
    assert ycc_jax.load(tmp_path / "m").net == model
    monkeypatch.delitem(registry.TRANSFORMS, "patches")
    with pytest.raises(ycc_jax.ModelError, match="'patches'; others by ycc_jax.register_transform"):
        ycc_jax.load(tmp_path / "m")


def test_names_are_taken_once(registered):
    with pytest.raises(ValueError, match="new name of a transform, found 'dlec', which is taken"):
        ycc_jax.register_transform("dlec", Patches, Unpatch)
    with pytest.raises(ValueError, match="new name of a context, found 'none'"):
        ycc_jax.register_context("none", thirds)
    with pytest.raises(ValueError, match="expected a likelihood with SCALES.*, found no SCALES"):
        ycc_jax.register_likelihood("empty", SimpleNamespace())


CHECKS = ((0, 1), (1, 0))


@pytest.mark.parametrize(
    "steps, message",
    [
        ([Step(0, 4, 0, ((0,),))], r"groups share 6 channels, found groups \[\(0, 4\)\]"),
        ([Step(0, 4, 0, ((0,),)), Step(3, 6, 0, ((0,),))], "groups share 6 channels"),
        ([Step(0, 6, 0, CHECKS)], r"phases 0 to 1 of group \(0, 6\), found \[0\]"),
        ([Step(0, 6, 1, CHECKS), Step(0, 6, 0, CHECKS)], r"found \[1, 0\]"),
        ([Step(0, 6, 0, CHECKS), Step(0, 6, 1, ((0, 1),))], "one rectangular pattern"),
        ([Step(0, 6, 0, ((0, 1), (0,)))], "one rectangular pattern"),
    ],
)
def test_steps_that_leave_something_out_are_refused(steps, message, monkeypatch):
    monkeypatch.setitem(registry.CONTEXTS, "wrong", lambda model: tuple(steps))
    with pytest.raises(ValueError, match=message):
        ycc_jax.build(N=4, M=6, levels=2, context="wrong")
