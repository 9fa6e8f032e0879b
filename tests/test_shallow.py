"""The transform "shallow": its parts, its start as the lapped codec, and real bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ycc_jax.codec import Codec
from ycc_jax.codec_model import export_model, load_model
from ycc_jax.models import build
from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.shallow import ShallowAnalysis, ShallowSynthesis, expected_widths, overlap_add
from ycc_jax.pictures.color import rgb_to_ycbcr420

SMALL = dict(transform="shallow", N=8, M=16, levels=3, linear_shortcut=True, entropy_width=8)


def planes_of(photo, side=128):
    luma, chroma = rgb_to_ycbcr420(jnp.asarray(photo[None, :side, :side], jnp.float32) / 255)
    return luma - 0.5, chroma - 0.5


@pytest.fixture(scope="module")
def small():
    """A tiny model and random parameters, which no initialiser has to be compiled for."""
    model = build(**SMALL)
    picture, level = jnp.zeros((1, 64, 64, 3)), jnp.zeros(1)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), picture, level))["params"]
    rng = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), shapes
    )


def test_patches_are_summed_where_they_lie(rng):
    patches = rng.normal(size=(2, 3, 4, 8 * 8 * 5)).astype(np.float32)
    expected = np.zeros((2, 4 * 4, 5 * 4, 5), np.float32)
    for i in range(3):
        for j in range(4):
            patch = patches[:, i, j].reshape(2, 8, 8, 5)
            expected[:, 4 * i : 4 * i + 8, 4 * j : 4 * j + 8] += patch
    found = overlap_add(jnp.asarray(patches), 4)
    np.testing.assert_allclose(found, expected[:, 2:-2, 2:-2], atol=1e-6)


def test_expected_widths_are_those_of_a_photograph(photo):
    y, _ = LappedAnalysis(320).init_with_output(jax.random.key(0), *planes_of(photo, 256))
    ratio = jnp.std(y, axis=(0, 1, 2)) / expected_widths(320)
    assert 0.3 < float(jnp.exp(jnp.log(ratio).mean())) < 3
    assert float(jnp.log(ratio).std()) < 1  # where the widths' own is above 1


@pytest.mark.parametrize("activation", ["prelu", "gdn"])
def test_before_training_it_is_the_lapped_transform(activation, photo, key):
    planes = planes_of(photo)
    y, _ = ShallowAnalysis(8, 320, activation).init_with_output(key, *planes)
    lapped, _ = LappedAnalysis(320).init_with_output(key, *planes)
    np.testing.assert_array_equal(y, lapped)
    found, _ = ShallowSynthesis(8).init_with_output(key, y)
    linear, _ = LappedSynthesis().init_with_output(key, y)
    for plane, expected in zip(found, linear, strict=True):
        np.testing.assert_array_equal(plane, expected)
    assert found[0].shape == planes[0].shape and found[1].shape == planes[1].shape


def test_gradients_reach_every_parameter(small, photo):
    model, params = small
    x = jnp.asarray(photo[None, :64, :64], jnp.float32) / 255

    def loss(params):
        out = model.apply({"params": params}, x, jnp.ones(1), jax.random.key(2))
        return out["metrics"]["bpp"] + 100 * jnp.mean((out["x_hat"] - x) ** 2)

    gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params))
    for path, gradient in gradients:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        if "analysis" in name or "synthesis" in name:
            assert np.any(gradient), name


def test_a_picture_survives_as_bytes(small, photo, tmp_path):
    _, params = small
    export_model(tmp_path / "model", name="small", arguments=SMALL, params=params)
    codec = Codec(load_model(tmp_path / "model"))
    data, shown = codec.encode_with_picture(photo[:70, :90], quality=50)
    np.testing.assert_array_equal(codec.decode(data), shown)
    assert shown.shape == (70, 90, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"linear_shortcut": False}, "'shallow' expects linear_shortcut"),
        ({"N": 3}, "N of at least 4, found True and 3"),
        (
            {"layout": "separate"},
            "of transform 'dlec', found 'separate' with 'shallow'",
        ),
        ({"color_space": "rgb"}, "transform 'shallow' expects color_space 'ycbcr'"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**SMALL | arguments)
