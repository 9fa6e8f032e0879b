"""What every test file may use: seeded randomness and one real photograph."""

import importlib
import os
from importlib.metadata import version

import jax
import numpy as np
import pytest


def pytest_report_header():
    """Which code runs on what, for logs: the versions differ between the two environments."""
    import ycc_jax
    from ycc_jax.entropy import backends

    packages = ("jax", "flax", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{versions}; coder {backends.chosen()}; {list(ycc_jax.__path__)}"


@pytest.fixture
def key():
    """A JAX random key, the same in every test."""
    return jax.random.key(0)


@pytest.fixture
def rng():
    """A NumPy generator, seeded afresh for every test."""
    return np.random.default_rng(0)


def on_devices(number, flags=""):
    """The environment of a process whose CPU stands for several devices."""
    xla = f"--xla_force_host_platform_device_count={number} {flags}"
    return os.environ | {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}


def drawn_parameters(net, seed=0):
    """Parameters of a model, all drawn at random: initialising takes XLA 20 s, this no time."""
    from ycc_jax.model_arrays import nested, parameter_shapes

    rng = np.random.default_rng(seed)

    def draw(shape):
        fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 100
        return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    return nested({key: draw(shape) for key, shape in parameter_shapes(net).items()})


def scale_index(scale):
    """Row of the scale table whose logarithm is nearest to that of each scale, in float64."""
    from ycc_jax.entropy.tables import SCALE_TABLE

    logs = np.log(np.maximum(np.asarray(scale, np.float64), 1e-30))
    return np.abs(logs[..., None] - np.log(SCALE_TABLE)).argmin(-1)


def decoded_latent(codec, data):
    """y_hat (h, w, M) that a decoder has of a stream without tiles."""
    from ycc_jax.codec import Codec
    from ycc_jax.stages import Stages

    class Keeping(Stages):
        def __init__(self, stages):
            vars(self).update(vars(stages))

        def y_hat(self, z, level, exchange):
            self.kept = super().y_hat(z, level, exchange)
            return self.kept

    stages = Keeping(codec.stages)
    Codec(codec.model, stages=stages).decode(data)
    return stages.kept


@pytest.fixture(scope="session")
def photo():
    """A real photograph: uint8 (512, 512, 3) RGB, read-only."""
    skimage_data = importlib.import_module("skimage.data")
    picture = skimage_data.astronaut()
    picture.setflags(write=False)
    return picture


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """The same program is compiled once a session, also by other processes; none outlives it."""
    from ycc_jax.compilation_cache import enable_compilation_cache

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        enable_compilation_cache()
        yield


@pytest.fixture(scope="session")
def tiny_config():
    """The smoke config cut down to four steps, with a checkpoint after two."""
    from configs.smoke import get_config

    config = get_config()
    config.data.batch_size = 4
    config.train.steps = 4
    config.train.log_every = 1
    config.train.eval_every = 4
    config.train.checkpoint_every = 2
    return config


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tmp_path_factory):
    """(workdir, final state) of an uninterrupted run of `tiny_config` on the sample photographs."""
    from train.loop import train_and_evaluate

    workdir = tmp_path_factory.mktemp("run")
    return workdir, train_and_evaluate(tiny_config, str(workdir))


@pytest.fixture(scope="session")
def tiny_codec(tiny_run):
    """The codec that `tiny_run` exported."""
    import ycc_jax

    return ycc_jax.load(tiny_run[0] / "model")


@pytest.fixture(scope="session")
def bundled():
    """The bundled codec, trained weights."""
    import ycc_jax

    return ycc_jax.load()


@pytest.fixture(scope="session")
def trainer(tmp_path_factory):
    """Starts training runs in processes of their own."""
    from test_survival import Trainer

    return Trainer(tmp_path_factory.mktemp("trainer") / "runs")
