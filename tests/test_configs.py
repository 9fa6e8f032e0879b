"""Every config builds, traces one training step, and refuses misspelt fields."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import configs
from train.check import check_config
from train.optimizer import optimizer
from train.step import init_state, make_train_step
from ycc_jax.errors import InputError
from ycc_jax.models import build, init

NAMES = sorted(
    path.stem
    for path in Path(configs.__path__[0]).glob("*.py")
    if path.stem not in ("__init__", "common")
)


def test_the_systems_of_the_references_are_there():
    systems = {"scale_hyperprior", "mean_scale", "minnen", "minnen_gain"}
    systems |= {"dlec", "dlec_gain", "dlec_gain_420", "dlec_gain_chroma", "smoke"}
    assert systems <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_config_traces_a_training_step(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    assert config.name in (name, f"{name}_dlec_gain")
    model, tx = check_config(config), optimizer(config)
    params = jax.eval_shape(lambda: init(model, 0))
    state = jax.eval_shape(lambda p: init_state(p, tx), params)
    batch = jax.ShapeDtypeStruct((2, 192, 256, 3), jnp.uint8)
    new, metrics = jax.eval_shape(make_train_step(model, tx, config), state, batch)
    for leaf, expected in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
        assert leaf.shape == expected.shape
    assert all(value.shape == () for value in metrics.values())
    assert len(config.loss.lambdas) == max(config.model.levels, 1)


@pytest.mark.parametrize("name", NAMES)
def test_config_is_locked(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    with pytest.raises(AttributeError):
        config.train.stesp = 3


NONE = {"hyperprior": "none", "context": "none", "levels": 0, "level_aware": False}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"width": 3}, "unknown model arguments \\['width'\\]"),
        ({"transform": "dct"}, "transform must be one of joint, dlec, residual, found 'dct'"),
        (
            {"transform": "joint", "linear_shortcut": True},
            "linear_shortcut expects color_space 'rgb'",
        ),
        ({"levels": 0}, "level_aware expects gain levels"),
        ({"surrogate": "soft"}, "surrogate must be one of noise, mixed"),
        ({"passes": 0}, "passes must be at least 1, found 0"),
        ({"layout": "stacked"}, "layout must be one of branched, six_channel, separate"),
        ({"linear_shortcut": True, "layout": "separate"}, "a layout that mixes luma and chroma"),
        ({"color_space": "rgb"}, "transform 'dlec' expects color_space 'ycbcr'"),
        (
            {"transform": "joint", "subsampling": "420"},
            "'420' expects a transform of planes",
        ),
        ({"hyperprior": "none"}, "hyperprior 'none' expects levels=0 and context 'none'"),
        ({"hyperprior": "scale"}, "hyperprior 'scale' expects context 'none'"),
        ({"chroma_weights": (1.0, 0.25)}, "chroma_weights must be positive and ascending"),
        (
            {"chroma_weights": (1.0,), "levels": 0, "level_aware": False},
            "chroma_weights expect gain levels",
        ),
        ({"activation": "relu"}, "activation must be one of gdn, prelu, found 'relu'"),
        ({"matrix": "bt999"}, "matrix must be one of bt601, bt709, bt2020"),
        ({"M": 0}, "N and M must be at least 1"),
        ({"levels": -1}, "levels and entropy_width must be at least 0"),
        ({"transform": "joint", "layout": "separate"}, "a layout is of transform 'dlec'"),
        ({**NONE, "likelihood": "asymmetric_gaussian"}, "has no other likelihood"),
        ({"likelihood": "laplacian"}, "likelihood must be one of gaussian, asymmetric_gaussian"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    "name, section, fields, message",
    [
        ("smoke", "loss", {"metric": "msssim"}, "loss.metric must be one of mse, ms_ssim"),
        ("smoke", "loss", {"space": "yuv"}, "loss.space must be one of rgb, ycbcr, found 'yuv'"),
        ("smoke", "loss", {"lambdas": (0.1,)}, "expected 8 lambdas, found 1"),
        ("dlec", "loss", {"lambdas": (0.0,)}, "expected lambdas above 0"),
        ("dlec_gain_ms_ssim", "optim", {"closed_form_start": True}, "expects loss.metric 'mse'"),
        ("dlec_gain_420", "loss", {"space": "rgb"}, "'ycbcr' for 4:2:0 planes, found 'rgb'"),
        ("dlec_gain_420", "loss", {"metric": "ms_ssim"}, "of at least 322, for chroma planes"),
        ("dlec_gain", "loss", {"level_chroma_weights": (1.0, 0.25)}, "for each of 8 levels"),
        ("dlec_gain_ms_ssim", "data", {"crop": 128}, "expects data.crop of at least 161, found"),
        ("dlec", "data", {"crop": 100}, "expected a crop of a multiple of 64, found 100"),
        (
            "dlec",
            "data",
            {"late": {"step": 9, "crop": 100}},
            "multiple of 64 no smaller than data.c",
        ),
        ("dlec", "data", {"late": {"step": 9, "crop": 192}}, "data.crop = 256, found 192"),
        ("dlec", "data", {"late": {"step": 9, "batch_size": 0}}, "late.batch_size must be at leas"),
        ("dlec", "data", {"batch_size": 0}, "data.batch_size must be at least 1, found 0"),
        ("dlec", "train", {"log_every": 0}, "train.log_every must be at least 1, found 0"),
        ("dlec", "optim", {"ema_decay": 1.5}, "optim.ema_decay must be in 0..1, found 1.5"),
        ("dlec", "loss", {"lambdas": ("x",)}, "expected lambdas above 0, found ..x.,."),
        (
            "dlec",
            "model",
            {"context": "full"},
            "config.model: context must be one of none, autoreg",
        ),
    ],
)
def test_choices_that_do_not_fit_are_told_before_any_work(name, section, fields, message):
    config = importlib.import_module(f"configs.{name}").get_config().unlock()
    config[section].update(fields)
    with pytest.raises(InputError, match=message):
        check_config(config)


def test_the_systems_of_the_comparison():
    from configs.comparison import get_config

    systems = {name: get_config(name) for name in ("dlec_gain", "minnen_gain", "dlec-0.0130")}
    for config in systems.values():
        check_config(config)
    assert {config.train.steps for config in systems.values()} == {1200}
    assert systems["minnen_gain"].model.color_space == systems["minnen_gain"].loss.space == "rgb"
    assert systems["dlec-0.0130"].loss.lambdas == (0.013,)
    with pytest.raises(ValueError, match="expected dlec_gain, minnen_gain or dlec-LAMBDA, found"):
        get_config("jpeg")
