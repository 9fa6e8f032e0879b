"""Training checkpoints: the whole state of a run, saved and restored by Orbax.

Not to be confused with the codec model (`ycc_jax.checkpoint`), which is what a decoder needs.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.hosts import is_first

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of a run, under WORKDIR/checkpoints; the newest `keep` of them stay.

    They are written in the background, each under a temporary name until it is whole: a process
    that dies at any moment leaves those before it, and a part of one is never restored. Of several
    processes the first has them all; on the others nothing is saved, and nothing found.
    """

    def __init__(self, workdir: str | Path, keep: int):
        self.manager = None
        if is_first():
            folder = Path(workdir).absolute() / "checkpoints"
            folder.mkdir(parents=True, exist_ok=True)
            # Orbax would have every process take part, with a file system that all of them see.
            alone = ocp.options.MultiprocessingOptions(active_processes={0})
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=False,
                cleanup_tmp_directories=True,  # what a process that died left unfinished
                multiprocessing_options=alone,
            )
            self.manager = ocp.CheckpointManager(folder, options=options)

    def save(self, state: State) -> None:
        """Writes the state under its own step; a step that is there already stays as it is.

        The state is copied before this returns. It is the same on every device, so the host's copy
        of it is all there is to write; saved as device arrays it would also tie the checkpoint to
        the number of devices.
        """
        if self.manager is not None and int(state["step"]) not in self.manager.all_steps():
            state = jax.device_get(state)
            self.manager.save(int(state["step"]), args=ocp.args.StandardSave(state))

    def restore(self, like: State) -> State | None:
        """The newest state, NumPy arrays in structure and dtypes of `like`; None if there is none.

        Raises:
          ValueError: the checkpoint has other shapes than `like` (another model or optimiser).
        """
        step = self.manager and self.manager.latest_step()
        if step is None:
            return None
        try:
            arguments = ocp.args.StandardRestore(like)
            state = jax.tree.map(np.asarray, self.manager.restore(step, args=arguments))
            pairs = zip(
                jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(state), strict=True
            )
            for (path, expected), found in pairs:
                if expected.shape != found.shape:
                    name = jax.tree_util.keystr(path)
                    raise ValueError(f"{name}: expected {expected.shape}, found {found.shape}")
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"checkpoint {step} in {self.manager.directory} does not fit this config; "
                f"continue with the config that wrote it, or choose another workdir ({error})"
            ) from error
        return state

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        """Waits for writes under way."""
        if self.manager is not None:
            self.manager.wait_until_finished()
            self.manager.close()
