"""Codec models on disk: exact, whole or refused."""

import json
import shutil

import jax
import numpy as np
import pytest

import ycc_jax
from ycc_jax import codec_model
from ycc_jax.codec_model import (
    check_export_path,
    export_model,
    load_model,
    read_header,
    weights_hash,
)
from ycc_jax.errors import InputError, ModelError
from ycc_jax.model_arrays import hash_of
from ycc_jax.models import HyperpriorModel


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A copy of a codec model, to damage."""
    return shutil.copytree(tiny_run[0] / "model", tmp_path / "model")


def test_parameters_come_back_as_half_precision(tiny_run):
    model = load_model(tiny_run[0] / "model")
    exported = jax.tree.map(lambda p: np.asarray(p).astype(np.float16), tiny_run[1]["ema"])
    for found, expected in zip(
        jax.tree.leaves(model.params), jax.tree.leaves(exported), strict=True
    ):
        np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert model.tables["y"].cdf.shape[0] == 64
    assert model.tables["z"].cdf.shape[0] == model.arguments["N"]


def test_export_replaces_and_reproduces(tiny_run, copy):
    model = load_model(copy)
    content = dict(name=model.name, arguments=model.arguments, params=model.params)
    first, second = (export_model(copy, **content, training={"steps": n}) for n in (8, 9))
    assert first == second == load_model(copy).hash
    assert read_header(copy)["training"] == {"steps": 9}
    # The arrays are those of the trainer, which calibrated the integers with its own crops.
    for folder in (copy, tiny_run[0] / "model"):
        with np.load(folder / "arrays.npz") as file:
            np.testing.assert_array_equal(file["params/log_std"], model.params["log_std"])
    assert sorted(p.name for p in copy.parent.iterdir()) == ["model"]  # nothing left behind


def test_a_parameter_that_is_not_finite_is_not_exported(copy):
    model = load_model(copy)
    params = jax.tree.map(np.array, model.params)
    params["log_std"][3] = np.nan
    with pytest.raises(ValueError, match="found NaN or infinity in params/log_std"):
        export_model(copy, name="x", arguments=model.arguments, params=params)
    assert load_model(copy).hash == model.hash


def test_the_hash_covers_arguments_arrays_and_integers(copy):
    header = read_header(copy)
    assert weights_hash(header).hex() == header["hash"][:8]
    assert load_model(copy).weights_hash.hex() == header["hash"][:8]
    for name, change in (("matrix", "bt709"), ("surrogate", "noise")):
        changed = {**header, "arguments": {**header["arguments"], name: change}}
        (copy / "model.json").write_text(json.dumps(changed))
        with pytest.raises(ModelError, match="expected hash"):
            load_model(copy)


def test_damaged_models_are_refused(copy):
    arrays, header = copy / "arrays.npz", copy / "model.json"
    whole, text = arrays.read_bytes(), header.read_text()

    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="damaged"):
        ycc_jax.load(copy)
    with np.load(tiny := _write(arrays, whole)) as file:
        content = {key: file[key] for key in file.files}
    content["params/log_std"] = content["params/log_std"] + np.float16(1)
    np.savez_compressed(tiny, **content)
    with pytest.raises(ModelError, match="expected hash"):
        ycc_jax.load(copy)

    arrays.write_bytes(whole)
    header.write_text(json.dumps({**json.loads(text), "format_version": 99}))
    with pytest.raises(ModelError, match="expected model format 2, found 99"):
        ycc_jax.load(copy)
    header.write_text("{")
    with pytest.raises(ModelError, match=r"expected a codec model folder with model\.json"):
        ycc_jax.load(copy)


def test_a_flipped_bit_in_the_arrays_is_refused(copy):
    arrays = copy / "arrays.npz"
    whole, generator = arrays.read_bytes(), np.random.default_rng(0)
    for position in generator.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(generator.integers(8))
        arrays.write_bytes(damaged)
        try:
            model = load_model(copy)
        except ModelError:
            continue
        # Some bytes of a zip file, as its time stamps, are no part of the content.
        assert model.hash == read_header(copy)["hash"]


def test_export_follows_a_link_and_refuses_foreign_folders(copy):
    model = load_model(copy)
    arguments = dict(name="x", arguments=model.arguments, params=model.params)
    link = copy.parent / "link"
    link.symlink_to(copy)
    export_model(link, **arguments)
    assert link.is_symlink() and read_header(copy)["name"] == "x"
    foreign = copy.parent / "foreign"
    foreign.mkdir()
    (foreign / "mine.txt").write_text("mine")
    for path in (foreign, foreign / "mine.txt"):
        with pytest.raises(ValueError, match="expected nothing or a codec model to replace"):
            export_model(path, **arguments)
    assert (foreign / "mine.txt").read_text() == "mine"
    assert {p.name for p in copy.parent.iterdir()} == {"model", "link", "foreign"}


TENSORFLOW_JS = {"format": "layers-model", "modelTopology": {}, "weightsManifest": []}


@pytest.mark.parametrize(
    "files, found",
    [
        ({"model.json": TENSORFLOW_JS, "group1-shard1of1.bin": 0}, "with group1-shard1of1.bin in"),
        ({"model.json": TENSORFLOW_JS, "arrays.npz": 0}, "with another model.json"),
        ({"model.json": TENSORFLOW_JS}, "without arrays.npz"),
        ({"model.json": [], "arrays.npz": 0}, "with another model.json"),
        ({"notes.txt": 0}, "with notes.txt in it"),  # beside a whole model of ours
        ({"arrays": None}, "with arrays in it"),
    ],
)
def test_a_folder_that_is_not_only_a_model_is_not_replaced(copy, files, found):
    path, model = copy, load_model(copy)
    if "model.json" in files:
        (path := copy.parent / "web").mkdir()
    for name, content in files.items():
        if content is None:
            (path / name).mkdir()
        else:
            (path / name).write_text(json.dumps(content))
    before = {file: file.is_file() and file.read_bytes() for file in copy.parent.rglob("*")}
    message = f"expected nothing or a codec model to replace, found a folder {found}"
    with pytest.raises(ValueError, match=message):
        export_model(path, name="x", arguments=model.arguments, params=model.params)
    assert before == {file: file.is_file() and file.read_bytes() for file in copy.parent.rglob("*")}


def test_what_appears_in_a_model_while_it_is_replaced_is_kept(copy, monkeypatch):
    """A file that comes after the first check, when the new tables are computed."""
    model, before = load_model(copy), read_header(copy)
    tables = HyperpriorModel.coding_tables

    def write_meanwhile(*arguments):
        (copy / "notes.txt").write_text("mine")
        return tables(*arguments)

    monkeypatch.setattr(HyperpriorModel, "coding_tables", write_meanwhile)
    with pytest.raises(InputError, match="found a folder with notes.txt in it"):
        export_model(copy, name="x", arguments=model.arguments, params=model.params)
    assert read_header(copy) == before and (copy / "notes.txt").read_text() == "mine"
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_a_foreign_folder_is_not_taken_for_a_model_put_aside(tmp_path):
    (aside := tmp_path / ".model.backup.old").mkdir()
    (aside / "model.json").write_text(json.dumps(TENSORFLOW_JS))
    assert not check_export_path(tmp_path / "model").exists() and aside.exists()


def damaged(params, change):
    """Parameters of which one is missing, superfluous or of another shape."""
    params = jax.tree.map(np.array, params)
    if change == "missing":
        del params["analysis"]["latent"]["bias"]
    elif change == "superfluous":
        params["analysis"]["latent"]["scale"] = np.ones(3)
    else:
        params["analysis"]["latent"]["bias"] = np.zeros(63)
    return params


UNFIT = [
    ("missing", r"expected parameter params/analysis/latent/bias of shape \(64,\), found none"),
    ("superfluous", r"expected no parameter params/analysis/latent/scale, found one of shape \(3"),
    ("shape", r"expected parameter params/analysis/latent/bias of shape \(64,\), found \(63,\)"),
]


@pytest.mark.parametrize("change, message", UNFIT)
def test_parameters_that_do_not_fit_the_arguments_are_not_exported(
    tiny_run, tmp_path, change, message
):
    model = load_model(tiny_run[0] / "model")
    params = damaged(model.params, change)
    with pytest.raises(ValueError, match=message):
        export_model(tmp_path / "m", name="x", arguments=model.arguments, params=params)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change, message", UNFIT)
def test_parameters_that_do_not_fit_the_arguments_are_not_loaded(copy, change, message):
    """As a former version exported them: the hash is right."""
    model, header = load_model(copy), read_header(copy)
    with np.load(copy / "arrays.npz") as file:
        arrays = {key: file[key] for key in file.files if not key.startswith("params/")}
    for path, leaf in jax.tree_util.tree_leaves_with_path(damaged(model.params, change)):
        arrays["/".join(["params", *(key.key for key in path)])] = leaf.astype(np.float16)
    rewrite(copy, header, arrays)
    with pytest.raises(ModelError, match=f"{copy}: {message}"):
        ycc_jax.load(copy)


@pytest.mark.parametrize(
    "latent, rows, message",
    [
        ("z", 7, "expected tables/z/cdf with 8 rows, found shape .7, "),
        ("y", 65, "expected tables/y/cdf with 64 rows, found shape .65, "),
        ("y", 0, "expected tables/y/cdf with 64 rows, found none"),
    ],
)
def test_tables_that_do_not_fit_the_arguments_are_not_loaded(copy, latent, rows, message):
    header = read_header(copy)
    with np.load(copy / "arrays.npz") as file:
        arrays = {key: file[key] for key in file.files}
    for field in ("cdf", "length", "offset"):
        table = arrays.pop(f"tables/{latent}/{field}")
        if rows:
            arrays[f"tables/{latent}/{field}"] = np.resize(table, (rows, *table.shape[1:]))
    rewrite(copy, header, arrays)
    with pytest.raises(ModelError, match=message):
        ycc_jax.load(copy)


def test_a_model_that_was_checked_at_export_is_not_traced_again(copy, monkeypatch):
    monkeypatch.setattr(codec_model, "check_parameters", lambda *_: pytest.fail("traced"))
    load_model(copy)
    load_model(codec_model.BUNDLED / codec_model.BUNDLED_DEFAULT)


def rewrite(path, header, arrays):
    """Writes a model whose hash is right."""
    header = {key: value for key, value in header.items() if key != "shapes"}
    with np.load(path / "frozen.npz") as file:
        frozen = {f"frozen/{key}": file[key] for key in file.files}
    header["hash"] = hash_of(header["arguments"], {**arrays, **frozen})
    (path / "model.json").write_text(json.dumps(header))
    np.savez_compressed(path / "arrays.npz", **arrays)


def test_a_model_put_aside_by_a_killed_export_is_put_back(copy):
    """Killed between its two renames: the old model is there, but not under its name."""
    digest = read_header(copy)["hash"]
    aside = copy.rename(copy.parent / f".{copy.name}.x1y2.old")
    assert check_export_path(copy) == copy
    assert read_header(copy)["hash"] == digest and not aside.exists()


def test_a_folder_of_a_bundled_name_is_taken_only_if_it_is_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dlec_gain_small").mkdir()
    assert ycc_jax.load().model.name == ycc_jax.load("dlec_gain_small").model.name


def _write(path, data):
    path.write_bytes(data)
    return path


def test_a_missing_model_names_the_bundled_ones(tmp_path):
    with pytest.raises(ModelError, match=r"bundled models \['dlec_gain_small'.*found .*nothing"):
        ycc_jax.load(tmp_path / "nothing")


def test_hostile_json_is_a_model_error(tmp_path):
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="expected a codec model folder"):
        read_header(tmp_path)
