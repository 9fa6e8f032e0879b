"""The search at the encoder: better files, which any decoder reads, of models of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import decoded_latent, drawn_parameters
from golden.streams import golden_codec

from ycc_jax.bitstream import unpack
from ycc_jax.cli import main
from ycc_jax.errors import InputError
from ycc_jax.models import build
from ycc_jax.operating_point import lambda_of, level_of
from ycc_jax.pictures.color import rgb_to_ycbcr420
from ycc_jax.refinement import ITERATIONS, Task, relaxed


def cost(codec, picture, data, lmbda, chroma=0.25):
    """Bits + lambda * weighted squared error of the decoded 8-bit picture, by Pillow's YCbCr."""
    from PIL import Image

    planes = (
        np.asarray(Image.fromarray(p).convert("YCbCr"), float)
        for p in (picture, codec.decode(data))
    )
    squared = ((next(planes) - next(planes)) ** 2).sum((0, 1))
    error = (squared[0] + chroma * (squared[1] + squared[2])) / (1 + 2 * chroma)
    return 8 * sum(tile.size for tile in unpack(data).tiles) + lmbda * error


def test_a_search_pays(bundled, photo):
    """By the file's bytes and the decoded picture, more with more effort, the same each time."""
    picture, seen = photo[300:428, 100:228], []
    lmbda = lambda_of(bundled.model.lambdas, level_of(bundled.net, 40))
    data = [
        bundled.encode(picture, 40, effort=effort, progress=lambda *n: seen.append(n))
        for effort in (0, 2, 5)
    ]
    costs = [cost(bundled, picture, d, lmbda) for d in data]
    assert costs[1] < costs[0] and costs[2] < 0.98 * costs[0]
    total = ITERATIONS[5]
    assert seen[-total:] == [(n, total) for n in range(1, total + 1)]
    assert bundled.encode(picture, 40, effort=2) == data[1]


@pytest.mark.parametrize("name", ["scale", "grouped", "factorized", "compressai", "asymmetric"])
def test_every_kind_of_model_searches(name, photo):
    """In tiles, too; something better is found, and the file is as good as any."""
    codec = golden_codec(name)
    quality = 50 if codec.net.levels else None
    picture = photo[:100, 200:330]
    data, expected = codec.encode_with_picture(picture, quality, effort=1, tile=64)
    np.testing.assert_array_equal(codec.decode(data), expected)
    assert data != codec.encode(picture, quality, tile=64)


def test_lambda_is_the_models_own(bundled, photo):
    """What is found of a model that does not say it, is within a factor of 1.6 of what it was
    trained for, where not nearly all symbols are zero."""
    assert len(bundled.model.lambdas) == 10
    assert lambda_of((1.0, 4.0), np.array([0.5])) == pytest.approx(2.0)
    assert lambda_of((), np.array([0.5])) is None
    picture = photo[None, :192, 160:352]
    for quality in (70, 100):
        level = level_of(bundled.net, quality, 0.25)
        y = bundled.stages.analyse(picture, level)
        z = bundled.stages.hyper_analyse(y, level)
        task = Task(picture, y[None], 0, 0, level, 0.25, 0.0)
        found = bundled.stages.refinement.lmbda(task, y, z)
        assert 1 / 1.6 < found / lambda_of(bundled.model.lambdas, level) < 1.6


@pytest.mark.parametrize("name", ["dlec_gain_small", "mean_scale"])
def test_bits_of_latents_are_those_of_the_coder(name, photo):
    """Of y_hat as it was decoded, by the float twin of the prior, against the bytes of a file."""
    codec = golden_codec(name)
    picture, quality = photo[:128, 160:352], 70 if codec.net.levels else None
    data = codec.encode(picture, quality)
    (tile,) = unpack(data).tiles
    level = level_of(codec.net, quality)
    z = np.rint(codec.stages.hyper_analyse(codec.stages.analyse(picture[None], level), level))
    latents = (jnp.asarray(latent)[None] for latent in (decoded_latent(codec, data), z))
    params = {"params": codec.model.params}
    bits_y, bits_z, _ = codec.net.apply(params, *latents, level, method=codec.net.bits_of)
    # A section ends with a whole byte.
    assert float(bits_y[0]) == pytest.approx(8 * len(tile.y), rel=0.005, abs=16)
    assert float(bits_z[0]) == pytest.approx(8 * len(tile.z), rel=0.005, abs=16)


def test_bits_and_means_of_grouped_latents_are_those_of_the_forward_pass(rng):
    """Whose y_hat is an integer away from the mean of each."""
    net = build(N=6, M=16, levels=2, entropy_width=8, context="grouped", groups=(4, 4))
    params = {"params": drawn_parameters(net)}
    y, level = 3 * jnp.asarray(rng.normal(size=(1, 8, 8, 16)), jnp.float32), jnp.ones(1)
    coded = net.apply(params, y, level, None, method=net.rate)
    y_hat, z_hat = coded["y_hat"], coded["z_hat"]
    found, _, mean = net.apply(params, y_hat, z_hat, level, method=net.bits_of)
    np.testing.assert_allclose(found, coded["element_bits_y"].sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(y_hat - mean, np.rint(y_hat - mean), atol=1e-4)


def test_relaxed_places(key):
    x = jnp.linspace(-2.9, 2.9, 59)[:, None] * jnp.ones((1, 4000))
    hot, cold = relaxed(key, x, 0.5), relaxed(key, x, 0.02)
    assert jnp.all((hot >= jnp.floor(x)) & (hot <= jnp.floor(x) + 1))
    clear = np.abs(np.abs(x - np.floor(x)) - 0.5) > 0.15
    np.testing.assert_allclose(cold[clear], np.rint(x)[clear], atol=1e-3)
    # A coin that is thrown fairly in the middle, and gives way to x.
    middle = relaxed(key, jnp.full((4000,), 7.5), 0.1)
    assert 7.47 < float(middle.mean()) < 7.53
    slope = jax.grad(lambda x: relaxed(key, x, 0.5).sum())(x)
    assert float(slope.min()) >= 0 and float(slope.mean()) > 0.1


def test_planes_are_searched_too(photo):
    from ycc_jax.pictures.planes import from_float

    codec = golden_codec("chroma_420")
    luma, chroma = rgb_to_ycbcr420(jnp.asarray(photo[None, :64, :96], jnp.float32) / 255)
    planes = from_float(
        np.asarray(luma[0]), np.asarray(chroma[0]), height=64, width=96, depth=8,
        range="full", matrix="bt601", siting="center",
    )  # fmt: skip
    data, expected = codec.encode_with_picture(planes, 60, effort=1)
    np.testing.assert_array_equal(codec.decode(data).y, expected.y)


def test_an_effort_that_there_is_not(bundled, photo, tmp_path, capsys):
    with pytest.raises(InputError, match="effort from 0 to 9, found 10"):
        bundled.encode(photo[:8, :8], effort=10)
    assert main(["encode", str(tmp_path / "a.png"), "--effort", "10"]) == 2
    assert "0<=x<=9" in capsys.readouterr().err
