"""The records of a run: valid on disk, whole after a resume, readable while it trains."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from train import log as train_log
from train.log import RunLog


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def steps(workdir):
    return [record["step"] for record in records(workdir)]


def run_log(workdir, **arguments):
    return RunLog(workdir, **{"total_steps": 100, "progress": False} | arguments)


def test_records_are_on_disk_at_once_and_valid_json(tmp_path):
    workdir = tmp_path / "new" / "run"
    with run_log(workdir) as log:
        log.write(1, {"loss": np.float32(2.5), "psnr_y": 30})
        log.write(1, {"eval/loss": float("nan"), "bpp": float("inf")})
        first, second = records(workdir)
    assert first["step"] == 1 and first["loss"] == 2.5 and first["psnr_y"] == 30.0
    assert 0 <= first["seconds"] < 60 and first["time"] > 1.7e9
    assert second["eval/loss"] is None and second["bpp"] is None


def test_resume_drops_the_lost_tail(tmp_path):
    with run_log(tmp_path) as log:
        for step in (10, 20, 20, 30, 40):
            log.write(step, {"loss": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "lo')  # killed in the middle of a line
    with run_log(tmp_path, resume_step=25) as log:
        assert steps(tmp_path) == [10, 20, 20]
        log.write(30, {"loss": -1})
    assert steps(tmp_path) == [10, 20, 20, 30] and records(tmp_path)[-1]["loss"] == -1
    assert not list(tmp_path.glob("*.new"))
    with run_log(tmp_path):
        assert steps(tmp_path) == []


def test_steps_do_not_go_backwards(tmp_path):
    with run_log(tmp_path, resume_step=50) as log:
        with pytest.raises(ValueError, match="at least 50, found 49"):
            log.write(49, {"loss": 1.0})


def test_tensorboard_events(tmp_path):
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    with run_log(tmp_path) as log:
        for step in (10, 20, 30):
            log.write(step, {"loss": step / 4, "eval/psnr_y": float("nan")})
    with run_log(tmp_path, resume_step=20) as log:
        log.write(40, {"loss": 1.5})
        events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "eval/psnr_y"}
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(10, 2.5), (20, 5.0), (40, 1.5)]


def test_events_do_not_import_tensorflow(tmp_path):
    program = (
        "import sys; from train.log import RunLog\n"
        f"with RunLog({str(tmp_path)!r}, total_steps=1) as log:\n"
        "    log.write(1, {'loss': 1.0})\n"
        "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_tensorboard(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with run_log(tmp_path) as log:
        log.write(1, {"loss": 1.0})
    assert steps(tmp_path) == [1] and not (tmp_path / "tensorboard").exists()
    assert [record.message[:21] for record in caplog.records] == ["No TensorBoard events"]


class Clock:
    """Stands for the time module of train.log: every call of monotonic is 4 seconds later."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 4.0
        return self.now

    def time(self):
        return self.now


def test_plain_progress_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_log, "time", Clock())
    with run_log(tmp_path, progress=True, total_steps=7260) as log:
        for step in range(20, 80, 20):
            log.progress(step, {"loss": np.float32(1.25), "psnr_y": 31.0, "grad_norm": 5.0}, 8)
        log.progress(80, {"loss": 0.5}, 8)
        log.progress(100, {"loss": 0.25}, 8)  # 4 seconds after the line before: not yet
        log.progress(7260, {"loss": 0.25}, 8)  # but the last step always
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "step 20/7260, loss 1.25, psnr_y 31",
        "step 80/7260, 5 steps/s, 40 images/s, 0:23:56 left, loss 0.5",
        "step 7260/7260, 7.13 steps/s, 57 images/s, 0:00:00 left, loss 0.25",
    ]


def test_hidden_values_stay_on_the_device(tmp_path, monkeypatch):
    class Fetched:
        def __float__(self):
            pytest.fail("fetched although nothing is shown")

    monkeypatch.setattr(train_log, "LINE_SECONDS", 1e9)
    with run_log(tmp_path, progress=True) as log:
        log.progress(1, {"loss": 1.0}, 8)
        log.progress(2, {"loss": Fetched()}, 8)
    with run_log(tmp_path) as log:
        log.progress(1, {"loss": Fetched()}, 8)


def test_bar_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with run_log(tmp_path, progress=True, resume_step=40) as log:
        log.progress(100, {"loss": 1.25, "bpp_z": 0.03125}, 8)
    shown = capsys.readouterr().err
    assert "40/100" in shown and "100%" in shown and "\r" in shown
    assert "100/100" in shown and "loss 1.25, bpp_z 0.03125" in shown


def test_terminal_without_tqdm(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with run_log(tmp_path, progress=True) as log:
        log.progress(1, {"loss": 1.25}, 8)
    assert capsys.readouterr().err == "step 1/100, loss 1.25\n"
