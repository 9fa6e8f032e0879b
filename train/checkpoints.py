"""Training checkpoints: the whole state of a run, saved and restored by Orbax.

Not to be confused with the codec model (`ycc_jax.checkpoint`), which is what a decoder needs.
"""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of a run, under WORKDIR/checkpoints; the newest `keep` of them stay."""

    def __init__(self, workdir: str | Path, keep: int):
        self.manager = ocp.CheckpointManager(
            Path(workdir).absolute() / "checkpoints",
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
        )

    def save(self, state: State) -> None:
        """Writes the state under its own step; a step that is there already stays as it is.

        The state is the same on every device, so the host's copy of it is all there is to write;
        saved as device arrays it would also tie the checkpoint to the number of devices.
        """
        step = int(state["step"])
        if step not in self.manager.all_steps():
            self.manager.save(step, args=ocp.args.StandardSave(jax.device_get(state)))

    def restore(self, like: State) -> State | None:
        """The newest state, in structure, dtypes and sharding of `like`; None if there is none.

        Raises:
          ValueError: the checkpoint has other shapes than `like` (another model or optimiser).
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        try:
            arguments = ocp.args.StandardRestore(jax.device_get(like))
            state = self.manager.restore(step, args=arguments)
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
        return jax.tree.map(lambda x, old: jax.device_put(x, old.sharding), state, like)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        """Waits for writes under way."""
        self.manager.wait_until_finished()
        self.manager.close()
