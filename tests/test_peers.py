"""The classic codecs: they write what they are called, as well as other programs do."""

import importlib
import io
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ycc_jax.errors import InputError, MissingBackendError
from ycc_jax.evaluation import commands, peers
from ycc_jax.metrics import psnr

NAMES = "jpeg-420 jpeg-444 webp jpeg2000 avif-420 avif-444 jxl".split()

# (quality, bytes, PSNR_RGB, PSNR_Y) of `photo[:256, :256]`, by Pillow 13.0 with libjpeg-turbo
# 3.2.0, libwebp 1.6.0, OpenJPEG 2.5.4, libavif 1.4.2 and pillow-jxl-plugin 1.3.8: versions and
# settings whose curves on Kodak agree with the anchors, as the test at the end shows of two.
STORED = {
    "jpeg-420": (40, 6317, 32.112, 34.098),
    "jpeg-444": (40, 7429, 32.811, 34.100),
    "webp": (50, 4538, 33.353, 35.443),
    "jpeg2000": (34, 4936, 33.605, 35.327),
    "avif-420": (37, 3172, 32.921, 35.089),
    "avif-444": (37, 3408, 33.639, 35.056),
    "jxl": (57, 4957, 32.061, 33.794),
}
BEGINNINGS = {
    "jpeg": rb"\xff\xd8\xff",
    "webp": rb"RIFF....WEBPVP8 ",
    "jpeg2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
    "avif": rb"....ftypavif",
    "jxl": rb"\xff\x0a|\0\0\0\x0cJXL ",
}


def test_every_codec_is_named_in_the_help():
    assert list(peers.PEERS) == NAMES
    (option,) = [param for param in commands.evaluate.params if param.name == "codec"]
    assert re.findall(r"[\w-]+", option.help.split(":")[1].replace(" or ", " ")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_rate_and_quality_are_those_stored(name, photo):
    quality, size, psnr_rgb, psnr_y = STORED[name]
    codec, picture = peers.get(name), np.ascontiguousarray(photo[:256, :256])
    data = codec.encode(picture, quality)
    assert re.match(BEGINNINGS[name.partition("-")[0]], data, re.DOTALL)
    decoded = codec.decode(data)
    assert decoded.dtype == np.uint8 and decoded.shape == picture.shape
    found = psnr.psnr(picture, decoded)
    # Releases of the encoders differ; a wrong option differs by more: 4:2:0 for 4:4:4 by 0.6 dB.
    assert len(data) == pytest.approx(size, rel=0.05)
    assert found["psnr-rgb"] == pytest.approx(psnr_rgb, abs=0.3)
    assert found["psnr-y"] == pytest.approx(psnr_y, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_default_qualities_rise(name, photo):
    codec, picture = peers.get(name), np.ascontiguousarray(photo[64:160, 100:211])
    points = []
    for quality in codec.qualities:
        codec.check(quality)
        data = codec.encode(picture, quality)
        points.append((len(data), psnr.psnr(picture, codec.decode(data))["psnr-rgb"]))
    assert points == sorted(points) and len(points) >= 7


@pytest.mark.parametrize(("name", "sampling"), [("jpeg-420", 2), ("jpeg-444", 1)])
def test_jpeg_is_subsampled_and_progressive_as_named(name, sampling, photo):
    data = peers.get(name).encode(photo[:64, :64], 50)
    with Image.open(io.BytesIO(data)) as image:
        layers = image.layer
        assert image.info["progressive"]
    assert [layer[1:3] for layer in layers] == [(sampling, sampling), (1, 1), (1, 1)]


def test_settings_tell_options_and_versions():
    settings = peers.get("avif-444").settings
    assert settings["subsampling"] == "4:4:4" and settings["advanced"]["tune"] == "psnr"
    assert re.fullmatch(r"avif \d+\.\d+.*", settings["library"])


@pytest.mark.parametrize(
    ("name", "quality", "message"),
    [
        ("jpeg-420", 10.5, "jpeg-420: expected a whole quality from 0 to 100, found 10.5"),
        ("webp", 101, "webp: expected a quality from 0 to 100, found 101"),
        ("jpeg2000", 5, "jpeg2000: expected a quality from 10 to 100, found 5"),
    ],
)
def test_qualities_off_the_scale_are_refused(name, quality, message):
    with pytest.raises(InputError, match=message):
        peers.get(name).encode(np.zeros((8, 8, 3), np.uint8), quality)


def test_an_unknown_codec_is_refused():
    with pytest.raises(InputError, match="expected a codec of jpeg-420, .*jxl, found 'jpeg'"):
        peers.get("jpeg")


def test_a_missing_plugin_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(MissingBackendError, match=r"jxl: .*pip install 'ycc_jax\[eval\]'"):
        peers.get("jxl")
    monkeypatch.setattr(peers.features, "check", lambda library: False)
    with pytest.raises(MissingBackendError, match="avif-420: .*pip install"):
        peers.get("avif-420")


@pytest.mark.skipif("KODAK" not in os.environ, reason="KODAK names no folder of the 24 pictures")
@pytest.mark.parametrize("name", ["jpeg-420", "webp"])
def test_kodak_curves_are_those_of_the_anchors(name):
    """Within 0.05 dB at equal rate, of files that other programs wrote (results/anchors)."""
    interpolate = importlib.import_module("scipy.interpolate").PchipInterpolator
    anchor = Path(__file__).parents[1] / "results" / "anchors" / f"{name}.json"
    anchor = json.loads(anchor.read_text())["results"]
    codec, points = peers.get(name), []
    pictures = [
        np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(Path(os.environ["KODAK"]).glob("*.png"))
    ]
    assert len(pictures) == 24
    for quality in codec.qualities[1::3]:
        files = [codec.encode(picture, quality) for picture in pictures]
        bpp = [8 * len(data) / x[..., 0].size for data, x in zip(files, pictures, strict=True)]
        found = [psnr.psnr(x, codec.decode(data)) for data, x in zip(files, pictures, strict=True)]
        points.append((np.mean(bpp), {key: np.mean([f[key] for f in found]) for key in found[0]}))
    for key in ("psnr-rgb", "psnr-y", "psnr-411"):
        curve = interpolate(np.log(anchor["bpp"]), anchor[key])
        for bpp, found in points:
            assert found[key] == pytest.approx(curve(np.log(bpp)), abs=0.05)
