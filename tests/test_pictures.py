"""Picture sources: which files are read, what their pixels are, and what need not be installed."""

import importlib
import io
import logging
import pickle
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import closing
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from train.input.crops import crop_batches
from train.input.pictures import TfdsImages, open_source
from ycc_jax.errors import InputError


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five PNGs in two folders, and a file that is no picture."""
    (tmp_path / "b").mkdir()
    for i, name in enumerate(["a.png", "b/c.PNG", "b/d.png", "e.png", "f.png"]):
        Image.fromarray(noise(60 + i, 40 + 10 * i, i)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_folder_is_sorted_and_decoded_as_pillow_does(folder):
    source = open_source(f"folder:{folder}")
    names = [path.relative_to(folder).as_posix() for path in source.paths]
    assert names == ["a.png", "b/c.PNG", "b/d.png", "e.png", "f.png"]
    for i, path in enumerate(source.paths):
        np.testing.assert_array_equal(source[i], np.asarray(Image.open(path)))
        assert source[i].dtype == np.uint8
    assert list(source.areas) == [source[i].size // 3 for i in range(len(source))]
    assert len(pickle.loads(pickle.dumps(source))) == len(source)


def test_exif_orientation_and_modes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    picture = Image.fromarray(noise(40, 64))
    picture.save(tmp_path / "0.png", exif=exif)
    picture.convert("L").save(tmp_path / "1.jpg")
    picture.convert("P").save(tmp_path / "2.png")
    picture.convert("RGBA").save(tmp_path / "3.webp", lossless=True)
    source = open_source(f"folder:{tmp_path}")
    np.testing.assert_array_equal(source[0], np.rot90(noise(40, 64), -1))
    assert [source[i].shape for i in range(4)] == [(64, 40, 3)] + [(40, 64, 3)] * 3
    np.testing.assert_array_equal(source[3], noise(40, 64))


def test_unusable_files_are_skipped_with_one_warning(folder, caplog):
    (folder / "0-broken.jpg").write_bytes(b"\xff\xd8 not a picture")
    Image.new("RGB", (16, 100)).save(folder / "icon.png")
    Image.fromarray(np.zeros((50, 50), np.uint16)).save(folder / "depth.png")
    (folder / "._a.png").write_bytes(b"a file manager's, no picture")
    with caplog.at_level(logging.WARNING):
        assert len(open_source(f"folder:{folder}")) == 5
    (record,) = caplog.records
    assert "skipped 3 of 8" in record.message and "0-broken.jpg" in record.message


def test_only_formats_of_the_codec_are_opened(folder, monkeypatch):
    """Pillow's EPS plugin runs Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    ran = []

    def ghostscript(*_, **__):
        ran.append(True)
        return Image.new("RGB", (64, 64)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    eps = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(eps, "EPS")
    (folder / "cat.png").write_bytes(eps.getvalue())
    source = open_source(f"folder:{folder}")
    assert "cat.png" not in [path.name for path in source.paths]
    for i in range(len(source)):
        assert source[i].shape[2] == 3
    (folder / "a.png").write_bytes(eps.getvalue())  # replaced after the folder was searched
    with pytest.raises(InputError, match="expected a picture"):
        source[0]
    assert not ran


def test_pictures_above_the_limit_are_skipped(folder):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + body
    (folder / "bomb.png").write_bytes(bomb + struct.pack(">I4s", 0, b"IDAT") + bytes(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_source(f"folder:{folder}")) == 5


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="found 0 files"):
        open_source(f"folder:{tmp_path}")
    with pytest.raises(InputError, match="missing"):
        open_source(f"folder:{tmp_path}/missing")


@pytest.mark.parametrize("spec", ["", "photos", "folder:", "tfds:", "tfds::train", "samples:x"])
def test_unknown_spec_lists_the_forms(spec):
    with pytest.raises(ValueError, match='"samples", "folder:PATH" or "tfds:NAME'):
        open_source(spec)


def test_samples_need_no_network(monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    source = open_source("samples")
    assert len(source) >= 3
    for picture in (source[i] for i in range(len(source))):
        assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) >= 256
        assert picture.std() > 20 and not np.array_equal(picture[..., 0], picture[..., 2])


def test_samples_without_skimage(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        open_source("samples")


def test_tfds_spec(monkeypatch):
    opened = []
    monkeypatch.setattr(TfdsImages, "__init__", lambda self, *names: opened.append(names))
    for spec in ("clic", "clic:test", "kitti/raw:3.1.0", "clic:1.0.0:train[:80%]"):
        open_source(f"tfds:{spec}", data_dir="there")
    assert opened == [
        ("clic", "train", "there"),
        ("clic", "test", "there"),
        ("kitti/raw:3.1.0", "train", "there"),
        ("clic:1.0.0", "train[:80%]", "there"),
    ]


@pytest.fixture(scope="module")
def tiny_pictures(tmp_path_factory):
    """The folder of a TFDS data set of three pictures, and the pictures."""
    tfds = importlib.import_module("tensorflow_datasets")
    pictures = [noise(40, 50 + i, i) for i in range(3)]

    class TinyPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": tfds.features.Image()})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i, picture in enumerate(pictures):
                png = io.BytesIO()  # of a file TFDS stores the bytes; an array it encodes with TF
                Image.fromarray(picture).save(png, "png")
                png.seek(0)
                yield i, {"image": png}

    folder = tmp_path_factory.mktemp("tfds")
    TinyPictures(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder, pictures


@pytest.mark.parametrize("loader", ["memory", "grain"])
def test_tfds(tiny_pictures, loader):
    folder, pictures = tiny_pictures
    source = open_source("tfds:tiny_pictures", data_dir=str(folder))
    assert len(source) == 3 and source.areas is None
    found = sorted((source[i] for i in range(3)), key=np.size)
    for expected, picture in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(picture, expected)
    arguments = {"batch_size": 3, "crop": 32, "seed": 7, "loader": loader}
    with (
        closing(crop_batches(source, **arguments)) as whole,
        closing(crop_batches(source, **arguments, start_step=2)) as resumed,
    ):
        np.testing.assert_array_equal(list(islice(whole, 2, 4)), list(islice(resumed, 2)))


def test_tfds_of_a_registered_builder(tmp_path, monkeypatch):
    """A data set whose class is in a package and registered, as TFDS's own are: found by its name.

    Unlike one of which only the folder is known, TFDS looks for the files beside its class."""
    (package := tmp_path / "photo_sets").mkdir()
    (package / "__init__.py").write_text("")
    (package / "registered_photos.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(tmp_path)
    builder = importlib.import_module("photo_sets.registered_photos").RegisteredPhotos
    builder(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    source = open_source("tfds:registered_photos", data_dir=str(tmp_path))
    assert sorted(source[i][0, 0, 0] for i in range(len(source))) == [0, 1, 2]
    assert source[0].shape == (40, 50, 3)


BUILDER = """
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class RegisteredPhotos(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            png = io.BytesIO()
            Image.fromarray(np.full((40, 50, 3), i, np.uint8)).save(png, "png")
            png.seek(0)
            yield i, {"image": png}
"""


def test_tfds_needs_no_tensorflow(tiny_pictures):
    folder, _ = tiny_pictures
    program = (
        "import sys; from train.input.pictures import open_source\n"
        f"source = open_source('tfds:tiny_pictures:train[:2]', data_dir={str(folder)!r})\n"
        "assert len(source) == 2 and source[0].shape[2] == 3\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
