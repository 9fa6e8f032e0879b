"""Batches of crops: what is cut, and that a batch depends on its number alone."""

import gc
import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from train.input.crops import PREFETCH, CropSampler, crop_batches
from train.input.pictures import open_source

LOADERS = ("memory", "grain")


@pytest.fixture
def loader(request):
    return request.param


both_loaders = pytest.mark.parametrize("loader", LOADERS, indirect=True)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Five PNGs, one of them narrower than the crops of 48 below."""
    for i, name in enumerate("abcde"):
        Image.fromarray(noise(60 + i, 40 + 10 * i, i)).save(tmp_path / f"{name}.png")
    return tmp_path


def take(count, source, **arguments):
    batches = crop_batches(source, **{"batch_size": 3, "crop": 48, "seed": 7} | arguments)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return np.stack(taken)


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
    memory, grain = (take(4, open_source(f"folder:{folder}"), loader=name) for name in LOADERS)
    np.testing.assert_array_equal(memory, grain)


def test_grain_worker_processes(folder):
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


def test_damaged_picture_read_by_two_threads_is_one_warning(caplog):
    class Damaged:
        """Both readers are inside before the first fails."""

        inside = threading.Barrier(2, timeout=60)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            self.inside.wait()
            raise OSError("image file is truncated")

    sampler = CropSampler(Damaged(), crop=8, seed=0)
    readers = [threading.Thread(target=sampler.read, args=(0,)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(caplog.records) == 1


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


def test_folder_needs_only_numpy_and_pillow(folder):
    program = (
        "import sys; from train.input.crops import crop_batches\n"
        "from train.input.pictures import open_source\n"
        f"next(crop_batches(open_source('folder:{folder}'), batch_size=1, crop=32, seed=0))\n"
        "heavy = {'jax', 'grain', 'tensorflow', 'tensorflow_datasets', 'skimage', 'absl'}\n"
        "assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
