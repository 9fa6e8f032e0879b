"""Every system of the references as arguments of the one model, and each as a real codec."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import decoded_latent

import ycc_jax
from ycc_jax import bitstream
from ycc_jax.codec_model import export_model
from ycc_jax.entropy import factorized, gaussian
from ycc_jax.errors import CorruptStreamError, InputError
from ycc_jax.header import quantize_chroma
from ycc_jax.models import build, init
from ycc_jax.pictures.color import rgb_to_ycbcr420, to_uint8
from ycc_jax.pictures.planes import Planes

RGB = dict(transform="joint", color_space="rgb", activation="gdn", levels=0, level_aware=False)
ONE = dict(levels=0, level_aware=False)
VARIANTS = {
    "factorized": dict(RGB, hyperprior="none", context="none"),
    "scale": dict(RGB, hyperprior="scale", context="none"),
    "mean_scale": dict(RGB, context="none", density_filters=(3, 3, 3, 3), density_offset=True),
    "minnen": dict(RGB, input_offset=0.0),
    "six_channel": dict(ONE, layout="six_channel"),
    "separate": dict(ONE, layout="separate", context="none"),
    "asymmetric": dict(levels=2, likelihood="asymmetric_gaussian", entropy_width=4),
    "chroma_420": dict(
        levels=2, chroma_weights=(0.025, 0.25, 1.0), subsampling="420", context="none"
    ),
}


def parameters(model):
    """Random parameters, made without running the model; latents use several symbols."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(lambda: init(model, 0))
    has_nets = "entropy_parameters" in shapes

    def value(path, leaf):
        name = "/".join(key.key for key in path)
        noise = rng.normal(size=leaf.shape)
        if name.endswith("kernel"):
            gain = 1.4 if "analysis" in name else 1.0
            return gain * noise / np.sqrt(np.prod(leaf.shape[:-1]))
        if "density" in name and "offset" not in name:
            # softplus(0.1) = 0.74: five of them over three hidden units make it a few wide.
            return 0.1 - 0.5 * ("matrix" in name) + 0.1 * noise
        if name.endswith("beta") or name.endswith("gamma"):
            return np.sqrt(0.2 + 0.05 * rng.random(leaf.shape))
        direct = not has_nets and name == "hyper_synthesis/Conv_0/bias"
        if direct or (name == "entropy_parameters/output/bias" and not model.level_aware):
            noise[: model.M] += 30  # scales about 3, so that no symbol is far in their tails
        if name == "log_std":
            noise += 10
        return 0.25 if name.endswith("slope") else 0.1 * noise

    params = jax.tree_util.tree_map_with_path(lambda p, x: np.float32(value(p, x)), shapes)
    # Measured, so that y has a standard deviation of about 2.
    factor = {"six_channel": 12, "separate": 5.5}.get(model.layout, 10)
    for last in ("latent", "luma/Conv_3", "chroma/Conv_3", "Conv_3"):
        rescale(params["analysis"], last.split("/"), 1.75 if last == "Conv_3" else factor)
    rescale(params.get("hyper_analysis", {}), ["Conv_2"], 2)
    return params


def rescale(params, path, factor):
    """Scales the layer at a path, if it is there."""
    for name in path:
        params = params.get(name, {})
    for name in params.keys() & {"kernel", "bias"}:
        params[name] = params[name] * factor


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, tmp_path_factory):
    """(name, model, parameters, codec) of one variant, exported and loaded as users would."""
    arguments = dict(VARIANTS[request.param], N=4, M=8)
    model = build(**arguments)
    params = parameters(model)
    path = tmp_path_factory.mktemp("models") / request.param
    # As a config in JSON holds them: tuples are lists.
    arguments = json.loads(json.dumps(arguments))
    export_model(path, name=request.param, arguments=arguments, params=params, dtype=np.float32)
    return request.param, model, params, ycc_jax.load(path)


def settings(model):
    """What `encode` takes for it beside the picture, and the level that this stands for."""
    if not model.levels:
        return {}, jnp.zeros((1, 0))
    if not model.chroma_weights:
        return {"quality": 50}, jnp.array([[0.5]])
    chroma = quantize_chroma(0.25)
    return {"quality": 50, "chroma": chroma}, jnp.array([[0.5, 1.0]])


def test_file_decodes_to_the_encoders_picture_and_is_as_long_as_the_model_says(variant, photo):
    name, model, params, codec = variant
    crop, (options, level) = photo[:128, 64:256], settings(model)
    data, picture = codec.encode_with_picture(crop, **options, worth=float("inf"))
    np.testing.assert_array_equal(codec.decode(data), picture)
    assert picture.shape == crop.shape

    x = model.picture(jnp.asarray(crop[None], jnp.float32) / 255)
    out = jax.jit(lambda x: model.apply({"params": params}, x, level))(x)
    bits = float(out["bits_y"][0] + out["bits_z"][0])
    fields = bitstream.info(data)
    found = 8 * (fields["z_bytes"] + fields["y_bytes"])
    assert bits > 2000
    # The context of the model's own rounding differs a little from that of the coder's.
    assert abs(found / bits - 1) < (0.02 if model.context == "none" else 0.06), (found, bits)

    if model.subsampling == "444" and model.context == "none":
        # The same rounding where there is no mean; with one, in 1/256 steps, the other neighbour is
        # now and then as near. The picture is the transform's, of whatever was chosen.
        y_hat = decoded_latent(codec, data)
        y, x_hat = jax.jit(
            lambda x, y_hat: (
                model.apply({"params": params}, x, level, method=model.analyse),
                model.apply({"params": params}, y_hat, level, method=model.synthesise),
            )
        )(x, y_hat[None])
        assert np.abs(y_hat - y[0]).max() <= 0.5 + 1e-3
        exact = out["x_hat"] if model.hyperprior != "mean_scale" else x_hat
        expected = to_uint8(np.asarray(exact[0]))
        assert np.abs(expected.astype(int) - picture).max() <= 1


def test_odd_sizes_and_grey(variant, photo):
    _, model, _, codec = variant
    options, _ = settings(model)
    # All sizes of these tests are padded to one, which is compiled once.
    for picture in (photo[:127, :191], photo[:101, :130, 0]):
        data = codec.encode(picture, **options)
        assert codec.decode(data).shape == picture.shape


@pytest.mark.parametrize("name", ["scale", "asymmetric"])
def test_every_parameter_has_a_gradient(name, photo):
    model = build(**VARIANTS[name], N=4, M=8)
    params, (_, level) = parameters(model), settings(model)
    x = model.picture(jnp.asarray(photo[None, :64, :64], jnp.float32) / 255)

    def loss(params):
        out = model.apply({"params": params}, x, level, jax.random.PRNGKey(1))
        error = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), x, out["x_hat"])
        return out["metrics"]["bpp"] + 100 * sum(jax.tree.leaves(error))

    grads = jax.jit(jax.grad(loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_planes_are_coded_as_they_are(variant, photo):
    """From 8- and 10-bit planes of an odd size; a model of three equal planes refuses them."""
    _, model, _, codec = variant
    options, _ = settings(model)
    luma, chroma = rgb_to_ycbcr420(photo[:99, :161].astype(np.float32) / 255, range="limited")
    for depth, dtype in ((8, np.uint8), (10, np.uint16)):
        codes = [np.rint(p * 255 * 2 ** (depth - 8)).astype(dtype) for p in (luma, chroma)]
        planes = Planes(
            codes[0][..., 0], codes[1][..., 0], codes[1][..., 1], depth, "limited", "bt709", "left"
        )
        if model.transform == "joint":
            with pytest.raises(InputError, match="expected an RGB picture, found 4:2:0 planes"):
                codec.encode(planes, **options)
            continue
        data, expected = codec.encode_with_picture(planes, **options)
        found = codec.decode(data)
        for name in ("y", "cb", "cr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).dtype == dtype
        kind = ("depth", "range", "matrix", "siting")
        assert [getattr(found, k) for k in kind] == [depth, "limited", "bt709", "left"]
        fields = bitstream.info(data)
        assert fields["planes"] and fields["depth"] == depth


def test_native_planes_are_never_resized(monkeypatch):
    """With both resizing filters broken, a 4:2:0 model still trains and codes planes."""
    from ycc_jax.pictures import color

    model = build(N=4, M=8, levels=0, level_aware=False, subsampling="420")
    monkeypatch.setattr(color, "downsample_chroma", None)
    monkeypatch.setattr(color, "upsample_chroma", None)
    x = (jnp.zeros((1, 64, 128, 1)), jnp.zeros((1, 32, 64, 2)))
    out, _ = jax.eval_shape(model.init_with_output, jax.random.PRNGKey(0), x, jnp.zeros((1, 0)))
    assert [plane.shape for plane in out["x_hat"]] == [(1, 64, 128, 1), (1, 32, 64, 2)]
    with pytest.raises(ValueError, match="expected a picture in 420, found the other form"):
        jax.eval_shape(model.init, jax.random.PRNGKey(0), jnp.zeros((1, 64, 64, 3)), jnp.zeros(1))


def test_separate_layout_shares_nothing_between_luma_and_chroma():
    model = build(N=4, M=8, levels=0, level_aware=False, layout="separate", context="none")
    params = parameters(model)

    def analyse(luma, chroma):
        x = (luma, chroma)
        return model.apply({"params": params}, x, jnp.zeros((1, 0)), method=model.analyse)

    rng = np.random.default_rng(0)
    luma, chroma = rng.random((1, 64, 64, 1)), rng.random((1, 32, 32, 2))
    y = analyse(luma, chroma)
    np.testing.assert_array_equal(y[..., :6], analyse(luma, 0 * chroma)[..., :6])
    np.testing.assert_array_equal(y[..., 6:], analyse(0 * luma, chroma)[..., 6:])


def test_chroma_is_checked_and_stored(variant, photo):
    _, model, _, codec = variant
    crop = photo[:128, :192]
    if not model.chroma_weights:
        with pytest.raises(InputError, match="with one balance of luma and chroma"):
            codec.encode(crop, chroma=0.25)
        return
    for chroma in (0.025, 0.05, 1.0):
        data = codec.encode(crop, 50, chroma=chroma)
        assert bitstream.info(data)["chroma"] == quantize_chroma(chroma)
        codec.decode(data)
    assert codec.encode(crop, 50) == codec.encode(crop, 50, chroma=0.25)
    with pytest.raises(InputError, match="expected chroma from 0.025 to 1, found 1.5"):
        codec.encode(crop, 50, chroma=1.5)
    # A header without it says the model's default, which these symbols were not coded with.
    header, tiles, _ = bitstream.unpack(codec.encode(crop, 50, chroma=1.0))
    without = dataclasses.replace(header, chroma=None)
    with pytest.raises(CorruptStreamError, match="expected the symbols that the encoder coded"):
        codec.decode(bitstream.pack(without, tiles))


def test_an_offset_moves_the_table_and_the_density_alike():
    """Symbol k of a channel is z = offset + k: the table of an offset is the shifted density's."""
    model = factorized.FactorizedDensity(3, with_offset=True)
    params = model.init(jax.random.PRNGKey(0), jnp.zeros((1, 3)))["params"]
    offset = np.array([0.25, -3.0, 1.5], np.float32)
    tables = factorized.coding_tables({**params, "offset": offset})
    for c in range(3):
        counts = np.diff(tables.cdf[c, : tables.length[c]])[:-1]
        z = offset[c] + tables.offset[c] + np.arange(counts.size, dtype=np.float32)
        expected = factorized.likelihood(params, z[:, None] * jnp.ones(3))[:, c]
        np.testing.assert_allclose(counts / 65536, expected, atol=5e-5)
    # An offset by a whole number only renames the symbols.
    moved = factorized.coding_tables({**params, "offset": np.full(3, 2.0)})
    still = factorized.coding_tables(params)
    np.testing.assert_array_equal(moved.offset, still.offset - 2)
    np.testing.assert_array_equal(moved.cdf, still.cdf)


def test_without_noise_y_hat_is_what_a_decoder_finds_position_after_position(rng):
    model = build(N=4, M=6, levels=2, entropy_width=8)
    params, level = {"params": parameters(model)}, np.array([0.5], np.float32)
    y = 3 * rng.standard_normal((1, 4, 8, 6)).astype(np.float32)
    hyper = rng.standard_normal((1, 4, 8, 8)).astype(np.float32)
    expected = np.zeros_like(y)
    densities = jax.jit(partial(model.apply, params, method=model.parameters))
    for i, j in np.ndindex(4, 8):
        mean = np.asarray(densities(hyper, expected, level)[0])[0, i, j]
        expected[0, i, j] = np.rint(y[0, i, j] - mean) + mean
    mean, scale = densities(hyper, expected, level)
    found, bits = model.apply(params, y, hyper, level, None, method=model.quantize)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(bits, gaussian.bits(expected, mean, scale), rtol=1e-4, atol=1e-5)
    # Training finds it in as many passes as there are waves, and not in one.
    for passes, same in ((1, False), (8 + 3 * 3, True)):
        trained = model.clone(surrogate="mixed", passes=passes)
        key = jax.random.PRNGKey(1)
        found, _ = trained.apply(params, y, hyper, level, key, method=trained.quantize)
        assert np.allclose(found, expected, atol=1e-4) == same
