"""Training checkpoints: the whole state of a run, saved and restored by Orbax.

Not to be confused with the codec model (`ycc_jax.codec_model`), which is what a decoder needs.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.hosts import is_first
from ycc_jax.errors import InputError
from ycc_jax.storage import move, on_disk, place

State = dict[str, Any]
log = logging.getLogger(__name__)
HASH = "sha256"  # of the other arrays, beside them in each checkpoint


class Checkpoints:
    """The checkpoints of a run, under WORKDIR/checkpoints; the newest `keep` of them stay.

    They are written in the background, each under a temporary name (in an object store: without
    its last object) until it is whole: a process that dies at any moment leaves those before it,
    and a part of one is never restored. In each is a hash of its arrays, as their files alone do
    not tell of a flipped bit. Of several processes the first has them all; on the others nothing is
    saved, and nothing found.
    """

    def __init__(self, workdir: str | Path, keep: int):
        self.manager = None
        if is_first():
            self.folder = place(workdir) / "checkpoints"
            if on_disk(self.folder):
                self.folder = self.folder.absolute()
                self.folder.mkdir(parents=True, exist_ok=True)
            # Orbax would have every process take part, with a file system that all of them see.
            alone = ocp.options.MultiprocessingOptions(active_processes={0})
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=False,
                cleanup_tmp_directories=True,  # what a process that died left unfinished
                multiprocessing_options=alone,
            )
            self.manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: State) -> None:
        """Writes the state under its own step; a step that is there already stays as it is.

        The state is copied before this returns. It is the same on every device, so the host's copy
        of it is all there is to write; saved as device arrays it would also tie the checkpoint to
        the number of devices.
        """
        if self.manager is not None and int(state["step"]) not in self.manager.all_steps():
            state = jax.device_get(state)
            content = {**state, HASH: hash_of(by_path(state))}
            self.manager.save(int(state["step"]), args=ocp.args.StandardSave(content))

    def restore(self, like: State) -> State | None:
        """The newest whole state, NumPy arrays in the structure of `like`; None if there is none.

        Damaged ones that are newer are named in a warning and put aside, in
        WORKDIR/damaged_checkpoints, so that the run can write these steps again.

        Raises:
          InputError: there are checkpoints, and all are damaged; or the newest whole one has other
            arrays than `like` (another model or optimiser). Nothing is moved then.
        """
        if self.manager is None:
            return None
        damaged = {}
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                arrays = self._read(step)
            except (MemoryError, PermissionError):
                raise
            except Exception as error:  # whatever Orbax and TensorStore trip over
                damaged[step] = " ".join(str(error).split())[:200]
                continue
            try:
                state = fit(arrays, like)
            except ValueError as error:
                raise InputError(
                    f"checkpoint {step} in {self.folder} does not fit this config; continue with "
                    f"the config that wrote it, or choose another workdir ({error})"
                ) from error
            self._put_aside(damaged, step)
            return state
        if damaged:
            reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise InputError(
                f"{self.folder}: expected a whole checkpoint, found only damaged ones ({reasons}); "
                "put a copy in their place, or choose another workdir"
            )
        return None

    def _read(self, step: int) -> dict[str, np.ndarray]:
        """The arrays of a checkpoint by their paths; any exception means that it is damaged."""
        arrays = by_path(self.manager.restore(step, args=ocp.args.StandardRestore()))
        expected = arrays.pop(HASH, None)  # earlier versions wrote none
        if expected is not None and not np.array_equal(expected, hash_of(arrays)):
            raise ValueError("its arrays are not those that were saved")
        return arrays

    def _put_aside(self, damaged: dict[int, str], step: int) -> None:
        aside = self.folder.with_name("damaged_checkpoints")
        for number, reason in damaged.items():
            path, count = aside / str(number), 0
            while path.exists():
                count += 1
                path = aside / f"{number}.{count}"
            move(self.folder / str(number), path)
            log.warning(
                "Checkpoint %d is damaged (%s) and now in %s; continuing at step %d.",
                *(number, reason, path, step),
            )
        if damaged:
            self.manager.reload()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        """Waits for writes under way."""
        if self.manager is not None:
            self.manager.wait_until_finished()
            self.manager.close()


def by_path(tree: Any) -> dict[str, np.ndarray]:
    """Arrays by their paths, as in "opt/1/0/mu/log_std": the same for a state and what is restored
    of it, where named tuples have become dicts."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


def hash_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """SHA-256 over names, dtypes, shapes and bytes: uint8 (32,)."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return np.frombuffer(digest.digest(), np.uint8)


def fit(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The arrays in the structure of `like`; ValueError if names, shapes or dtypes differ."""
    expected = {name: f"{x.dtype} {x.shape}" for name, x in by_path(like).items()}
    found = {name: f"{x.dtype} {x.shape}" for name, x in arrays.items()}
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
            )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])
