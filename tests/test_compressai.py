"""Our models against CompressAI's, with the same weights: `reference/make_compressai.py`."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import decoded_latent

import ycc_jax
from ycc_jax import compressai, models
from ycc_jax.compressai import convert, import_checkpoint, read_state_dict
from ycc_jax.entropy import factorized, gaussian
from ycc_jax.errors import InputError, MissingBackendError, ModelError

MODELS = {
    "factorized": "bmshj2018-factorized",
    "hyperprior": "bmshj2018-hyperprior",
    "mean": "mbt2018-mean",
    "context": "mbt2018",
    "context_7": "mbt2018",
}


@pytest.fixture(scope="module")
def reference():
    """Nested: case -> name -> array, and case -> "state" -> key -> array."""
    with np.load(Path(__file__).with_name("reference") / "compressai.npz") as file:
        tree = {}
        for key in file.files:
            *parents, leaf = key.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = file[key]
    return tree


@pytest.fixture(params=MODELS)
def case(request, reference):
    """(CompressAI's name of the model, its arrays), for every case."""
    return MODELS[request.param], reference[request.param]


@pytest.fixture
def state(reference):
    """The state dict of a tiny mbt2018, with all its buffers; a copy."""
    return dict(reference["context"]["state"])


def stages(arguments, params, rgb, expected, dtype):
    """What our stages give for CompressAI's inputs of each, by the names of the reference.

    One compiled program; `scale` is bounded as the density bounds it.
    """
    net = models.build(**arguments)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    density = params["density_z" if "z" in expected else "density_y"]
    names = ("y", "z_hat", "y_hat", "y_coded")
    given = {name: expected[name].astype(dtype) for name in names if name in expected}

    @jax.jit
    def run(params, density, x, given):
        def apply(method, *inputs):
            return net.apply({"params": params}, *inputs, level, method=method)

        level = jax.numpy.zeros(1, dtype)
        out = {"y": apply(net.analyse, x), "x_hat": apply(net.synthesise, given["y_hat"])}
        if "z_hat" not in given:
            return out | {"bits_y": bits(density, given["y_coded"])}
        out["z"] = apply(net.hyper_analyse, given["y"])
        out["bits_z"] = bits(density, given["z_hat"])
        hyper = apply(net.hyper_synthesise, given["z_hat"])
        mean, scale = apply(net.parameters, hyper, given["y_hat"])
        out["bits_y"] = gaussian.bits(given["y_coded"], mean, scale)
        out["scale"] = gaussian.bounded(scale)
        return out | ({"mean": mean} if "mean" in expected else {})

    def bits(density, latent):
        floor = gaussian.LIKELIHOOD_MIN
        return -jax.numpy.log2(jax.numpy.maximum(factorized.likelihood(density, latent), floor))

    with jax.default_matmul_precision("highest"):
        out = run(params, density, rgb[None].astype(dtype) / 255, given)
    return {name: np.asarray(value, np.float64) for name, value in out.items()}


def test_every_stage_agrees(case, reference):
    """The same formulas: both in float64, nothing but rounding differs, found 3e-14 at most."""
    model, expected = case
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        picture = reference["picture"]
        found = stages(*convert(expected["state"], model), picture, expected, np.float64)
    finally:
        jax.config.update("jax_enable_x64", before)
    step = int(reference["step"])
    found["x_hat"] = found["x_hat"][:, ::step, ::step]
    for name, value in found.items():
        want = np.clip(expected[name], 0.11, 256) if name == "scale" else expected[name]
        assert value.shape == want.shape
        size = np.sqrt(np.mean(np.square(want)))
        np.testing.assert_allclose(value, want, rtol=0, atol=1e-10 * size, err_msg=name)


def test_the_factorized_density_agrees_with_compressais_tables(case):
    """Probabilities of our density, and then our tables, against CompressAI's counts out of 65536.

    CompressAI rounds down after normalising, and takes the counts of its dozens of impossible
    symbols from the rarest possible ones, which therefore are left out here: counts above 32 are
    within 2 of the probability, found 1.5. Our tables take what such symbols need from the likely
    ones instead: 0.1 % and 3 counts.
    """
    model, expected = case
    _, params = convert(expected["state"], model)
    density = params.get("density_z", params.get("density_y"))
    tables = factorized.coding_tables(density)
    theirs = np.diff(expected["cdf"], axis=1).T  # (symbol, channel)
    symbols = np.arange(len(theirs))[:, None] + expected["offset"]
    probability = 65536 * np.asarray(factorized.likelihood(density, symbols + density["offset"]))
    counts = np.diff(tables.cdf, axis=1, append=65536)
    position = symbols - tables.offset
    ours = counts[np.arange(len(counts)), np.clip(position, 0, counts.shape[1] - 1)]
    common = (theirs > 32) & (np.arange(len(theirs))[:, None] < expected["cdf_length"] - 2)
    assert (theirs * common).sum(0).min() > 60000
    np.testing.assert_allclose(theirs[common], probability[common], rtol=0, atol=2)
    np.testing.assert_allclose(ours[common], theirs[common], rtol=1e-3, atol=3)


def test_pictures_decode_as_compressais_do(case, reference, photo, tmp_path):
    """Through both real coders, and files of ours; then any size."""
    model, expected = case
    np.savez(tmp_path / "weights.npz", **expected["state"])
    digest = import_checkpoint(tmp_path / "weights.npz", model, tmp_path / "model")
    codec = ycc_jax.load(tmp_path / "model")
    assert codec.model.hash == digest and codec.model.name == model
    stream = codec.encode(reference["picture"], worth=float("inf"))
    step = int(reference["step"])
    y_hat = decoded_latent(codec, stream)
    # Every latent is rounded to the nearest that its mean leaves, whichever side that is: a mean in
    # 1/256 steps may have another nearest than CompressAI's.
    assert np.abs(y_hat - expected["y"][0]).max() <= 0.5 + 1e-4
    fields = ycc_jax.info(stream)
    coded = 8 * (fields["z_bytes"] + fields["y_bytes"])
    bits = expected["bits_y"].sum() + (expected["bits_z"].sum() if "bits_z" in expected else 0)
    # The last bytes of two sections are not full.
    assert bits - 2 < coded < bits + 16, (coded, bits)
    if codec.net.hyperprior != "mean_scale":
        np.testing.assert_array_equal(y_hat, expected["y_hat"][0])
        found = codec.decode(stream)[::step, ::step].astype(int)
        assert np.abs(found - expected["decoded"]).max() <= 1
        assert np.mean(found == expected["decoded"]) > 0.99

    odd = photo[50:107, 100:213]
    stream, picture = codec.encode_with_picture(odd)
    np.testing.assert_array_equal(codec.decode(stream), picture)
    assert picture.shape == odd.shape


def test_what_the_context_masks_is_ignored(state):
    _, params = convert(state, "mbt2018")
    masked = state["context_prediction.weight"] * ~state["context_prediction.mask"].astype(bool)
    assert np.count_nonzero(masked) > 1000
    state["context_prediction.weight"] = state["context_prediction.weight"] - masked
    same(convert(state, "mbt2018")[1], params)


@pytest.mark.parametrize("old", ["_matrix{}", "_matrices.{}"])
def test_old_keys_are_the_same_parameters(state, old):
    _, params = convert(state, "mbt2018")
    old = {
        "matrices": old,
        "biases": old.replace("matrices", "biases").replace("matrix", "bias"),
        "factors": old.replace("matrices", "factors").replace("matrix", "factor"),
    }
    renamed = {}
    for key, value in state.items():
        module, _, rest = key.partition(".")
        kind, _, layer = rest.partition(".")
        if module == "entropy_bottleneck" and kind in old:
            key = f"{module}.{old[kind].format(layer)}"
        renamed[f"module.{key}"] = value
    assert "module.entropy_bottleneck." + old["factors"].format(3) in renamed
    same(convert(renamed, "mbt2018")[1], params)


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_arguments_and_parameters_are_what_the_model_has(case):
    """Whole: the paths and shapes are those that our model initialises, and all are float32."""
    model, expected = case
    arguments, params = convert(expected["state"], model)
    net = models.build(**arguments)
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 64, 64, 3)), np.zeros(1))
    assert jax.tree.map(lambda p: (p.shape, p.dtype), params) == jax.tree.map(
        lambda p: (p.shape, p.dtype), shapes["params"]
    )


@pytest.mark.parametrize("actual", MODELS)
@pytest.mark.parametrize("model", compressai.MODELS)
def test_another_model_is_told(reference, actual, model):
    if model != MODELS[actual]:
        with pytest.raises(ModelError, match=f"of {model}, found those of {MODELS[actual]}$"):
            convert(reference[actual]["state"], model)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("h_s.2.bias", None, r"h_s\.2\.bias \(13,\) in a mbt2018 of N=4, M=9, found none"),
        ("h_s.2.bias", np.zeros(12), r"h_s\.2\.bias to be \(13,\) .*, found \(12,\)"),
        ("h_s.0.weight", np.zeros((9, 4, 5, 5)), r"\(4, 9, 5, 5\) .*, found \(9, 4, 5, 5\)"),
        ("entropy_bottleneck.factors.3", None, r"factors\.3 \(4, 3, 1\) .*, found none"),
        ("entropy_bottleneck.matrices.5", np.zeros((4, 1, 1)), r"found .*matrices\.5 \(4, 1, 1\)"),
        ("Gain", np.zeros(6), r"expected the keys of a mbt2018, found Gain \(6,\) as well"),
        ("g_a.1.beta", None, "found none: models without GDN are not supported"),
        ("g_a.0.weight", None, r"expected g_a\.0\.weight with 4 axes"),
        ("g_a.6.weight", np.zeros(3), r"expected g_a\.6\.weight with 4 axes"),
        (
            "gaussian_conditional.scale_bound",
            np.full(1, 0.2),
            r"scale_bound to be 0\.11, found \[0\.2\]",
        ),
        ("context_prediction.mask", np.ones((18, 9, 5, 5)), "mask to be 1 for the 12 positions"),
        ("context_prediction.mask", np.zeros((18, 9, 5, 5)), "mask to be 1 for the 12 positions"),
        ("context_prediction.mask", np.ones((18, 9, 3, 3)), "mask to be 1 for the 12 positions"),
        ("gaussian_conditional.scale_bound", np.zeros(0), r"scale_bound to be 0\.11, found \[\]"),
        ("h_s.2.bias", np.zeros(13, complex), r"h_s\.2\.bias to hold real numbers, found complex"),
        ("h_s.2.bias", np.array(["x"] * 13), r"h_s\.2\.bias to hold real numbers, found <U1"),
        (7, np.zeros(13), "expected keys that are names, found 7"),
    ],
)
def test_what_is_missing_or_foreign_is_named(state, key, value, message):
    if value is None:
        del state[key]
    else:
        state[key] = value
    with pytest.raises(ModelError, match=message):
        convert(state, "mbt2018")


def test_an_unknown_model_is_refused(state):
    with pytest.raises(InputError, match="among bmshj2018-factorized, .*, found 'cheng2020'"):
        convert(state, "cheng2020")


def test_a_checkpoint_that_cannot_be_read_leaves_no_model(state, tmp_path, monkeypatch):
    def refused(path, error, message):
        with pytest.raises(error, match=message):
            import_checkpoint(path, "mbt2018", tmp_path / "model")
        assert sorted(p.name for p in tmp_path.iterdir()) == files

    names = ("good.npz", "bad.npz", "nan.npz", "weights.pth.tar")
    good, bad, nan, pickle = (tmp_path / name for name in names)
    np.savez(good, **state)
    bad.write_bytes(b"PK, but no archive")
    state["g_a.0.bias"] = np.full(4, np.nan)
    np.savez(nan, **state)
    pickle.write_bytes(b"no pickle")
    files = sorted(p.name for p in tmp_path.iterdir())
    refused(tmp_path / "none.pth", ModelError, "expected a checkpoint file, found none")
    refused(bad, ModelError, r"bad\.npz: expected an \.npz file of arrays")
    with open(bad, "wb") as file:
        np.save(file, np.zeros(3))
    refused(bad, ModelError, r"bad\.npz: expected an \.npz file of arrays")
    whole = good.read_bytes()
    bad.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    refused(bad, ModelError, r"bad\.npz: expected an \.npz file of arrays")
    refused(nan, InputError, "found NaN or infinity in params/analysis/Conv_0/bias")
    with pytest.raises(InputError, match="expected nothing or a codec model to replace"):
        import_checkpoint(good, "mbt2018", bad)
    (web := tmp_path / "web").mkdir()
    (web / "model.json").write_text('{"format": "graph-model"}')
    files = sorted([*files, "web"])
    for path in (good, tmp_path / "none.pth"):  # told before the weights are read
        with pytest.raises(InputError, match="web: expected nothing or a codec model to replace"):
            import_checkpoint(path, "mbt2018", web)
    assert [p.name for p in web.iterdir()] == ["model.json"]
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(pickle, MissingBackendError, "expected PyTorch to read it with .* numpy.savez")


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="PyTorch is not installed; the nox session compressai has it",
)
def test_pytorch_files(state, tmp_path):
    import torch

    path = tmp_path / "weights.pth.tar"
    tensors = {key: torch.tensor(value) for key, value in state.items()}
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    training = {"epoch": 3, "state_dict": tensors, "optimizer": optimizer.state_dict()}
    for content in (tensors, training):
        torch.save(content, path)
        same(convert(read_state_dict(path), "mbt2018"), convert(state, "mbt2018"))

    # Half of the digits, gradients, another storage: the values come through.
    key = "h_s.2.bias"
    other = torch.arange(13.0)
    for value in (other.bfloat16(), torch.nn.Parameter(other), other.to_sparse(), other.double()):
        torch.save({**tensors, key: value}, path)
        np.testing.assert_array_equal(read_state_dict(path)[key], np.arange(13))
    rough = {k: v.bfloat16() if v.is_floating_point() else v for k, v in tensors.items()}
    torch.save(rough, path)
    convert(read_state_dict(path), "mbt2018")

    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError, match="expected a state dict, or a dict with one"):
        read_state_dict(path)
    torch.save(Path("code"), path)
    with pytest.raises(ModelError, match="expected a PyTorch checkpoint of weights"):
        read_state_dict(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="expected a PyTorch checkpoint of weights"):
        read_state_dict(path)
