"""Training of one half on latents as files have them: better pictures, or fewer bits."""

import jax
import numpy as np
import pytest
from conftest import drawn_parameters
from PIL import Image

from train import real_latents
from ycc_jax.codec import Codec
from ycc_jax.codec_model import export_model, load_model, read_header
from ycc_jax.models import build

ARGUMENTS = dict(
    transform="residual",
    N=4,
    M=8,
    levels=2,
    chroma_weights=(0.25, 1.0),
    linear_shortcut=True,
    entropy_width=4,
    widths=(4, 4, 4),
    analysis_blocks=(0, 0),
    synthesis_blocks=(0, 1),
    level_aware_transform=True,
)
LOSS = {"metric": "mse", "lambdas": [0.01, 0.05], "space": "ycbcr", "chroma_weight": 0.25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """photos/ with one photograph, and a tiny model of random parameters."""
    folder = tmp_path_factory.mktemp("synthesis")
    (folder / "photos").mkdir()
    Image.fromarray(photo[:300, :280]).save(folder / "photos" / "photo.png")
    params = drawn_parameters(build(**ARGUMENTS))
    training = {"steps": 7, "config": {"loss": LOSS}}
    export_model(
        folder / "model", name="tiny", arguments=ARGUMENTS, params=params, training=training
    )
    return folder


def run(part, folder, *arguments):
    named = [
        part,
        str(folder / "model"),
        "--photos",
        str(folder / "photos"),
        "-o",
        str(folder / "new"),
    ]
    return real_latents.main([*named, *arguments])


def test_the_same_symbols_become_better_pictures(folder, photo, capsys):
    given = ("--crops", "3", "--batch", "2", "--steps", "30", "--learning-rate", "1e-2")
    given += ("--held-out", str(folder / "photos"))
    assert run("synthesis", folder, *given) == 0
    said = capsys.readouterr().out
    assert "Codec model" in said and "dB of distortion (by thirds" in said
    old, new = load_model(folder / "model"), load_model(folder / "new")
    assert new.hash != old.hash
    for key, value in old.frozen.items():
        np.testing.assert_array_equal(new.frozen[key], value)
    for path, value in jax.tree_util.tree_leaves_with_path(old.params):
        name = jax.tree_util.keystr(path)
        found = new.params
        for part in path:
            found = found[part.key]
        if "synthesis" not in name and "gain_y" not in name:
            np.testing.assert_array_equal(found, value, err_msg=name)
    gain = "log_gain"
    np.testing.assert_array_equal(new.params["gain_y"][gain], old.params["gain_y"][gain])
    training = read_header(folder / "new")["training"]
    assert training["steps"] == 7 and training["synthesis"]["steps"] == 30

    picture, files, errors = photo[:256, :256], [], []
    for model in (old, new):
        data, shown = Codec(model).encode_with_picture(picture, quality=60)
        files.append(data)
        errors.append(np.mean((shown.astype(float) - picture) ** 2))
    assert len(files[0]) == len(files[1])
    assert errors[1] < 0.9 * errors[0]


def test_the_same_pictures_take_fewer_bits(folder, photo, capsys):
    given = ("--crops", "3", "--batch", "2", "--steps", "40", "--learning-rate", "1e-2")
    assert run("prior", folder, *given) == 0
    old, new = load_model(folder / "model"), load_model(folder / "new")
    for name in ("analysis", "synthesis", "hyper_analysis", "density_z", "gain_y", "gain_z"):
        jax.tree.map(np.testing.assert_array_equal, new.params[name], old.params[name])
    files = [Codec(model).encode(photo[:256, :256], quality=60) for model in (old, new)]
    assert len(files[1]) < 0.95 * len(files[0])
    assert Codec(new).decode(files[1]).shape == (256, 256, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--steps", "0"), "expected at least one step"),
        (("--crops", "2", "--batch", "3"), "no more crops a batch than there are, found"),
        (("--photos", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_is_a_sentence(arguments, message, folder, capsys):
    assert run("synthesis", folder, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_model_for_another_distortion_is_refused(folder, capsys):
    params = drawn_parameters(build(**ARGUMENTS))
    export_model(folder / "other", name="other", arguments=ARGUMENTS, params=params)
    command = [
        "prior",
        str(folder / "other"),
        "--photos",
        str(folder / "photos"),
        "-o",
        str(folder / "new"),
    ]
    assert real_latents.main(command) == 2
    assert "expected one trained for MSE" in capsys.readouterr().err
