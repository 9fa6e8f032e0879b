"""Runs that are killed or stopped: nothing is lost but time; and the best model so far is kept."""

import functools
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from absl.testing import flagsaver
from conftest import on_devices

import train.step
from configs.common import default
from train import loop, main
from train.checkpoints import Checkpoints
from train.stopping import StopRequest
from train.validation import validate
from ycc_jax.codec_model import read_header
from ycc_jax.errors import InputError

# A few thousand weights, two rates; every step recorded, a checkpoint and a validation every other.
CONFIG = """
from configs.minnen_gain import get_config as minnen_gain


def get_config():
    config = minnen_gain().unlock()
    config.model.update(N=8, M=16, activation="prelu", context="none", levels=2)
    config.loss.lambdas = (0.01, 0.1)
    config.optim.update(learning_rate=1e-3, warmup_steps=1)
    config.data.update(batch_size=8, crop=64)
    config.train.update(steps=4, log_every=1, eval_every=2, checkpoint_every=2)
    return config.lock()
"""
# Compiling is most of the time: without optimisation it takes a fraction.
QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# `python -m train.main`, but that it gets a signal once it has looked at the metrics of a step.
PROGRAM = """
import os, sys
from train import loop, main

number, at = int(sys.argv.pop(1)), int(sys.argv.pop(1))
check_finite = loop.check_finite

def check_and_signal(values, step):
    check_finite(values, step)
    if step == at:
        os.kill(os.getpid(), number)

loop.check_finite = check_and_signal
sys.exit(main.main(sys.argv))
"""


class Trainer:
    """Runs in processes of their own: `trainer(workdir, ...)` starts one."""

    def __init__(self, folder: Path):
        self.folder, self.config = folder, folder / "tiny.py"
        folder.mkdir()
        self.config.write_text(CONFIG)

    @functools.cached_property
    def uninterrupted(self) -> Path:
        """The workdir of a run of one process on one device that nothing happened to."""
        workdir = self.folder / "uninterrupted"
        code, text = finish(self(workdir))
        assert code == 0, text
        return workdir

    def __call__(self, workdir, *flags, devices=1, sends=0, at=0) -> subprocess.Popen:
        environment = on_devices(devices, QUICKLY_COMPILED)
        if jax.__version_info__ >= (0, 10):  # see ycc_jax.compilation_cache
            environment["JAX_COMPILATION_CACHE_DIR"] = str(self.folder / "cache")
        arguments = [f"--config={self.config}", f"--workdir={workdir}", *flags]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(int(sends)), str(at), *arguments],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """(exit code, what it wrote to stderr)."""
    _, text = process.communicate(timeout=500)
    return process.returncode, text


def final_state(workdir: Path) -> dict[str, np.ndarray]:
    """The newest checkpoint's arrays by their paths."""
    with Checkpoints(workdir, keep=2) as checkpoints:
        tree = checkpoints.manager.restore(checkpoints.manager.latest_step())
    del tree["sha256"]
    return {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.slow
def test_a_run_killed_and_preempted_ends_with_the_same_bits(trainer, tmp_path):
    code, text = finish(trainer(tmp_path, sends=signal.SIGKILL, at=3))
    assert code == -signal.SIGKILL, text
    code, text = finish(trainer(tmp_path, sends=signal.SIGTERM, at=3))
    assert code == 143, text
    assert "Stopped by SIGTERM at step 3; the same command continues there." in text
    assert (tmp_path / "checkpoints" / "3").is_dir() and not (tmp_path / "model").exists()
    code, text = finish(trainer(tmp_path))
    assert code == 0, text
    assert "Resuming at step 3 of 4." in text

    uninterrupted = trainer.uninterrupted
    expected, found = final_state(uninterrupted), final_state(tmp_path)
    assert expected.keys() == found.keys() and expected["['step']"] == 4
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    for name in ("model", "best"):
        headers = [read_header(workdir / name) for workdir in (tmp_path, uninterrupted)]
        assert headers[0] == headers[1]
    # Every step is recorded once, with the same values.
    runs = [(path / "metrics.jsonl").read_text().splitlines() for path in (tmp_path, uninterrupted)]
    runs = [[json.loads(line) for line in lines] for lines in runs]
    for record in sum(runs, []):
        del record["time"], record["seconds"]
    assert runs[0] == runs[1] and [record["step"] for record in runs[0]] == [1, 2, 3, 4]


def test_a_half_written_checkpoint_is_not_restored(tmp_path):
    """Killed when the second one is written and only lacks its name; just one is kept."""
    program = """
import os, signal, sys
import numpy as np
from train.checkpoints import Checkpoints

rename = os.rename

def kill(source, target, **_):
    if os.path.basename(target) == "2":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.rename = os.replace = kill
with Checkpoints(sys.argv[1], keep=1) as checkpoints:
    for step in (1, 2):
        checkpoints.save({"step": np.array(step), "x": np.full(1000, step, np.float32)})
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left[0] == "1" and len(left) == 2 and left[1].startswith("2.")
    like = {"step": np.array(0), "x": np.zeros(1000, np.float32)}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        state = checkpoints.restore(like)
        assert state["step"] == 1 and (state["x"] == 1).all()
        checkpoints.save({"step": np.array(2), "x": state["x"] * 2})
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert (checkpoints.restore(like)["x"] == 2).all()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]


def test_a_checkpoint_is_of_the_moment_it_was_asked_for(tmp_path):
    x = np.arange(1_000_000, dtype=np.float32)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        state = {"step": np.array(1), "x": x.copy()}
        checkpoints.save(state)
        state["x"][:] = 0  # as a device may, which gets the buffer for the next step
        checkpoints.manager.wait_until_finished()
        np.testing.assert_array_equal(checkpoints.restore(state)["x"], x)


def save_two(workdir):
    """Two checkpoints, and the states in them by step."""

    def state(step):
        rng = np.random.default_rng(step)
        params = {"w": rng.normal(size=(8, 8)).astype(np.float32), "b": rng.normal(size=3)}
        opt = optax.adam(1e-3).init(params)
        return {"step": np.array(step), "params": params, "opt": jax.device_get(opt)}

    states = {step: state(step) for step in (1, 2)}
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in states:
            checkpoints.save(states[step])
    return states


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 16]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_checkpoint_is_never_taken_for_another_state(tmp_path, caplog, damage):
    """Each of its files in turn: what is restored is the newest state, or with a warning the one
    before; then the run can write the step again."""
    states, fallen_back = save_two(tmp_path / "whole"), 0
    files = [path for path in (tmp_path / "whole").glob("checkpoints/2/**/*") if path.is_file()]
    for number, path in enumerate(files):
        caplog.clear()
        workdir = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        file = workdir / path.relative_to(tmp_path / "whole")
        file.write_bytes(damage(file.read_bytes()))
        content = file.read_bytes()
        with Checkpoints(workdir, keep=2) as checkpoints:
            found = checkpoints.restore(states[1])
            step = int(found["step"])
            assert jax.tree.structure(found) == jax.tree.structure(states[1])
            jax.tree.map(np.testing.assert_array_equal, found, states[step])
            if step == 2:
                assert not [r for r in caplog.records if r.name == "train.checkpoints"]
                continue
            fallen_back += 1
            (message,) = (r.getMessage() for r in caplog.records if r.name == "train.checkpoints")
            assert message.startswith("Checkpoint 2 is damaged (")
            assert message.endswith("continuing at step 1.")
            aside = workdir / "damaged_checkpoints" / file.relative_to(workdir / "checkpoints")
            assert aside.read_bytes() == content
            checkpoints.save(states[2])
        with Checkpoints(workdir, keep=2) as checkpoints:
            assert checkpoints.restore(states[1])["step"] == 2
    assert fallen_back >= 3


def listing(workdir):
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    return [(path, path.read_bytes()) for path in files]


def test_without_a_whole_checkpoint_nothing_is_moved(tmp_path):
    states = save_two(tmp_path)
    for manifest in tmp_path.glob("checkpoints/*/default/manifest.ocdbt"):
        manifest.write_bytes(cut(manifest.read_bytes()))
    before = listing(tmp_path)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        with pytest.raises(InputError, match="expected a whole checkpoint, found only damaged"):
            checkpoints.restore(states[1])
    assert listing(tmp_path) == before


def test_a_checkpoint_of_another_config_is_not_called_damaged(tmp_path):
    states = save_two(tmp_path)
    manifest = tmp_path / "checkpoints/2/default/manifest.ocdbt"
    manifest.write_bytes(cut(manifest.read_bytes()))
    like = {**states[1], "params": {"w": np.zeros((8, 9), np.float32), "b": np.zeros(3)}}
    before = listing(tmp_path)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        message = r"checkpoint 1 .* fit this config; .*params/w: expected .*8, 9\), found .*8, 8\)"
        with pytest.raises(InputError, match=message):
            checkpoints.restore(like)
    assert listing(tmp_path) == before


def test_a_checkpoint_of_an_earlier_version_has_no_hash(tmp_path):
    state = {"step": np.array(1), "x": np.arange(3)}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.manager.save(1, args=ocp.args.StandardSave(state))
        checkpoints.manager.wait_until_finished()
        np.testing.assert_array_equal(checkpoints.restore(state)["x"], state["x"])


def test_signals_are_noted_until_ctrl_c_comes_again(capfd):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        assert stop.agreed() == 0
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.agreed() == stop.agreed() == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.agreed() == signal.SIGINT
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    shown = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == ["SIGTERM", "SIGINT"]


def test_another_thread_leaves_signals_alone():
    seen = []

    def enter():
        with StopRequest() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.agreed()))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGTERM), 0)]


@pytest.fixture
def pretend(bundled, tmp_path, monkeypatch):
    """`pretend(scores, ...)`: a run in tmp_path that trains nothing and has these scores.

    Returns the header of WORKDIR/best.
    """

    def make_step(*_):
        return lambda state, batch: ({**state, "step": state["step"] + 1}, {"loss": state["step"]})

    def start(*_):
        assert not (tmp_path / "checkpoints" / "2").exists(), "a continuation needs no start"
        return bundled.model.params

    def run(scores, steps, **changes):
        config = default()
        config.model.update(bundled.model.arguments)
        config.loss.lambdas = (0.01,) * config.model.levels
        config.data.update(batch_size=1, crop=64)
        config.train.update(steps=steps, log_every=1, eval_every=1, checkpoint_every=2)
        config.update_from_flattened_dict(changes)
        scores = iter(scores)
        monkeypatch.setattr(loop, "start_params", start)
        monkeypatch.setattr(train.step, "make_train_step", make_step)
        monkeypatch.setattr(loop, "validate", lambda *_: {"eval/loss": next(scores)})
        loop.train_and_evaluate(config, str(tmp_path))
        assert next(scores, None) is None
        return read_header(tmp_path / "best")

    return run


def test_the_best_model_is_kept_also_by_a_continuation(pretend, tmp_path, caplog):
    header = pretend([3.0, 2.0, 2.5], steps=3)
    training = header["training"]
    assert (training["steps"], training["score"]) == (2, 2.0)
    assert training["config"]["train"]["steps"] == 3
    assert read_header(tmp_path / "model")["training"]["steps"] == 3
    assert pretend([2.2], steps=4) == header
    training = pretend([2.1, 1.5], steps=6)["training"]
    assert (training["steps"], training["score"]) == (6, 1.5)
    # Of ours; Orbax of 2025 says that without a target it cannot tell of other devices.
    assert not [record for record in caplog.records if record.name.startswith("train")]
    # Other crops, other scores: the first on them is the best so far.
    training = pretend([9.0], steps=7, **{"data.validation": "samples"})["training"]
    assert (training["steps"], training["score"]) == (7, 9.0)
    assert "best was not scored on these validation crops" in caplog.text


def test_a_nan_in_validation_leaves_the_best_model(pretend, tmp_path):
    with pytest.raises(FloatingPointError, match="step 2: .* found eval/loss = nan"):
        pretend([3.0, math.nan], steps=3)
    assert read_header(tmp_path / "best")["training"]["steps"] == 1


def test_a_foreign_folder_named_best_is_not_replaced(pretend, tmp_path):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "model.json").write_text('{"format": "graph-model"}')
    with pytest.raises(ValueError, match="best: expected nothing or a codec model to replace"):
        pretend([], steps=1)


def test_ctrl_c_in_a_notebook(pretend, tmp_path, monkeypatch):
    """In this process: the step is finished, its state saved, and handlers are as before."""
    check, before = loop.check_finite, signal.getsignal(signal.SIGINT)
    signals = iter([signal.SIGINT])

    def interrupt(values, step):
        check(values, step)
        if step == 3:
            [signal.raise_signal(number) for number in signals]

    monkeypatch.setattr(loop, "check_finite", interrupt)
    with pytest.raises(SystemExit) as stopped:
        pretend([1.0, 2.0, 3.0], steps=9)
    assert stopped.value.code == 130
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.manager.latest_step() == 3
    assert not (tmp_path / "model").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_score_is_the_mean_over_the_levels():
    losses = [3.0, 1.0, 8.0]
    values = validate(lambda params, crops, level: {"loss": losses[level]}, None, None, 3)
    assert values == {"eval_0/loss": 3, "eval_1/loss": 1, "eval_2/loss": 8, "eval/loss": 4}


def test_a_model_without_a_score_is_replaced_as_best(pretend, tmp_path):
    pretend([1.0], steps=1)
    shutil.rmtree(tmp_path / "best")
    (tmp_path / "model").rename(tmp_path / "best")
    training = pretend([2.0], steps=2)["training"]
    assert (training["steps"], training["score"]) == (2, 2.0)


@pytest.mark.parametrize(
    "steps_per_call, late, expected",
    [
        (1, 0, [1, 2, 3, 4, 5, 6, 7]),
        (2, 0, [2, 4, 6, 7]),
        (5, 0, [4, 5, 6, 7]),
        (100, 0, [4, 6, 7]),
        (100, 1, [1, 4, 6, 7]),
    ],
)
def test_chunks_end_where_something_is_due(steps_per_call, late, expected):
    config = default()
    config.train.update(steps=7, log_every=4, eval_every=6, checkpoint_every=12)
    config.train.steps_per_call = steps_per_call
    config.data.late.step = late

    ends = [0]
    while ends[-1] < 7:
        ends.append(loop.chunk_end(ends[-1], config))
    assert ends[1:] == expected


def test_accelerators_compute_in_bfloat16_and_take_ten_steps_a_call(monkeypatch):
    config = default()
    assert (loop.compute_dtype("auto"), loop.chunk_end(0, config)) == ("float32", 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert (loop.compute_dtype("auto"), loop.chunk_end(0, config)) == ("bfloat16", 10)
    assert loop.compute_dtype("float32") == "float32"


def test_a_metric_that_is_not_finite_is_named_with_its_step():
    loop.check_finite({"loss": jnp.ones(3), "eval/loss": 1.0}, 12)
    metrics = {"loss": jnp.array([1, 2, jnp.inf]), "grad_norm": jnp.array([1, jnp.nan, jnp.nan])}
    with pytest.raises(FloatingPointError, match="step 11: .* found grad_norm = nan"):
        loop.check_finite(metrics, 12)


@pytest.mark.parametrize(
    "flags",
    [
        ["--num_processes=2"],
        ["--process_id=0"],
        ["--coordinator=localhost:1"],
        ["--coordinator=localhost:1", "--num_processes=2"],
        ["--coordinator=auto", "--process_id=0"],
    ],
)
def test_half_told_about_other_processes(flags):
    needed = ["--config=smoke", "--workdir=unused"]
    with flagsaver.flagsaver():
        with pytest.raises(InputError, match="with --coordinator=HOST:PORT and not else, foun"):
            main.parse(["main", *needed, *flags])
