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
        """Writes the state under its own step; a step that is there already stays as it is."""
        step = int(state["step"])
        if step not in self.manager.all_steps():
            self.manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, like: State) -> State | None:
        """The newest state, in the structure, dtypes and sharding of `like`; None if there is none.

        Raises:
          ValueError: the checkpoint has other shapes than `like` (another model or optimiser).
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            state = self.manager.restore(step, args=ocp.args.StandardRestore(abstract))
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
        self.manager.wait_until_finished()
        self.manager.close()
