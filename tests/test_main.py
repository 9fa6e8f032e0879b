"""The trainer's command line: configs by name, and one sentence for what the user can mend."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import logging as absl_logging
from absl.testing import flagsaver
from PIL import Image

from configs.dlec_gain_small import get_config as small
from configs.smoke import get_config as smoke
from train import loop, main
from train.check import check_continuation
from ycc_jax.errors import InputError


@pytest.fixture
def run(monkeypatch, capfd):
    """`run(flag, ...)`: exit code and standard error of `python -m train.main`, in this process."""
    monkeypatch.setattr(absl_logging, "use_absl_handler", lambda: None)
    level = logging.getLogger("train").level

    def call(*arguments):
        with flagsaver.flagsaver():
            main.FLAGS.unparse_flags()
            code = main.main(["main", *map(str, arguments)])
        return code, capfd.readouterr().err

    yield call
    logging.getLogger("train").setLevel(level)


@pytest.fixture
def photos(tmp_path):
    """A folder of one picture."""
    (folder := tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


def refused(result, message, code=2):
    found, text = result
    assert found == code and text.count("\n") == 1, text
    assert text.startswith("train: error: ") and message in text, text


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config=nope"], "or one of comparison, dlec, dlec_gain, "),
        (["--config=configs/nope.py"], "minnen_gain, scale_hyperprior, smoke, found 'configs/nope"),
        (["--config=common"], "found 'common'"),
        (["--config=smoke:x"], "config smoke: too many positional arguments, found 'smoke:x'"),
        (["--config=comparison:jpeg"], "minnen_gain or dlec-LAMBDA, found 'jpeg'"),
        (["--config=comparison:dlec-x"], "expected dlec-LAMBDA, as in dlec-0.0130, found 'dlec-x'"),
        (["--config=smoke", "--config.train.stesp=3"], "steps_per_call, "),
        (["--config=smoke", "--config.train.stesp=3"], "found 'stesp'"),
        (["--config=smoke", "--config.train.steps.x=3"], "expected no field there, found 'x'"),
        (["--config=smoke", "--config.train.steps", "a"], "invalid literal for int()"),
        (["--config=smoke", "--config.model.N=1.5"], "--config.model.N=1.5"),
        (["--config=smoke", "--wokdir=w"], "Unknown command line flag 'wokdir'"),
        (["--config=smoke", "more"], "expected only flags, found 'more'"),
        (["--config=smoke", "--process_id=x"], "--process_id=x"),
    ],
)
def test_flags_that_cannot_be(run, flags, message):
    refused(run("--workdir=unused", *flags), message)


def test_a_folder_is_required(run):
    refused(run("--config=smoke"), "--workdir")


@pytest.mark.parametrize(
    "text, name",
    [
        ("dlec_gain", "dlec_gain"),
        ("configs/dlec_gain.py", "dlec_gain"),
        ("comparison:dlec-0.0067", "comparison_dlec-0.0067"),
        ("mine.py", "mine"),
        ("mine.py:wide", "wide"),
        ("configs/minnen.py", "my minnen"),  # a file that is there comes first
    ],
)
def test_a_config_by_name_or_path(tmp_path, monkeypatch, text, name):
    monkeypatch.chdir(tmp_path)
    content = "from configs.smoke import get_config as smoke\n\n\ndef get_config(name={!r}):\n"
    content += "    config = smoke().unlock()\n    config.name = name\n    return config\n"
    Path("mine.py").write_text(content.format("mine"))
    Path("configs").mkdir()
    Path("configs/minnen.py").write_text(content.format("my minnen"))
    with flagsaver.flagsaver():
        main.FLAGS.unparse_flags()
        flags = ["--workdir=w", "--config.train.steps=7", "--config.data.late.step", "5"]
        config = main.parse(["main", "--config", text, *flags])
    assert (config.name, config.train.steps, config.data.late.step) == (name, 7, 5)
    assert config.is_locked


def test_outside_of_a_checkout(tmp_path):
    """In an empty folder, with the packages importable: the installed config, and one sentence."""
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[1])}
    flags = ["--config", "configs/dlec_gain.py", "--workdir", "w", "--config.loss.lambdas=(0.1,)"]
    command = [sys.executable, "-m", "train.main", *flags]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "train: error: expected 8 lambdas, found 1"
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.data.source=folder:missing"], "folder:missing: expected a folder of images"),
        (["--config.data.source=folder:."], "folder:.: expected readable image files"),
        (["--config.data.source=photos"], "unknown data 'photos': expected"),
        (["--config.data.source=tfds:no_such_set"], "tfds:no_such_set:train: cannot be opened"),
        (["--config.loss.lambdas=(0.1,)"], "expected 8 lambdas, found 1"),
        (["--config.data.crop=32"], "expected a crop of a multiple of 64, found 32"),
        (["--config.data.batch_size=0"], "data.batch_size must be at least 1, found 0"),
        (["--config.train.log_every=0"], "train.log_every must be at least 1, found 0"),
        (["--config.model.context=full"], "config.model: context must be one of"),
        (
            ["--config.optim.start_from=nothing"],
            "bundled models ['dlec_gain_small'], found 'nothin",
        ),
        (["--workdir=w/file"], "w/file: expected a folder for the run, found a file"),
        (
            ["--workdir=w/foreign"],
            "config.json: expected the config of a run, found something else",
        ),
    ],
)
def test_what_no_run_can_start_with(run, tmp_path, photos, monkeypatch, flags, message):
    """And the corrected command is not refused for what this one left in the folder."""
    (empty := tmp_path / "empty").mkdir()
    monkeypatch.chdir(empty)
    Path("w/foreign").mkdir(parents=True)
    Path("w/file").write_text("mine")
    Path("w/foreign/config.json").write_text("[]")
    before = [path for path in empty.rglob("*") if path.is_file()]
    defaults = ["--config=smoke", "--workdir=w/run", f"--config.data.source=folder:{photos}"]
    refused(run(*defaults, *flags), message)
    assert [path for path in empty.rglob("*") if path.is_file()] == before


@pytest.mark.parametrize(
    "package, flag",
    [
        ("grain", "--config.data.loader=grain"),
        ("tensorflow_datasets", "--config.data.source=tfds:a"),
    ],
)
def test_a_package_that_is_missing_is_named(run, tmp_path, photos, monkeypatch, package, flag):
    monkeypatch.setitem(sys.modules, package, None)
    defaults = [
        "--config=smoke",
        f"--workdir={tmp_path}/w",
        f"--config.data.source=folder:{photos}",
    ]
    refused(run(*defaults, flag), "pip install")


def test_exit_codes(run, tmp_path, monkeypatch):
    flags = ["--config=smoke", f"--workdir={tmp_path}/w"]

    def fails(error):
        def train_and_evaluate(*_):
            raise error

        monkeypatch.setattr(loop, "train_and_evaluate", train_and_evaluate)
        return run(*flags)

    refused(fails(FloatingPointError("step 4: found loss = nan")), "step 4: found loss = nan", 1)
    refused(fails(PermissionError(13, "Permission denied", "w/x")), "w/x: Permission denied", 1)
    refused(
        fails(ModuleNotFoundError(name="optax")),
        "expected optax to be installed, found none: pip install",
    )
    assert fails(KeyboardInterrupt()) == (130, "")
    for error in (ValueError("ours"), KeyError("ours"), ModuleNotFoundError(name="train.lop")):
        with pytest.raises(type(error)):
            fails(error)


@pytest.mark.parametrize(
    "config, late, fits",
    [
        (small(), [6400, 256, 4], True),
        (small(), [6400, 256, 8], False),
        (small(), [], False),
        (smoke(), [], True),
        (smoke(), [6400, 256, 4], False),
    ],
)
def test_a_run_from_before_late_had_names_goes_on(tmp_path, config, late, fits):
    old = json.loads(config.to_json())
    old["data"]["late"] = late
    (tmp_path / "config.json").write_text(json.dumps(old))
    if fits:
        check_continuation(config, tmp_path / "config.json")
    else:
        with pytest.raises(
            InputError, match="holds a run with data.late = .*, found .*continue with"
        ):
            check_continuation(config, tmp_path / "config.json")
