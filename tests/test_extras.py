"""What is installed without extras: the codec works, and the rest names what is missing."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

# Of all extras, by the names that they are imported by; Flax brings Optax, Orbax and absl along.
EXTRAS = "grain importlib_resources matplotlib ml_collections pillow_jxl skimage tensorboard"
EXTRAS += " tensorflow tensorflow_compression_ops tensorflow_datasets tqdm"
PROGRAM = """
import runpy, sys
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split()))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def run(module, *arguments, missing=EXTRAS):
    """`python -m module ...` where some packages cannot be imported: exit code, output, errors."""
    command = [sys.executable, "-c", PROGRAM, missing, module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_codec_needs_no_extra(tmp_path, rng):
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    picture, coded, decoded = (tmp_path / name for name in ("a.png", "a.ycc", "b.png"))
    small.resize((80, 60), Image.Resampling.BICUBIC).save(picture)
    code, _, err = run("ycc_jax", "encode", picture, "-o", coded, "-q", "80", "--quiet")
    assert (code, err) == (0, "")
    code, _, err = run("ycc_jax", "decode", coded, "-o", decoded, "--quiet")
    assert (code, err) == (0, "")
    difference = np.subtract(*(np.asarray(Image.open(file), float) for file in (picture, decoded)))
    assert np.sqrt(np.mean(difference**2)) < 10


@pytest.mark.parametrize("command", ["eval", "report"])
def test_help_needs_no_extra(command):
    code, out, err = run("ycc_jax", command, "--help")
    assert (code, err) == (0, "") and "Usage:" in out


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (["eval", "--images", ".", "-o", "x.json"], "tqdm", "eval"),
        (["report", "x.json", "-o", "x.html"], "matplotlib, tqdm, skimage", "report"),
        (["report", "x.json", "-o", "x.html", "--images", "."], "matplotlib, tqdm", "report"),
    ],
)
def test_a_missing_extra_is_named_before_any_work(arguments, missing, extra):
    code, out, err = run("ycc_jax", *arguments)
    sentence = f"expected {missing} to be installed, found no {missing}: pip install"
    assert (code, out, err) == (2, "", f"ycc: error: {sentence} 'ycc-jax[{extra}]'\n")


@pytest.mark.parametrize("missing", ["ml_collections", "absl"])
def test_the_trainer_names_its_extra(missing):
    code, out, err = run("train.main", "--config", "x.py", "--workdir", "x", missing=missing)
    sentence = f"train: error: expected {missing} to be installed, found none: pip install"
    assert (code, out, err) == (2, "", f"{sentence} 'ycc-jax[train]'\n")
