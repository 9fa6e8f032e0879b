"""The public face: documented names, and imports that stay light."""

import subprocess
import sys

import pytest

import ycc_jax


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(out.stdout.split())


def test_every_public_name_exists_and_is_documented():
    for name in ycc_jax.__all__:
        assert getattr(ycc_jax, name).__doc__, name
    assert set(ycc_jax.__all__) <= set(dir(ycc_jax))
    with pytest.raises(AttributeError, match="has no attribute 'encod'"):
        getattr(ycc_jax, "enc" + "od")


def test_reading_a_header_imports_nothing_heavy():
    loaded = modules_after("import ycc_jax; ycc_jax.info")
    assert not loaded & {"jax", "flax", "numpy", "numba", "PIL", "tensorflow", "scipy"}


def test_the_codec_imports_no_training_library():
    loaded = modules_after("import ycc_jax; ycc_jax.load")
    assert "jax" in loaded
    assert not loaded & {"tensorflow", "ml_collections", "grain", "tensorflow_datasets", "train"}


def test_the_trainer_needs_only_its_core_libraries():
    """It also runs where only jax, flax, optax, orbax, numpy, pillow and ml_collections are."""
    block = (
        "sys.modules.update(dict.fromkeys(('grain', 'tensorflow_datasets', 'skimage', 'tqdm',"
        " 'tensorboard', 'click', 'numba')))"
    )
    loaded = modules_after(f"{block}; import train.loop")
    assert "train.loop" in loaded
