"""`ycc freeze`: models exported before priors were integers; other calibration."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import ycc_jax
from ycc_jax import cli
from ycc_jax.codec_model import freeze_model, load_model
from ycc_jax.errors import InputError, ModelError


@pytest.fixture
def earlier(tiny_run, tmp_path):
    """The tiny model as format 1 had it: no integers, and the former name of an argument."""
    path = tmp_path / "earlier"
    shutil.copytree(tiny_run[0] / "model", path)
    (path / "frozen.npz").unlink()
    header = json.loads((path / "model.json").read_text())
    header["format_version"] = 1
    header["arguments"]["alphas"] = header["arguments"].pop("chroma_weights", [])
    (path / "model.json").write_text(json.dumps(header))
    return path


def test_an_earlier_model_is_frozen_in_its_place(earlier, tiny_codec, photo):
    with pytest.raises(ModelError, match="expected model format 2, found 1; ycc freeze"):
        load_model(earlier)
    arrays = (earlier / "arrays.npz").read_bytes()
    digest = freeze_model(earlier, calibration=[photo[:128, :128]])
    assert (earlier / "arrays.npz").read_bytes() == arrays
    codec = ycc_jax.load(earlier)
    assert codec.model.hash == digest and codec.model.arguments.get("chroma_weights") == []
    for name, value in tiny_codec.model.tables.items():
        np.testing.assert_array_equal(codec.model.tables[name].cdf, value.cdf)
    picture = photo[:64, :128]
    data, expected = codec.encode_with_picture(picture, 70)
    np.testing.assert_array_equal(codec.decode(data), expected)
    # As long as the files of the model that froze itself at the end of training.
    assert len(data) == pytest.approx(len(tiny_codec.encode(picture, 70)), rel=0.02, abs=4)


def test_a_frozen_model_is_never_frozen_in_its_place(tiny_run, tmp_path, photo):
    """Its files need the very integers that it has."""
    model = tmp_path / "model"
    shutil.copytree(tiny_run[0] / "model", model)
    before = load_model(model).hash
    with pytest.raises(InputError, match="expected a model that is not frozen, or a folder"):
        freeze_model(model)
    assert load_model(model).hash == before
    digest = freeze_model(model, tmp_path / "other", [photo[:64, :64]])
    assert load_model(tmp_path / "other").hash == digest and load_model(model).hash == before


def test_freeze_on_the_command_line(earlier, tmp_path, photo, capsys):
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(photo[:70, :90]).save(folder / "a.png")
    Image.fromarray(photo[:90, :70, 0]).save(folder / "grey.png")
    assert cli.main(["freeze", str(earlier), "--images", str(folder)]) == 0
    assert f"codec model {load_model(earlier).hash[:8]}" in capsys.readouterr().err
    for arguments, code, sentence in (
        ([str(earlier)], 2, "expected a model that is not frozen"),
        ([str(tmp_path / "none")], 4, "expected a codec model folder"),
        ([str(earlier), "-o", str(folder)], 2, "expected nothing or a codec model to replace"),
        ([str(earlier), "-o", "new", "--images", str(tmp_path / "no")], 2, "folder of pictures"),
    ):
        assert cli.main(["freeze", *arguments]) == code
        assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "grey.png"]


def test_damaged_integers_are_told(tiny_run, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_run[0] / "model", model)
    with np.load(model / "frozen.npz") as file:
        frozen = {key: file[key].copy() for key in file.files}
    frozen["hyper_0/bias"][0] += 1
    np.savez_compressed(model / "frozen.npz", **frozen)
    with pytest.raises(ModelError, match="expected hash"):
        load_model(model)
    (model / "frozen.npz").write_bytes(b"PK")
    with pytest.raises(ModelError, match="expected a whole codec model"):
        load_model(model)
    (model / "frozen.npz").unlink()
    with pytest.raises(ModelError, match=r"frozen\.npz"):
        load_model(model)
