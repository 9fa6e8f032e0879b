"""Codec models on disk: exact, whole or refused."""

import json
import shutil

import jax
import numpy as np
import pytest

import ycc_jax
from ycc_jax.codec_model import check_export_path, export_model, load_model, read_header, stream_ids
from ycc_jax.errors import ModelError


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
    digest = export_model(
        copy, name=model.name, arguments=model.arguments, params=model.params, training={"steps": 9}
    )
    assert digest == model.hash == read_header(tiny_run[0] / "model")["hash"]
    assert read_header(copy)["training"] == {"steps": 9}
    assert sorted(p.name for p in copy.parent.iterdir()) == ["model"]  # nothing left behind


def test_a_parameter_that_is_not_finite_is_not_exported(copy):
    model = load_model(copy)
    params = jax.tree.map(np.array, model.params)
    params["log_std"][3] = np.nan
    with pytest.raises(ValueError, match="found NaN or infinity in params/log_std"):
        export_model(copy, name="x", arguments=model.arguments, params=params)
    assert load_model(copy).hash == model.hash


def test_ids_cover_architecture_and_weights(copy):
    header = read_header(copy)
    model_id, weights_hash = stream_ids(header)
    assert weights_hash.hex() == header["hash"][:8]
    header["arguments"]["N"] += 1
    assert stream_ids(header)[0] != model_id


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
    with pytest.raises(ModelError, match="expected model format 1, found 99"):
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
