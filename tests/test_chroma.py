"""A briefly trained model of 4:2:0 planes with gains on a grid: bit allocation, and Y4M files."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import ycc_jax
from configs.smoke import get_config as smoke
from train.loop import train_and_evaluate
from train.start import start_from
from ycc_jax import bitstream, cli
from ycc_jax.metrics import bd_rate
from ycc_jax.metrics import psnr as rgb_psnr
from ycc_jax.models import build, init
from ycc_jax.pictures import images, y4m
from ycc_jax.pictures.color import rgb_to_ycbcr420, to_uint8
from ycc_jax.pictures.planes import Planes, to_rgb

WEIGHTS = (0.025, 0.25, 1.0)


def grid_config():
    config = smoke().unlock()
    config.name = "smoke_chroma_420"
    # M of smoke drops most of the transform's channels, which would bound the PSNR of luma.
    config.model.update(M=320, chroma_weights=WEIGHTS, subsampling="420")
    config.train.update(eval_every=30, checkpoint_every=30)
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The workdir of a run of 30 steps."""
    workdir = tmp_path_factory.mktemp("chroma")
    train_and_evaluate(grid_config(), str(workdir))
    return workdir


@pytest.fixture(scope="module")
def codec(folder):
    return ycc_jax.load(folder / "model")


@pytest.fixture(scope="module")
def picture(photo):
    """A photograph as 8-bit 4:2:0 planes of odd size."""
    return as_planes(photo[20:147, 150:341])


def as_planes(rgb, range="limited", siting="left"):
    luma, chroma = rgb_to_ycbcr420(rgb.astype(np.float32) / 255, range=range)
    codes = [to_uint8(p) for p in (luma[..., 0], chroma[..., 0], chroma[..., 1])]
    return Planes(*codes, 8, range, "bt601", siting)


def psnr(a, b):
    """PSNR of luma, and of both chroma planes together, in dB."""
    error = [np.square(getattr(a, p).astype(float) - getattr(b, p)) for p in ("y", "cb", "cr")]
    return [10 * np.log10(255**2 / np.mean(e)) for e in (error[0], error[1:])]


@pytest.fixture(scope="module")
def grid(codec, picture):
    """bytes, PSNR of luma, PSNR of chroma, (qualities, chroma_weights, 3), from real files."""
    points = []
    for quality in (0, 30, 60, 100):
        for chroma in WEIGHTS:
            data = codec.encode(picture, quality, chroma=chroma)
            points.append([len(data), *psnr(picture, codec.decode(data))])
    return np.array(points).reshape(4, len(WEIGHTS), 3)


def test_rate_and_both_psnrs_rise_with_lambda(grid):
    assert (np.diff(grid, axis=0) > 0).all(), grid


def test_bits_move_from_chroma_to_luma_as_alpha_falls(grid):
    """At equal lambda (Ulas & Tekalp 2022); not by a hair: 1 dB each over the range of chroma."""
    luma, chroma = grid[..., 1], grid[..., 2]
    assert (np.diff(luma, axis=1) < 0).all() and (np.diff(chroma, axis=1) > 0).all(), grid
    assert (luma[:, 0] - luma[:, -1] > 1).all() and (chroma[:, -1] - chroma[:, 0] > 1).all(), grid


def test_luma_gains_at_equal_rate_as_alpha_falls(grid):
    """What the allocation is for: the same bytes give a better luma, a worse chroma."""
    for low, high in ((0, 1), (1, 2)):
        luma, chroma = (
            bd_rate.bd_rate(grid[:, high, 0], grid[:, high, k], grid[:, low, 0], grid[:, low, k])[0]
            for k in (1, 2)
        )
        assert luma < -1 and chroma > 1, (luma, chroma)


def test_between_the_trained_weights_the_trade_is_continuous(codec, picture):
    points = []
    for chroma in (0.25, 0.35, 0.5, 0.71, 1.0):
        found = codec.decode(codec.encode(picture, 60, chroma=chroma))
        points.append(psnr(picture, found))
    luma, chroma = np.array(points).T
    assert (np.diff(luma) < 0.05).all() and (np.diff(chroma) > -0.05).all(), points
    assert np.abs(np.diff(luma)).max() < 0.8 * (luma[0] - luma[-1])


def test_y4m_and_yuv_from_one_process_to_another(folder, codec, picture, tmp_path):
    """Through the command line; the samples are bit for bit those that the encoder expects."""
    model = ["-m", str(folder / "model")]
    source, stream, out = (tmp_path / name for name in ("in.y4m", "k.ycc", "out.y4m"))
    y4m.write_y4m(picture, source)
    for arguments in (
        ["encode", str(source), "-o", str(stream), "-q", "80", "--chroma", "0.1", *model],
        ["decode", str(stream), "-o", str(out), *model],
    ):
        subprocess.run([sys.executable, "-m", "ycc_jax", *arguments], check=True, timeout=300)
    data, expected = codec.encode_with_picture(picture, 80, chroma=0.1)
    assert stream.read_bytes() == data
    found = y4m.read_y4m(out)
    for name in ("y", "cb", "cr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.range, found.siting) == ("limited", "left")


def test_planes_through_the_command_line(folder, codec, picture, tmp_path, monkeypatch):
    """Ten bits, raw samples, a frame of a film, and the way to a picture that can be looked at."""
    monkeypatch.chdir(tmp_path)
    model = ["--quiet", "-m", str(folder / "model")]
    deep = [getattr(picture, p).astype(np.uint16) * 4 for p in ("y", "cb", "cr")]
    deep = Planes(*deep, 10, "full", "bt709", "left")
    y4m.write_yuv(deep, "in.yuv")
    size = ["--size", "191x127", "--depth", "10", "--range", "full", "--matrix", "bt709"]
    assert cli.main(["encode", "in.yuv", "-o", "a.ycc", "-q", "90", *size, *model]) == 0
    fields = bitstream.info((tmp_path / "a.ycc").read_bytes())
    assert (fields["depth"], fields["range"], fields["matrix"]) == (10, "full", "bt709")
    assert cli.main(["decode", "a.ycc", "-o", "out.yuv", *model]) == 0
    found = y4m.read_yuv("out.yuv", 191, 127, 10)
    assert found.y.max() > 255 and np.abs(found.y.astype(int) - deep.y).mean() < 40
    assert cli.main(["decode", "a.ycc", "-o", "out.png", *model]) == 0
    expected = to_rgb(codec.decode((tmp_path / "a.ycc").read_bytes()))
    np.testing.assert_array_equal(images.read("out.png"), expected)

    y4m.write_y4m(picture, "one.y4m")
    one = (tmp_path / "one.y4m").read_bytes()
    frame = one[one.index(b"FRAME") :]
    (tmp_path / "film.y4m").write_bytes(one + frame.replace(frame[20:40], bytes(20)))
    assert cli.main(["encode", "film.y4m", "-o", "b.ycc", *model]) == 2
    assert cli.main(["encode", "film.y4m", "--frame", "0", "-o", "b.ycc", *model]) == 0
    assert (tmp_path / "b.ycc").read_bytes() == codec.encode(picture)
    assert cli.main(["decode", "b.ycc", *model]) == 0
    assert y4m.read_y4m("b.y4m").y.shape == (127, 191)


def test_rgb_through_a_model_of_planes(codec, photo):
    """Chroma by 2x2 means on the way in, interpolated on the way out; grey stays grey."""
    rgb = photo[20:147, 150:341]
    found = codec.decode(codec.encode(rgb, 100))
    assert rgb_psnr.psnr(rgb, found)["psnr-y"] > 30
    planes = codec.decode(codec.encode(as_planes(rgb, "full", "center"), 100))
    # The same picture but for the rounding of its planes to 8 bits, before and after: a variance of
    # 1/12 in each plane is 0.24 as the mean over R, G and B.
    direct, rounded = (np.square(p.astype(float) - rgb).mean() for p in (found, to_rgb(planes)))
    assert 0 < rounded - direct < 2 * 0.24 + 0.05
    assert codec.decode(codec.encode(rgb[..., 0])).shape == rgb.shape[:2]


def shapes(model):
    """Parameters of a model, without values."""
    return jax.eval_shape(lambda: init(model, 0))


def test_a_line_of_rates_starts_a_grid(tiny_run, tiny_config, tiny_codec):
    """Its gains, spread over chroma weights: at the chroma it was trained with it is the same."""
    path, lambdas = str(tiny_run[0] / "model"), tuple(tiny_config.loss.lambdas)
    arguments = {**tiny_codec.model.arguments, "chroma_weights": [0.025, 0.25, 1.0]}

    def start(**changes):
        model = build(**{**arguments, **changes})
        return start_from(path, model, shapes(model), (lambdas, model.chroma_weights or (0.25,)))

    params, old = start(), tiny_codec.model.params
    for name, leaf in (("gain_y", "log_gain"), ("gain_z", "log_inverse")):
        np.testing.assert_allclose(params[name][leaf][:, 1], old[name][leaf], atol=1e-5)
    # Less weight for chroma: coarser there, and finer luma.
    moved = params["gain_y"]["log_gain"][:, 0] - old["gain_y"]["log_gain"]
    np.testing.assert_allclose(np.unique(np.round(moved, 3)), [-0.98, 0.178], atol=0.01)
    with pytest.raises(ValueError, match=r"of shape \(7,\), found \(8,\)"):
        start(N=7)
    with pytest.raises(ValueError, match="expected parameter .*GDN.*, found none"):
        start(activation="gdn")


def test_rates_start_more_rates(tiny_run, tiny_config, tiny_codec):
    """Between trained rates interpolated; below them as the closed form goes on."""
    path, lambdas = tiny_run[0] / "model", tuple(tiny_config.loss.lambdas)
    middle = float(np.sqrt(lambdas[0] * lambdas[1]))
    new = (lambdas[0] / 4, lambdas[0], middle, *lambdas[1:])
    model = build(**{**tiny_codec.model.arguments, "levels": 10})
    params = start_from(str(path), model, shapes(model), (new, (0.25,)))
    old = tiny_codec.model.params
    for unit, leaf, below in (
        ("gain_y", "log_gain", -np.log(2)),  # a step is 1 / sqrt(lambda)
        ("gain_y", "log_inverse", np.log(2)),
        ("gain_z", "log_gain", 0),
        ("entropy_parameters", "level", 0),
    ):
        found, expected = np.asarray(params[unit][leaf]), np.asarray(old[unit][leaf])
        np.testing.assert_allclose(found[[1, 3, 9]], expected[[0, 1, 7]], atol=1e-5)
        np.testing.assert_allclose(found[2], (expected[0] + expected[1]) / 2, atol=1e-5)
        np.testing.assert_allclose(found[0], expected[0] + below, atol=1e-5)
    header = json.loads((path / "model.json").read_text())
    copy = shutil.copytree(path, path.parent / "silent")
    (copy / "model.json").write_text(json.dumps({**header, "training": {}}))
    with pytest.raises(ValueError, match="expected the lambdas of its levels, found none"):
        start_from(str(copy), model, shapes(model), (new, (0.25,)))
