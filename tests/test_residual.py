"""The transform "residual": its start as the lapped codec or as a grown DLEC, and real bytes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import drawn_parameters

from train.start import start_from
from ycc_jax.codec import Codec
from ycc_jax.codec_model import export_model, load_model
from ycc_jax.errors import InputError
from ycc_jax.models import build
from ycc_jax.nets.lapped import LappedAnalysis, LappedSynthesis
from ycc_jax.nets.residual import AtLevel, ResidualAnalysis, ResidualSynthesis
from ycc_jax.pictures.color import rgb_to_ycbcr420

SMALL = dict(transform="residual", N=8, M=16, levels=3, linear_shortcut=True, entropy_width=8)
# All that the bundled model has.
TOLD = SMALL | dict(
    widths=(6, 8, 12),
    analysis_blocks=(2, 1),
    synthesis_blocks=(0, 2),
    level_aware_transform=True,
    chroma_weights=(0.1, 1.0),
)


def planes_of(photo, side=128):
    luma, chroma = rgb_to_ycbcr420(jnp.asarray(photo[None, :side, :side], jnp.float32) / 255)
    return luma - 0.5, chroma - 0.5


@pytest.fixture(scope="module")
def small():
    """A tiny model and random parameters."""
    model = build(**SMALL)
    return model, drawn_parameters(model)


@pytest.mark.parametrize("activation", ["prelu", "gdn"])
def test_before_training_it_is_the_lapped_transform(activation, photo, key):
    planes = planes_of(photo)
    widths, level = (8, 12, 24), jnp.ones((1, 1))
    analysis = ResidualAnalysis(widths, (1, 3), 320, activation, (3,))
    y, _ = analysis.init_with_output(key, *planes, level)
    lapped, _ = LappedAnalysis(320).init_with_output(key, *planes)
    np.testing.assert_array_equal(y, lapped)
    synthesis = ResidualSynthesis(widths, (0, 2), activation, (3,))
    found, _ = synthesis.init_with_output(key, y, level)
    linear, _ = LappedSynthesis().init_with_output(key, y)
    for plane, expected in zip(found, linear, strict=True):
        np.testing.assert_array_equal(plane, expected)
    assert found[0].shape == planes[0].shape and found[1].shape == planes[1].shape


@pytest.mark.parametrize("arguments", [SMALL, TOLD])
def test_gradients_reach_every_parameter(arguments, photo):
    model = build(**arguments)
    params = drawn_parameters(model)
    x = jnp.asarray(photo[None, :64, :64], jnp.float32) / 255

    def loss(params):
        level = jnp.ones((1, len(model.grid)))
        out = model.apply({"params": params}, x, level, jax.random.key(2))
        return out["metrics"]["bpp"] + 100 * jnp.mean((out["x_hat"] - x) ** 2)

    gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params))
    for path, gradient in gradients:
        name = jax.tree_util.keystr(path)
        assert np.isfinite(gradient).all(), name
        if "analysis" in name or "synthesis" in name:
            assert np.any(gradient), name


def test_a_grown_dlec_computes_what_it_did(small, photo, tmp_path):
    model, initial = small
    arguments = SMALL | {"transform": "dlec"}
    old = build(**arguments)
    export_model(
        tmp_path / "old", name="old", arguments=arguments, params=drawn_parameters(old, seed=1)
    )
    start = partial(start_from, str(tmp_path / "old"), axes=((1, 2, 3), (1.0,)))

    def identity(path, leaf):  # as the blocks start
        return (
            0 * leaf
            if any("Bottleneck" in p.key for p in path) and any(p.key == "Conv_2" for p in path)
            else leaf
        )

    initial = jax.tree_util.tree_map_with_path(identity, initial)
    params, old_params = start(model, initial, grows=True), load_model(tmp_path / "old").params
    x, level = jnp.asarray(photo[None, :64, :64], jnp.float32) / 255, jnp.ones(1)
    y = model.apply({"params": params}, x, level, method=model.analyse)
    expected = old.apply({"params": old_params}, x, level, method=old.analyse)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    shown = model.apply({"params": params}, y, level, method=model.synthesise)
    expected = old.apply({"params": old_params}, y, level, method=old.synthesise)
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-4)

    with pytest.raises(InputError, match="expected parameter .*, found"):
        start(model, initial)
    with pytest.raises(InputError, match=r"of shape \(5, 5, 7, 10\), found"):  # it does not shrink
        narrow = build(**SMALL | {"N": 7})
        start(narrow, drawn_parameters(narrow), grows=True)


def test_a_level_scales_and_shifts_channels_and_is_interpolated(rng):
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    table = rng.standard_normal((3, 2, 10)).astype(np.float32)

    def at(*levels):
        return AtLevel((3, 2)).apply({"params": {"level": table}}, x, jnp.array(levels))

    found = at((1.0, 0.0), (0.5, 1.0))
    middle = (table[0, 1] + table[1, 1]) / 2
    for picture, plane, values in zip(found, x, (table[1, 0], middle), strict=True):
        expected = plane * np.exp(values[:5]) + values[5:]
        np.testing.assert_allclose(picture, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arguments", [SMALL, TOLD])
def test_a_picture_survives_as_bytes(arguments, photo, tmp_path):
    params = drawn_parameters(build(**arguments))
    export_model(tmp_path / "model", name="small", arguments=arguments, params=params)
    codec = Codec(load_model(tmp_path / "model"))
    data, shown = codec.encode_with_picture(photo[:70, :90], quality=50)
    np.testing.assert_array_equal(codec.decode(data), shown)
    assert shown.shape == (70, 90, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"linear_shortcut": False}, "'residual' expects linear_shortcut"),
        ({"N": 1}, "N of at least 2, found True and 1"),
        ({"widths": (8, 16)}, r"three of at least 2 channels, or none, found \(8, 16\)"),
        ({"widths": (8, 16, 1)}, "three of at least 2 channels"),
        ({"analysis_blocks": (1,)}, r"two numbers of at least 0 each, found \(1,\) and \(1, 3\)"),
        ({"synthesis_blocks": (1, -1)}, "two numbers of at least 0 each"),
        (
            {"level_aware_transform": True, "levels": 0, "level_aware": False},
            "expects transform 'residual' and gain levels, found 'residual' and levels=0",
        ),
        (
            {"layout": "separate"},
            "of transform 'dlec', found 'separate' with 'residual'",
        ),
        ({"color_space": "rgb"}, "transform 'residual' expects color_space 'ycbcr'"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**SMALL | arguments)
