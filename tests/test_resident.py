"""Crops cut on the device: what is cut, how often, and that chunks of steps are the steps."""

import contextlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs.smoke import get_config as smoke
from train import loop
from train.input.crops import crop_batches
from train.input.feed import Feed
from train.input.pictures import open_source
from train.input.resident import check_device_memory, load_resident, pack, random_crops
from train.input.training_input import TrainingInput
from train.optimizer import optimizer
from train.step import init_state, make_train_chunk, make_train_step
from ycc_jax.models import build, init

crops = jax.jit(random_crops, static_argnums=(3, 4))


def coordinates(height, width, number=0):
    """A picture whose pixels say where they are, (row, column, number)."""
    return np.stack(np.broadcast_arrays(*np.ogrid[:height, :width], number), -1).astype(np.uint8)


def test_crops_are_pixels_of_the_pictures_at_all_positions_and_flips():
    pictures = [coordinates(20, 18), coordinates(17, 30, 1), coordinates(16, 16, 2)]
    packed = pack(pictures, [5 * 3, 2 * 15, 1], sheet=900)  # the second fills a sheet's rest
    assert packed.sheets.shape == (1 + 1, 870, 3)
    seen = set()
    for crop in np.asarray(crops(packed, 3, 0, 2000, 16)):
        flipped = crop[0, 0, 1] > crop[0, -1, 1]
        y, x = crop[0, 0, 0], crop[0, -1 if flipped else 0, 1]
        expected = pictures[crop[0, 0, 2]][y : y + 16, x : x + 16]
        np.testing.assert_array_equal(crop, expected[:, ::-1] if flipped else expected)
        seen.add((crop[0, 0, 2], y, x, flipped))
    assert len(seen) == 2 * (5 * 3 + 2 * 15 + 1)


def test_pictures_are_drawn_by_weight_and_flipped_half_the_time():
    """Chi-square against the expected counts; 21.7 is its 99.9 % point at 6 degrees of freedom."""
    weights = np.array([1, 20, 300, 5, 100, 3, 50])
    pictures = [coordinates(8, 8, number) for number in range(7)]
    batch = np.asarray(crops(pack(pictures, weights), 0, 0, 20000, 8))
    found = np.bincount(batch[:, 0, 0, 2], minlength=7)
    expected = 20000 * weights / weights.sum()
    assert ((found - expected) ** 2 / expected).sum() < 22.5
    assert abs((batch[:, 0, 0, 1] > 0).mean() - 0.5) < 0.015


def test_a_batch_depends_on_seed_and_step_only():
    packed = pack([coordinates(200, 200)], [1])
    first = np.asarray(crops(packed, 0, 5, 4, 16))
    np.testing.assert_array_equal(first, crops(packed, 0, jnp.int32(5), 4, 16))
    # Example numbers run through the steps, whatever the batch size.
    np.testing.assert_array_equal(first[:2], crops(packed, 0, 10, 2, 16))
    for other in (crops(packed, 0, 6, 4, 16), crops(packed, 1, 5, 4, 16)):
        assert not np.array_equal(first, other)
    assert len({crop.tobytes() for crop in first}) == 4


def test_a_small_picture_is_extended_by_its_edge():
    picture = coordinates(5, 4)
    drawn = [picture, picture[:, ::-1]]
    expected = {np.pad(p, [(0, 3), (0, 4), (0, 0)], mode="edge").tobytes() for p in drawn}
    found = np.asarray(crops(pack([picture], [1]), 0, 0, 16, 8))
    assert {crop.tobytes() for crop in found} == expected


def test_a_folder_is_loaded_without_its_damaged_files(tmp_path, caplog):
    for number, width in enumerate((60, 180, 40)):
        noise = np.random.default_rng(number).integers(0, 256, (40, width, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    damaged = tmp_path / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    packed = load_resident(open_source(f"folder:{tmp_path}"))
    assert [r.args[0] for r in caplog.records if "cannot be decoded" in r.message] == [damaged]
    np.testing.assert_array_equal(packed.size, [(40, 60), (40, 180)])
    np.testing.assert_array_equal(packed.bounds, [2**30])  # a quarter of the area
    second = packed.sheets[0, 40 * 60 :].reshape(40, 180, 3)
    np.testing.assert_array_equal(second, np.asarray(Image.open(tmp_path / "1.png")))
    # A source that does not know its areas is drawn uniformly, as by the host's loaders.
    bounds = load_resident([coordinates(8, 8), coordinates(8, 24)]).bounds
    np.testing.assert_array_equal(bounds, [2**31])


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"need at least 0 MB, more than max_memory_mb = 0\.01"):
        load_resident([coordinates(80, 80)], max_memory_mb=0.01)
    with pytest.raises(ValueError, match="expected at least one picture that can be decoded"):
        load_resident([])
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 9e6, "bytes_in_use": 2e6})
    check_device_memory(7 * 10**6, [device])
    with pytest.raises(ValueError, match="need 8 MB on each device, found 7 MB free on namespace"):
        check_device_memory(8 * 10**6, [device])


@pytest.fixture(scope="module")
def tiny():
    """(model, optimiser, config) of the smallest model that trains."""
    config = smoke().unlock()
    config.model.update(N=2, M=4, transform="joint", color_space="rgb", linear_shortcut=False)
    config.model.update(hyperprior="none", context="none", levels=0, level_aware=False)
    config.model.entropy_width = 0
    config.loss.update(lambdas=(0.01,), space="rgb", balance=0.0)
    config.data.update(batch_size=2, crop=64)
    return build(**config.model.to_dict()), optimizer(config), config


def test_a_chunk_equals_single_steps(tiny, photo):
    """Of batches and of resident pictures; fused otherwise, so a last bit may differ."""
    model, tx, config = tiny
    state = init_state(init(model, 0), tx)
    pictures = pack([photo, photo[:100]], [1, 1])
    batches = jnp.stack([crops(pictures, config.train.seed, step, 2, 64) for step in range(3)])
    step = jax.jit(make_train_step(model, tx, config))
    chunk = jax.jit(make_train_chunk(model, tx, config, 3))
    expected, history = state, []
    for batch in batches:
        expected, metrics = step(expected, batch)
        history.append(metrics)
    for data in (batches, pictures):
        found, metrics = chunk(state, data)
        assert int(found["step"]) == 3
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True
        ):
            np.testing.assert_allclose(b, a, 1e-4, 1e-6, err_msg=jax.tree_util.keystr(path))
        for name, values in metrics.items():
            np.testing.assert_allclose(values, [m[name] for m in history], 1e-5, err_msg=name)
    assert len({float(loss) for loss in metrics["loss"]}) == 3


def test_a_chunk_of_another_length_is_refused(tiny):
    chunk = make_train_chunk(*tiny, 3)
    with pytest.raises(ValueError, match="expected 3 batches, found 2"):
        chunk({}, jnp.zeros((2, 2, 64, 64, 3), jnp.uint8))


def test_resident_pictures_train_in_chunks_and_resume_exactly(tiny, tmp_path, monkeypatch):
    """Two steps a call, from pictures on the device; stopped by an error after the first call."""
    config = tiny[2].copy_and_resolve_references()
    config.optim.closed_form_start = False
    config.data.loader = "resident"
    config.train.update(steps=4, steps_per_call=2, log_every=2, eval_every=4, checkpoint_every=2)
    seen = []

    def step_and_count(feed, step, steps):
        if len(seen) == 3:
            raise RuntimeError("the machine is gone")
        seen.append(steps)
        return feed_call(feed, step, steps)

    feed_call = loop.Feed.__call__
    monkeypatch.setattr(loop.Feed, "__call__", step_and_count)
    expected = loop.train_and_evaluate(config, str(tmp_path / "whole"))
    with pytest.raises(RuntimeError):
        loop.train_and_evaluate(config, str(tmp_path / "parts"))
    assert seen == [2, 2, 2]
    seen.clear()
    found = loop.train_and_evaluate(config, str(tmp_path / "parts"))
    assert seen == [2]
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_array_equal(b, a, err_msg=jax.tree_util.keystr(path))
    # The loaders of the host draw other numbers: not a continuation of this run.
    config.data.loader = "memory"
    with pytest.raises(ValueError, match="data.loader = resident, found memory"):
        loop.train_and_evaluate(config, str(tmp_path / "parts"))


def test_late_batches_are_those_of_a_run_that_had_them_from_the_start(tiny, photo):
    config = tiny[2].copy_and_resolve_references()
    inputs = TrainingInput([photo], [photo], config.train.seed, (2, 64), (1, 128), late_from=3)
    with contextlib.closing(Feed(inputs)) as feed:
        early, late = feed(1, 2), feed(3, 2)
    assert early.shape == (2, 2, 64, 64, 3) and late.shape == (2, 1, 128, 128, 3)
    for found, shape, start in ((early, (2, 64), 1), (late, (1, 128), 3)):
        about = dict(batch_size=shape[0], crop=shape[1], seed=config.train.seed, start_step=start)
        with contextlib.closing(crop_batches([photo], **about)) as batches:
            np.testing.assert_array_equal(found, [next(batches), next(batches)])
