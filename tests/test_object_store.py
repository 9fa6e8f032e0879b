"""Workdirs in an object store: the real clients, gcsfs and TensorStore, and a server here that
appends to no object and renames no folder, as Google's does not."""

import json
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from object_store import ObjectStore

from train import loop
from train.checkpoints import Checkpoints
from train.log import RunLog
from ycc_jax import model_folder, storage
from ycc_jax.codec_model import export_model, load_model
from ycc_jax.errors import InputError, MissingBackendError, ModelError

MODEL = Path(__file__).parent / "golden" / "models" / "scale"


@pytest.fixture(scope="module")
def store():
    """A server with the bucket "gs://bucket", where clients look for Google's."""
    with ObjectStore() as server, pytest.MonkeyPatch.context() as patch:
        for name in ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL"):
            patch.setenv(name, server.url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "none")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks another server
        pytest.importorskip("gcsfs", reason="extra [gcs]; the nox session newest has it")
        yield server


def steps(workdir):
    text = (storage.place(workdir) / "metrics.jsonl").read_text()
    return [json.loads(line)["step"] for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_in_an_object_store_is_that_on_a_disk(store, tiny_config, tiny_run, monkeypatch):
    """Stopped after two steps and continued, all in one process, as in a notebook."""
    workdir = "gs://bucket/runs/tiny"
    check, signals = loop.check_finite, [signal.SIGTERM]

    def interrupt(values, step):
        check(values, step)
        if step == 2 and signals:
            signal.raise_signal(signals.pop())

    monkeypatch.setattr(loop, "check_finite", interrupt)
    with pytest.raises(SystemExit):
        loop.train_and_evaluate(tiny_config, workdir)
    assert steps(workdir) == [1, 2]
    state = loop.train_and_evaluate(tiny_config, workdir)
    jax.tree.map(np.testing.assert_array_equal, state, tiny_run[1])
    assert steps(workdir) == [1, 2, 3, 4] == steps(str(tiny_run[0]))
    for name in ("model", "best"):
        found, expected = (load_model(f"{run}/{name}") for run in (workdir, tiny_run[0]))
        assert found.hash == expected.hash
    with pytest.raises(InputError, match=r"gs://bucket/runs/tiny holds a run with train.seed = 0"):
        config = tiny_config.copy_and_resolve_references()
        config.train.seed = 1
        loop.train_and_evaluate(config, workdir)


def test_a_damaged_checkpoint_is_put_aside(store):
    workdir = "gs://bucket/damaged"
    like = {"step": np.array(0), "x": np.zeros(100, np.float32)}
    with Checkpoints(workdir, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save({"step": np.array(step), "x": np.full(100, step, np.float32)})
    (name,) = (n for n in store.objects if n.endswith("damaged/checkpoints/2/default/_METADATA"))
    content, generation = store.objects[name]
    store.objects[name] = content[:-9], generation
    with Checkpoints(workdir, keep=2) as checkpoints:
        assert checkpoints.restore(like)["step"] == 1
        aside = name.replace("/checkpoints/", "/damaged_checkpoints/")
        assert store.objects[aside][0] == content[:-9]
        assert not [n for n in store.objects if n.startswith("damaged/checkpoints/2/")]
        checkpoints.save({"step": np.array(2), "x": like["x"]})
    with Checkpoints(workdir, keep=2) as checkpoints:
        assert checkpoints.restore(like)["step"] == 2


@pytest.mark.parametrize("first", [True, False])
def test_an_upload_that_is_cut_off_is_refused_and_made_again(store, monkeypatch, first):
    """Of a first model, and of one in place of another: no reader takes a half for a whole."""
    model, path = load_model(MODEL), f"gs://bucket/cut/{first}"
    content = dict(arguments=model.arguments, frozen=model.frozen)
    if not first:
        changed = jax.tree.map(lambda x: x + np.float32(2**-9), model.params)
        export_model(path, name="old", params=changed, **content)

    def cut(folder, names, target):
        storage.upload(folder, list(names)[:2], target)
        raise OSError("cut off")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="cut off"):
        patch.setattr(model_folder, "upload", cut)
        export_model(path, name="new", params=model.params, **content)
    with pytest.raises(ModelError, match="expected hash|expected a codec model folder"):
        load_model(path)
    assert export_model(path, name="new", params=model.params, **content) == load_model(path).hash
    assert sorted(n for n in store.objects if n.startswith(f"cut/{first}")) == sorted(
        f"cut/{first}/{name}" for name in model_folder.FILES
    )


def test_another_folder_is_not_replaced(store):
    (storage.place("gs://bucket/mine") / "notes.txt").write_text("mine")
    model = load_model(MODEL)
    with pytest.raises(InputError, match=r"gs://bucket/mine: .* found a folder with notes\.txt"):
        export_model("gs://bucket/mine", name="x", arguments=model.arguments, params=model.params)
    assert store.objects["mine/notes.txt"][0] == b"mine"


def test_records_continue_where_they_were(store):
    """Nothing is appended to: each upload is the whole file; a new run keeps the old records."""
    workdir = "gs://bucket/records"
    with RunLog(workdir, total_steps=9, progress=False) as log:
        log.write(1, {"loss": 1.0})
        log.upload()
        assert steps(workdir) == [1]
        log.write(2, {"loss": 1.0})
        assert steps(workdir) == [1], "not at every step"
    assert steps(workdir) == [1, 2]
    with RunLog(workdir, total_steps=9, resume_step=1, progress=False) as log:
        log.write(3, {"loss": 1.0})
    assert steps(workdir) == [1, 3]
    events = [n for n in store.objects if n.startswith("records/tensorboard/")]
    assert len(events) == 2 and all(len(store.objects[name][0]) > 100 for name in events)
    with RunLog(workdir, total_steps=9, progress=False):
        pass
    assert steps(workdir) == [] and store.objects["records/metrics.jsonl.old"][0].count(b"\n") == 2


@pytest.mark.parametrize(
    "path, found",
    [
        ("s3://bucket/run", "expected a folder or gs://BUCKET/FOLDER, found 's3://bucket/run'"),
        ("gs://", "expected a folder or gs://BUCKET/FOLDER, found 'gs://'"),
        ("gs://other/run", "gs://other/run: expected a bucket that can be reached, found none"),
    ],
)
def test_what_cannot_be_a_workdir(store, tiny_config, path, found):
    with pytest.raises(InputError, match=found):
        loop.train_and_evaluate(tiny_config, path)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingBackendError, match=r"found no gcsfs: pip install 'ycc-jax\[gcs\]'"):
        load_model("gs://bucket/model")
