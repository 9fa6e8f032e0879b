"""The trainer: resumed runs, what a run leaves on disk, overfitting, and stopping on NaN."""

import json
import logging
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import drawn_parameters

import train.step
from configs.smoke import get_config as smoke
from train import loop
from train.checkpoints import Checkpoints
from train.input.training_input import TrainingInput
from train.optimizer import optimizer
from train.start import level_axes
from train.step import init_state, make_eval_step, make_train_step
from ycc_jax.codec_model import read_header
from ycc_jax.loss import rate_distortion
from ycc_jax.metrics.distortion import distortion
from ycc_jax.models import build, init
from ycc_jax.nets.closed_form import closed_form, closed_form_gain
from ycc_jax.pictures.color import ycbcr_to_rgb


def test_a_run_leaves_records_and_a_codec_model(tiny_run, tiny_config):
    workdir, state = tiny_run
    assert int(state["step"]) == 4
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "loss" in line} == {1, 2, 3, 4}
    evaluated = {key: line[key] for line in lines for key in line if key.endswith("/bpp")}
    assert sorted(evaluated) == [f"eval_{level}/bpp" for level in range(8)]
    header = read_header(workdir / "model")
    assert header["arguments"] == json.loads(json.dumps(tiny_config.model.to_dict()))
    assert header["training"]["steps"] == 4
    # Validated once, so the last model is the best; its score is the mean over the levels.
    (last,) = [line for line in lines if "eval/loss" in line]
    losses = [last[f"eval_{level}/loss"] for level in range(8)]
    np.testing.assert_allclose(last["eval/loss"], np.mean(losses), rtol=1e-6)
    best = read_header(workdir / "best")
    assert best["training"]["score"] == last["eval/loss"] and best["hash"] == header["hash"]


def test_each_rate_may_have_its_own_chroma_weight(tiny_config, photo):
    """Level by level the loss is that of a config with that weight; and so is the start."""
    config = tiny_config.copy_and_resolve_references().unlock()
    config.model.update(levels=2, linear_shortcut=True)
    config.loss.lambdas, config.loss.level_chroma_weights = (0.01, 0.02), (1.0, 0.1)
    model, batch = build(**config.model.to_dict()), jnp.asarray(photo[None, :64, :64])
    params = drawn_parameters(model)
    step = make_eval_step(model, config)
    found = [step(params, batch, level) for level in (0, 1)]
    gains = closed_form(model, params, ((0.01, 0.02), (1.0, 0.1)), batch)["gain_y"]["log_gain"]
    for level, weight in enumerate((1.0, 0.1)):
        alone = config.copy_and_resolve_references()
        alone.loss.level_chroma_weights, alone.loss.chroma_weight = (), weight
        expected = make_eval_step(model, alone)(params, batch, level)
        np.testing.assert_allclose(found[level]["loss"], expected["loss"], rtol=1e-6)
        assert abs(found[1 - level]["loss"] - expected["loss"]) > 1e-4
        expected = closed_form_gain(model.M, ((0.01, 0.02), (weight,)))[level, 0]
        np.testing.assert_allclose(gains[level], expected, rtol=1e-5)


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_run, tiny_config, tmp_path, monkeypatch):
    """Killed in its third step, resumed from the checkpoint of the second: bit for bit the same."""

    def dies(*args, **kwargs):
        batches = feed_batches(*args, **kwargs)
        for _, batch in zip(range(3), batches, strict=False):
            yield batch
        raise KeyboardInterrupt

    feed_batches = TrainingInput.batches
    with monkeypatch.context() as patched:
        patched.setattr(TrainingInput, "batches", dies)
        with pytest.raises(KeyboardInterrupt):
            loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert not (tmp_path / "model").exists()
    state = loop.train_and_evaluate(tiny_config, str(tmp_path))
    expected = jax.tree.leaves_with_path(tiny_run[1])
    found = dict(jax.tree.leaves_with_path(state))
    assert len(expected) == len(found) > 50
    for path, leaf in expected:
        np.testing.assert_array_equal(found[path], leaf, err_msg=jax.tree_util.keystr(path))
    # The exported models are then the same too, down to their hash.
    hashes = [read_header(path / "model")["hash"] for path in (tmp_path, tiny_run[0])]
    assert hashes[0] == hashes[1]


def test_a_finished_run_only_exports_again(tiny_run, tiny_config, caplog):
    before = read_header(tiny_run[0] / "model")["hash"]
    with caplog.at_level(logging.INFO, logger="train"):
        loop.train_and_evaluate(tiny_config, str(tiny_run[0]))
    assert "Resuming at step 4 of 4." in caplog.text
    assert "--config.data.source=folder:PATH" in caplog.text  # no data named: it says so
    assert read_header(tiny_run[0] / "model")["hash"] == before


def test_another_model_does_not_resume(tiny_run, tiny_config, tmp_path):
    config = tiny_config.copy_and_resolve_references()
    config.model.M = 32
    with pytest.raises(ValueError, match="holds a run with model.M = 64, found 32"):
        loop.train_and_evaluate(config, str(tiny_run[0]))
    copy = shutil.copytree(tiny_run[0], tmp_path / "run")
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match="does not fit this config"):
        loop.train_and_evaluate(config, str(copy))


def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_config, tmp_path, monkeypatch):
    def make_failing_step(*_):
        def step(state, batch):
            loss = jnp.where(state["step"] == 3, jnp.nan, 1.0)
            return {**state, "step": state["step"] + 1}, {"loss": loss}

        return step

    monkeypatch.setattr(train.step, "make_train_step", make_failing_step)
    with pytest.raises(
        FloatingPointError, match="step 4: expected finite metrics, found loss = nan"
    ):
        loop.train_and_evaluate(tiny_config, str(tmp_path))
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.manager.latest_step() == 2


@pytest.mark.parametrize(
    "section, field, value, message",
    [
        ("loss", "lambdas", (0.01, 0.02), "expected 8 lambdas, found 2"),
        ("data", "crop", 100, "expected a crop of a multiple of 64, found 100"),
        ("data", "loader", "tf", "loader must be one of memory, grain, resident, found 'tf'"),
        ("train", "compute_dtype", "float8", "must be one of auto, float32, bfloat16, found 'fl"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tiny_config, tmp_path, section, field, value, message):
    config = tiny_config.copy_and_resolve_references()
    config[section][field] = value
    with pytest.raises(ValueError, match=message):
        loop.train_and_evaluate(config, str(tmp_path))


def test_a_foreign_folder_named_model_is_not_replaced(tiny_config, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "source.py").write_text("precious")
    with pytest.raises(ValueError, match="expected nothing or a codec model to replace"):
        loop.train_and_evaluate(tiny_config, str(tmp_path))
    assert (tmp_path / "model" / "source.py").read_text() == "precious"


def test_batch_must_fit_the_devices(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    with pytest.raises(ValueError, match="divisible by the 3 devices of 1 processes, found 4"):
        loop.train_and_evaluate(tiny_config, str(tmp_path))


@pytest.mark.slow
def test_training_on_one_picture_overfits_it(photo):
    """A plain DLEC network without a closed-form start, on a single 64x64 crop."""
    config = smoke().unlock()
    config.model.update(N=16, M=32, linear_shortcut=False, levels=0, level_aware=False)
    config.loss.update(lambdas=(0.05,), balance=0.0)
    config.optim.update(learning_rate=3e-3, closed_form_start=False)
    config.train.steps = 150
    model, tx = build(**config.model.to_dict()), optimizer(config)
    state = init_state(init(model, 0), tx)
    step = jax.jit(make_train_step(model, tx, config), donate_argnums=0)
    crop = np.repeat(photo[None, 100:164, 180:244], 4, axis=0)
    history = []
    for _ in range(config.train.steps):
        state, metrics = step(state, crop)
        history.append((float(metrics["loss"]), float(metrics["psnr_y"])))
    first, last = np.mean(history[:3], axis=0), np.mean(history[-10:], axis=0)
    assert last[0] < first[0] / 4, (first, last)
    assert last[1] > first[1] + 8, (first, last)


def test_closed_form_start_is_a_codec_of_increasing_rate(photo):
    config = smoke()
    model = build(**config.model.to_dict())
    crops = np.stack([photo[i : i + 64, j : j + 64] for i in (0, 200) for j in (100, 300)])
    params = closed_form(model, init(model, 0), level_axes(model, config.loss), crops)
    x = np.float32(crops) / 255
    apply = jax.jit(lambda level: model.apply({"params": params}, x, jnp.full(4, level)))
    bits, errors = [], []
    for level in (0.0, 3.5, 7.0):
        out = apply(level)
        bits.append(float(out["bits_y"].sum()))
        error = distortion(x, out["x_hat"], space="ycbcr", chroma_weight=config.loss.chroma_weight)
        errors.append(float(error.mean()))
    assert bits == sorted(bits) and errors == sorted(errors, reverse=True)
    assert 10 * np.log10(255**2 / errors[-1]) > 30


def test_rgb_distortion_in_terms_of_ycbcr(rng):
    """Independent errors of the three planes: both distortions agree, up to Cb against Cr."""
    x = rng.uniform(0.3, 0.7, (1, 64, 64, 3))
    error = rng.normal(0, 0.01, x.shape) * (1, 0.5, 0.5)
    rgb, rgb_hat = (np.asarray(ycbcr_to_rgb(planes)) for planes in (x, x + error))
    loss = SimpleNamespace(space="rgb", lambdas=(0.02,))
    (lmbda,), (chroma_weight,) = level_axes(build(levels=1), loss)
    found = lmbda * distortion(rgb, rgb_hat, space="ycbcr", chroma_weight=chroma_weight)
    expected = 0.02 * distortion(rgb, rgb_hat, space="rgb")
    np.testing.assert_allclose(found, expected, rtol=0.04)


def test_closed_form_start_wants_the_shortcut(photo):
    model = build(N=8, M=16)
    with pytest.raises(ValueError, match="expects linear_shortcut and level_aware"):
        closed_form(model, {}, ((0.01,), (0.25,)), photo[None])


def test_loss_is_the_published_formula(rng):
    """bpp + lambda 255^2 (MSE_Y + 2 w MSE_C) / (1 + 2 w), MSE_C the mean of both planes."""
    from PIL import Image

    x, x_hat = rng.integers(0, 256, (2, 1, 16, 16, 3), np.uint8)
    planes = [np.asarray(Image.fromarray(p[0]).convert("YCbCr"), np.float64) for p in (x, x_hat)]
    mse_y, mse_cb, mse_cr = np.square(planes[0] - planes[1]).mean((0, 1))
    out = {
        "x_hat": jnp.asarray(x_hat / 255, jnp.float32),
        "bits_y": jnp.array([128.0]),
        "bits_z": jnp.array([64.0]),
        "metrics": {"bpp_z": 0.25},
    }
    arguments = dict(space="ycbcr", chroma_weight=0.1, balance=0.0)
    loss, metrics = rate_distortion(
        out, jnp.asarray(x / 255, jnp.float32), jnp.array([0.01]), **arguments
    )
    mse = (mse_y + 2 * 0.1 * (mse_cb + mse_cr) / 2) / (1 + 2 * 0.1)
    np.testing.assert_allclose(loss, 192 / 256 + 0.01 * mse, rtol=5e-3)  # Pillow rounds
    assert {"bpp_z", "loss", "distortion", "psnr_y", "psnr_c"} == set(metrics)
    expected = 10 * np.log10(255**2 / np.array([mse_y, (mse_cb + mse_cr) / 2]))
    np.testing.assert_allclose([metrics["psnr_y"], metrics["psnr_c"]], expected, atol=0.02)
    rgb = distortion(jnp.asarray(x / 255.0), jnp.asarray(x_hat / 255.0), space="rgb")
    expected = np.square(x.astype(float) - x_hat).mean()
    np.testing.assert_allclose(rgb, [expected], rtol=1e-5)
