"""One run on several devices and processes: the same parameters, whatever their number."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import on_devices
from test_survival import final_state, finish

import ycc_jax
from train import hosts


def as_one_run(trainer, workdir, **sent):
    """Two processes of two devices; (exit code, stderr) of each. The second gets the signal.

    It has a workdir of its own, which must stay untouched.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"--coordinator=localhost:{free.getsockname()[1]}"
    flags = coordinator, "--num_processes=2"
    first = trainer(workdir, *flags, "--process_id=0", devices=2)
    second = trainer(f"{workdir}_second", *flags, "--process_id=1", devices=2, **sent)
    try:
        return finish(first), finish(second)
    finally:  # one that waits for the other, which died
        first.kill()
        second.kill()


@pytest.fixture(scope="module")
def eight(trainer, tmp_path_factory):
    """The workdir of a run of one process on eight devices."""
    workdir = tmp_path_factory.mktemp("eight") / "run"
    code, text = finish(trainer(workdir, devices=8))
    assert code == 0, text
    return workdir


def recorded(workdir):
    """What `metrics.jsonl` says of each step."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_processes_and_devices_do_not_matter(trainer, eight, tmp_path):
    """Two processes with two devices, stopped by one's SIGTERM and continued; one with eight."""
    workdir = tmp_path / "two"
    for code, text in as_one_run(trainer, workdir, sends=signal.SIGTERM, at=2):
        assert code == 143, text
        assert "Stopped by SIGTERM at step 3; the same command continues there." in text
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["2", "3"]
    for code, text in as_one_run(trainer, workdir):
        assert code == 0, text
    assert not (tmp_path / "two_second").exists()
    assert (workdir / "model").exists() and (workdir / "best").exists()

    states = [final_state(path) for path in (workdir, eight, trainer.uninterrupted)]
    assert states[0]["['step']"] == 4
    for other in states[1:]:
        assert states[0].keys() == other.keys()
        for name, expected in other.items():
            found = states[0][name]
            if "['nu']" in name:  # a mean of squares, of which Adam takes the root
                found, expected = np.sqrt(found), np.sqrt(expected)
            # Sums over the batch in other orders: a few units in the last place of float32, 1e-7,
            # of the largest; measured 5e-6 on both versions of JAX. Other pictures, rates or noise
            # move weights by the learning rate, 1e-3 a step.
            bound = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=bound, err_msg=name)
    for found, expected in zip(recorded(eight), recorded(trainer.uninterrupted), strict=True):
        # Measured 6e-7 on both versions of JAX.
        for name in found.keys() & {"loss", "distortion", "grad_norm", "eval/loss"}:
            assert found[name] == pytest.approx(expected[name], rel=3e-6), name


@pytest.mark.slow
def test_bfloat16_on_eight_devices(trainer, eight, tmp_path):
    """The same run but for the dtype; its steps, its checkpoint and the codec model it leaves."""
    flag = "--config.train.compute_dtype=bfloat16"
    code, text = finish(trainer(tmp_path / "run", flag, devices=8))
    assert code == 0, text
    for found, expected in zip(recorded(tmp_path / "run"), recorded(eight), strict=True):
        # bfloat16 rounds by 2e-3, the loss is a mean over pixels; measured 4e-6 and 5e-5.
        for name, bound in (("loss", 1e-4), ("grad_norm", 1e-3)):
            assert 0 < abs(found[name] / expected[name] - 1) < bound, name
    states = [final_state(path) for path in (tmp_path / "run", eight)]
    for name, array in states[0].items():
        assert array.dtype == states[1][name].dtype, name
        assert array.dtype == "float32" or array.size == 1, name
        assert np.isfinite(array).all(), name
    codec = ycc_jax.load(tmp_path / "run" / "model")
    assert {x.dtype for x in jax.tree.leaves(codec.model.params)} == {np.dtype("float32")}


def test_bytes_do_not_depend_on_the_devices(photo, tmp_path):
    """Of one model in a process with eight devices and in this one."""
    program = """
import sys
import jax, numpy as np, ycc_jax

assert jax.device_count() == 8
codec = ycc_jax.load(sys.argv[1])
with np.load(sys.argv[2]) as file:
    data = codec.encode(file["picture"], quality=50)
np.savez(sys.argv[3], data=np.frombuffer(data, np.uint8), decoded=codec.decode(data))
"""
    folder = Path(__file__).parent / "golden" / "models" / "dlec_gain"
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    picture = photo[:100, 150:300]
    np.savez(given, picture=picture)
    command = [sys.executable, "-c", program, folder, given, found]
    subprocess.run(command, env=on_devices(8), check=True, timeout=300)
    codec = ycc_jax.load(folder)
    data = codec.encode(picture, quality=50)
    with np.load(found) as file:
        assert file["data"].tobytes() == data and len(data) > 200
        np.testing.assert_array_equal(file["decoded"], codec.decode(data))


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_a_sentence(trainer, tmp_path):
    workdir = tmp_path / "run"
    code, text = finish(trainer(workdir, "--config.data.batch_size=12", devices=8))
    expected = "expected a batch size divisible by the 8 devices of 1 processes, found 12"
    assert code == 2 and text.splitlines()[-1] == f"train: error: {expected}"
    assert not workdir.exists()


@pytest.mark.parametrize(
    "devices, processes, batch_size, expected",
    [(1, 1, 5, 5), (4, 1, 8, 8), (8, 2, 16, 8), (8, 4, 16, 4)],
)
def test_each_process_reads_its_part(monkeypatch, devices, processes, batch_size, expected):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    assert hosts.local_batch_size(batch_size) == expected
    message = f"divisible by the {devices} devices of {processes} processes, found {devices + 1}"
    if devices > 1:
        with pytest.raises(ValueError, match=message):
            hosts.local_batch_size(devices + 1)
