"""What a chunk of steps is given: batches cut on the host, or pictures that live on the devices."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from train import hosts
from train.data import crop_batches
from train.resident import ResidentPictures, load_resident


class Feed:
    """The data of a run from some step on: `feed(n)` is what the next n steps are given.

    Loaders "memory" and "grain" cut batches on the host, ahead of the steps: uint8
    (n, B, crop, crop, 3). The loader "resident" gives `ResidentPictures`, of which the steps cut
    their batches themselves, from the number of the step (`train.step.make_train_chunk`).

    Args:
      source: pictures from `open_source`.
      reading: arguments of `crop_batches`; resident pictures need none.
      start_step, seed: of the run.

    Attributes:
      sharding: of the data over the devices.
    """

    sharding: NamedSharding

    def __init__(
        self, source: Sequence[np.ndarray], reading: dict[str, Any], start_step: int, seed: int
    ):
        replicated, by_picture = hosts.shardings()
        self._batches = self._pictures = None
        if reading["loader"] == "resident":
            self.sharding = replicated
            self._pictures = load_resident(source, sharding=replicated)
        else:
            # Axis 0 counts steps, axis 1 pictures.
            spec = PartitionSpec(None, *by_picture.spec)
            self.sharding = NamedSharding(by_picture.mesh, spec)
            self._batches = crop_batches(source, seed=seed, start_step=start_step, **reading)

    def __call__(self, steps: int) -> jax.Array | ResidentPictures:
        if self._batches is None:
            return self._pictures
        chunk = np.stack([next(self._batches) for _ in range(steps)])
        return hosts.to_devices(chunk, self.sharding)

    def close(self) -> None:
        """Ends the loader's threads or processes."""
        if self._batches is not None:
            self._batches.close()
