"""What a chunk of steps is given: batches cut on the host, or pictures that live on the devices."""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from train import hosts
from train.input.resident import ResidentPictures, load_resident
from train.input.training_input import TrainingInput


class Feed:
    """The data of a run: `feed(step, n)` is what the n steps from there on are given.

    Loaders "memory" and "grain" cut batches on the host, ahead of the steps: uint8
    (n, B, crop, crop, 3). The loader "resident" gives `ResidentPictures`, of which the steps cut
    their batches themselves, from the number of the step (`train.step.make_train_chunk`).

    Attributes:
      sharding: of the data over the devices.
    """

    sharding: NamedSharding

    def __init__(self, inputs: TrainingInput):
        replicated, by_picture = hosts.shardings()
        self._inputs = inputs
        # Batches that are being cut: their iterator, the step of the next, and their shape.
        self._batches, self._next = None, (-1, None)
        self._pictures = None
        if inputs.loader == "resident":
            self.sharding = replicated
            self._pictures = load_resident(inputs.source, sharding=replicated)
        else:
            # Axis 0 counts steps, axis 1 pictures.
            spec = PartitionSpec(None, *by_picture.spec)
            self.sharding = NamedSharding(by_picture.mesh, spec)

    def __call__(self, step: int, steps: int) -> jax.Array | ResidentPictures:
        if self._pictures is not None:
            return self._pictures
        shape = self._inputs.shape(step)
        if self._next != (step, shape):
            self.close()
            self._batches = self._inputs.batches(step)
        chunk = np.stack([next(self._batches) for _ in range(steps)])
        self._next = step + steps, shape
        return hosts.to_devices(chunk, self.sharding)

    def close(self) -> None:
        """Ends the loader's threads or processes."""
        if self._batches is not None:
            self._batches.close()
