"""One run on several devices and processes: the same parameters, whatever their number."""

import signal
import socket

import jax
import numpy as np
import pytest
from test_survival import final_state, finish

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


@pytest.mark.slow
def test_processes_and_devices_do_not_matter(trainer, tmp_path):
    """Two processes with two devices, stopped by one's SIGTERM and continued; one with four."""
    workdir = tmp_path / "two"
    for code, text in as_one_run(trainer, workdir, sends=signal.SIGTERM, at=2):
        assert code == 143, text
        assert "Stopped by SIGTERM at step 3; the same command continues there." in text
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["2", "3"]
    for code, text in as_one_run(trainer, workdir):
        assert code == 0, text
    assert not (tmp_path / "two_second").exists()
    assert (workdir / "model").exists() and (workdir / "best").exists()

    code, text = finish(trainer(tmp_path / "four", devices=4))
    assert code == 0, text
    states = [final_state(path) for path in (workdir, tmp_path / "four", trainer.uninterrupted)]
    assert states[0]["['step']"] == 4
    for other in states[1:]:
        assert states[0].keys() == other.keys()
        for name, expected in other.items():
            # Sums over the batch in other orders: a few units in the last place of float32, 1e-7,
            # of the largest; measured 3e-6 on both versions of JAX. Other pictures, rates or noise
            # move weights by the learning rate, 1e-3 a step.
            bound = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(states[0][name], expected, rtol=0, atol=bound, err_msg=name)


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
