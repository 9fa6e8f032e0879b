"""What every test file may use: seeded randomness and one real photograph."""

from importlib.metadata import version

import jax
import numpy as np
import pytest


def pytest_report_header():
    """Which code runs on what, for logs: the versions differ between the two environments."""
    import ycc_jax

    packages = ("jax", "flax", "numpy")
    return ", ".join(f"{name} {version(name)}" for name in packages) + f"; {list(ycc_jax.__path__)}"


@pytest.fixture
def key():
    """A JAX random key, the same in every test."""
    return jax.random.key(0)


@pytest.fixture
def rng():
    """A NumPy generator, seeded afresh for every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def photo():
    """A real photograph: uint8 (512, 512, 3) RGB, read-only."""
    skimage_data = pytest.importorskip("skimage.data")
    picture = skimage_data.astronaut()
    picture.setflags(write=False)
    return picture
