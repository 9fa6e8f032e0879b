"""Pictures and batches of crops: what is read, and that a batch depends on its number alone."""

import gc
import io
import itertools
import logging
import pickle
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from train.data import PREFETCH, CropSampler, TfdsImages, crop_batches, open_source

LOADERS = ("memory", "grain")


@pytest.fixture
def loader(request):
    if request.param == "grain":
        pytest.importorskip("grain")
    return request.param


both_loaders = pytest.mark.parametrize("loader", LOADERS, indirect=True)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five PNGs in two folders, one of them narrower than the crops of 48 below."""
    (tmp_path / "b").mkdir()
    for i, name in enumerate(["a.png", "b/c.PNG", "b/d.png", "e.png", "f.png"]):
        Image.fromarray(noise(60 + i, 40 + 10 * i, i)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def take(count, source, **arguments):
    batches = crop_batches(source, **{"batch_size": 3, "crop": 48, "seed": 7} | arguments)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return np.stack(taken)


# ---- batches -------------------------------------------------------------------------------------


@both_loaders
def test_batch_depends_on_seed_and_step_only(folder, loader):
    source = open_source(f"folder:{folder}")
    whole = take(6, source, loader=loader)
    assert whole.shape == (6, 3, 48, 48, 3) and whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, take(6, source, loader=loader))
    np.testing.assert_array_equal(whole[4:], take(2, source, loader=loader, start_step=4))
    assert not np.array_equal(whole, take(6, source, loader=loader, seed=8))
    assert len({crop.tobytes() for crop in whole.reshape(-1, 48 * 48 * 3)}) == 18


def test_loaders_agree(folder):
    pytest.importorskip("grain")
    memory, grain = (take(4, open_source(f"folder:{folder}"), loader=name) for name in LOADERS)
    np.testing.assert_array_equal(memory, grain)


def test_grain_worker_processes(folder):
    pytest.importorskip("grain")
    source = open_source(f"folder:{folder}")
    with_workers = take(4, source, loader="grain", workers=1, start_step=2)
    np.testing.assert_array_equal(with_workers, take(6, source)[2:])


def test_shards_are_parts_of_one_batch(folder):
    source = open_source(f"folder:{folder}")
    whole = take(3, source, batch_size=6)
    parts = [take(3, source, batch_size=3, shard=(index, 2)) for index in range(2)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))


def test_positions_and_flips_cover_the_picture():
    columns = np.arange(20, dtype=np.uint8)
    picture = np.stack(np.broadcast_arrays(columns[:, None], columns, 0), axis=-1)
    sampler = CropSampler([picture], crop=16, seed=0)
    seen = set()
    for number in range(400):
        crop = sampler(number)
        flipped = crop[0, 0, 1] > crop[0, -1, 1]
        y, x = crop[0, 0, 0], crop[0, -1 if flipped else 0, 1]
        expected = picture[y : y + 16, x : x + 16]
        np.testing.assert_array_equal(crop, expected[:, ::-1] if flipped else expected)
        seen.add((int(y), int(x), bool(flipped)))
    assert len(seen) == 5 * 5 * 2


def test_pictures_are_drawn_by_area(tmp_path):
    Image.new("RGB", (40, 40), "black").save(tmp_path / "small.png")
    Image.new("RGB", (120, 40), "white").save(tmp_path / "large.png")
    crops = take(400, open_source(f"folder:{tmp_path}"), batch_size=1, crop=32)
    assert 0.7 < np.mean(crops == 255) < 0.8


def test_small_picture_is_extended_by_its_edge():
    picture = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    for number in range(8):
        crop = CropSampler([picture], crop=8, seed=0)(number)
        as_drawn = [picture, picture[:, ::-1]]
        padded = [np.pad(p, [(0, 3), (0, 4), (0, 0)], mode="edge") for p in as_drawn]
        assert any(np.array_equal(crop, p) for p in padded)


def test_memory_limit_names_the_other_loader(folder):
    source = open_source(f"folder:{folder}")
    with pytest.raises(ValueError, match="grain"):
        take(1, source, max_memory_mb=0.01)
    with pytest.raises(ValueError, match="grain"):  # of a source that does not know its areas
        take(1, [source[i] for i in range(5)], max_memory_mb=0.01)


def test_pictures_are_decoded_once(folder, monkeypatch):
    source = open_source(f"folder:{folder}")
    first = take(2, source)
    monkeypatch.setattr(type(source), "__getitem__", lambda *_: pytest.fail("decoded again"))
    np.testing.assert_array_equal(first, take(2, source))


@both_loaders
def test_damaged_picture_is_replaced(folder, loader, caplog):
    path = folder / "a.png"
    path.write_bytes(path.read_bytes()[:2000])  # a whole header, half the pixels
    crops = take(8, open_source(f"folder:{folder}"), loader=loader)
    assert crops.shape == (8, 3, 48, 48, 3)
    assert [r.args[0] for r in caplog.records if "cannot be decoded" in r.message] == [path]


def test_all_pictures_damaged(tmp_path):
    Image.fromarray(noise(64, 64)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="could not be decoded"):  # raised in the other thread
        take(1, open_source(f"folder:{tmp_path}"))


@pytest.mark.parametrize("end", ["close", "collect"])
def test_background_thread_ends(folder, end):
    before = set(threading.enumerate())
    batches = crop_batches(open_source(f"folder:{folder}"), batch_size=1, crop=32, seed=0)
    assert next(batches).flags.c_contiguous
    (thread,) = set(threading.enumerate()) - before
    if end == "close":
        batches.close()
    del batches
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_background_thread_works_ahead_within_bounds(monkeypatch):
    numbers = []
    sample = CropSampler.__call__
    monkeypatch.setattr(
        CropSampler, "__call__", lambda self, n: numbers.append(n) or sample(self, n)
    )
    batches = crop_batches([noise(32, 32)], batch_size=1, crop=32, seed=0)
    next(batches)
    time.sleep(0.3)
    batches.close()
    assert numbers == list(range(1 + PREFETCH + 1))  # taken, waiting, and in the thread's hands


@pytest.mark.parametrize(
    "wrong",
    [
        {"loader": "tf"},
        {"crop": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"start_step": -1},
        {"workers": -1},
        {"shard": (2, 2)},
    ],
)
def test_argument_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        take(1, [noise(48, 48)], **wrong)
    with pytest.raises(ValueError, match="empty"):
        take(1, [])


# ---- sources -------------------------------------------------------------------------------------


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


def test_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="found 0 files"):
        open_source(f"folder:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="missing"):
        open_source(f"folder:{tmp_path}/missing")


@pytest.mark.parametrize("spec", ["", "photos", "folder:", "tfds:", "tfds::train", "samples:x"])
def test_unknown_spec_lists_the_forms(spec):
    with pytest.raises(ValueError, match='"samples", "folder:PATH" or "tfds:NAME'):
        open_source(spec)


def test_samples_need_no_network(monkeypatch):
    pytest.importorskip("skimage")

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
    tfds = pytest.importorskip("tensorflow_datasets")
    if not hasattr(tfds, "core"):
        pytest.skip("tensorflow_datasets does not work with the protobuf that is installed")
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


@both_loaders
def test_tfds(tiny_pictures, loader):
    folder, pictures = tiny_pictures
    source = open_source("tfds:tiny_pictures", data_dir=str(folder))
    assert len(source) == 3 and source.areas is None
    found = sorted((source[i] for i in range(3)), key=np.size)
    for expected, picture in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(picture, expected)
    whole = take(4, source, loader=loader, crop=32)
    np.testing.assert_array_equal(whole[2:], take(2, source, loader=loader, crop=32, start_step=2))


def test_tfds_needs_no_tensorflow(tiny_pictures):
    folder, _ = tiny_pictures
    program = (
        "import sys; from train.data import crop_batches, open_source\n"
        f"source = open_source('tfds:tiny_pictures:train[:2]', data_dir={str(folder)!r})\n"
        "assert len(source) == 2 and source[0].shape[2] == 3\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_folder_needs_only_numpy_and_pillow(folder):
    program = (
        "import sys; from train.data import crop_batches, open_source\n"
        f"next(crop_batches(open_source('folder:{folder}'), batch_size=1, crop=32, seed=0))\n"
        "heavy = {'jax', 'grain', 'tensorflow', 'tensorflow_datasets', 'skimage', 'absl'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
