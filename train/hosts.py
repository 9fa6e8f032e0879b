"""One run on many devices, of one process or of several that run the same program.

Every process reads its part of each batch and holds the whole state; XLA sums the gradients across
all devices. Process 0 alone touches the folder of the run, so the others need not see it. If a
process dies, JAX ends the others within minutes, and the run is started again at its checkpoint.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ycc_jax.errors import InputError


def is_first() -> bool:
    """Whether this is process 0, which writes checkpoints, records and models."""
    return jax.process_index() == 0


def shardings() -> tuple[NamedSharding, NamedSharding]:
    """(replicated, by_picture): the same array on every device, or axis 0 in equal parts.

    The devices are in the order of their processes, so that a process has adjoining pictures and
    picture n of a batch is the same whatever the number of processes.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    mesh = Mesh(np.asarray(devices), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


def local_batch_size(batch_size: int) -> int:
    """How many pictures of a batch this process reads.

    Raises:
      InputError: the devices cannot have equal parts.
    """
    devices, processes = jax.device_count(), jax.process_count()
    if batch_size % devices:
        raise InputError(
            f"expected a batch size divisible by the {devices} devices of {processes} processes, "
            f"found {batch_size}"
        )
    return batch_size // processes


def to_devices(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays over all devices from the parts that each process has, in a sharding of `shardings`.

    Args:
      tree: NumPy arrays; for `by_picture` the pictures of this process, else the same everywhere.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


def from_first(tree: Any) -> Any:
    """The NumPy arrays that process 0 has, bit for bit, on every process.

    Args:
      tree: NumPy arrays, in structure, shapes and dtypes the same everywhere.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    # One array of bytes: a sum with zeros would lose the sign of -0.0, and each array would be
    # a collective of its own.
    data = np.concatenate([np.ravel(leaf).view(np.uint8) for leaf in leaves])
    data = np.asarray(multihost_utils.broadcast_one_to_all(data), np.uint8)  # JAX 0.5 sums widely
    parts = np.split(data, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    pairs = zip(parts, leaves, strict=True)
    return structure.unflatten([part.view(x.dtype).reshape(x.shape) for part, x in pairs])


def largest(value: int) -> jax.Array:
    """The largest of the processes' int32 values, not waited for.

    Every process must ask at the same point of its program. Reading the array waits for the
    devices to finish what was given to them before.
    """
    replicated, by_picture = shardings()
    values = to_devices(np.full(jax.local_device_count(), value, np.int32), by_picture)
    return jax.jit(jnp.max, out_shardings=replicated)(values)


def wait_for_all(place: str) -> None:
    """Returns when every process has called it with the same name of a place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)
