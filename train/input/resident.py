"""Training pictures in the accelerator's memory, and random crops cut there, inside the step.

The distribution is that of `crops.CropSampler`; the numbers are JAX's. Example number n of a run is
a pure function of (seed, n), so a run resumed at step k sees what an uninterrupted one would see.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from train.input.crops import CropSampler
from ycc_jax.errors import InputError

Array = jax.Array

# Pixels of a sheet: places in it fit int32, JAX's integers, however many pictures there are.
SHEET = 2**30
# Sets the keys of crops apart from those of the steps, which come from the same seed.
CROPS = 0x63726F70


class ResidentPictures(NamedTuple):
    """Pictures packed one after the other, row by row, into equally long sheets.

    Attributes:
      sheets: (S, L, 3) uint8.
      place: (n, 2) int32: sheet and first pixel of each picture.
      size: (n, 2) int32: height and width of each picture.
      bounds: (n - 1,) uint32: picture i is drawn if bounds[i - 1] <= r < bounds[i] for 32 random
        bits r.
    """

    sheets: Array
    place: Array
    size: Array
    bounds: Array


def load_resident(
    source: Sequence[np.ndarray],
    *,
    max_memory_mb: float = 8192,
    sharding: jax.sharding.Sharding | None = None,
) -> ResidentPictures:
    """Decodes every picture of a source, and puts them all on each device of the run.

    Pictures are drawn in proportion to their area where the source has `areas`, else uniformly; one
    that cannot be decoded is named in a warning and left out.

    Args:
      source: pictures from `open_source`, or any sequence of uint8 (H, W, 3) arrays.
      max_memory_mb: limit of the decoded pictures in units of 1e6 bytes; the host holds them twice
        until they are packed.
      sharding: replicated over the devices of the run; None is the default device.

    Raises:
      InputError: there are no pictures that can be decoded, or they need more memory than
        `max_memory_mb` or than a device has left.
    """
    sampler = CropSampler(source, crop=1, seed=0)
    sampler.load(max_memory_mb)
    kept = [i for i in range(len(source)) if sampler.read(i) is not None]
    if not kept:
        raise InputError("expected at least one picture that can be decoded, found none")
    pictures = [sampler.source[i] for i in kept]
    by_area = getattr(source, "areas", None) is not None
    weights = [p.shape[0] * p.shape[1] if by_area else 1 for p in pictures]
    packed = pack(pictures, weights)
    check_device_memory(
        packed.sheets.nbytes, sharding.device_set if sharding else jax.devices()[:1]
    )
    return jax.device_put(packed, sharding)


def pack(
    pictures: Sequence[np.ndarray], weights: Sequence[int], sheet: int = SHEET
) -> ResidentPictures:
    """Arrays of the host; no sheet gets more than `sheet` pixels, but for a single picture."""
    place, end, last = [], 0, 0
    longest = 0
    for picture in pictures:
        pixels = picture.shape[0] * picture.shape[1]
        if end and end + pixels > sheet:
            last, end = last + 1, 0
        place.append((last, end))
        end += pixels
        longest = max(longest, end)
    sheets = np.zeros((last + 1, longest, 3), np.uint8)
    for picture, (i, start) in zip(pictures, place, strict=True):
        sheets[i, start : start + picture.shape[0] * picture.shape[1]] = picture.reshape(-1, 3)
    bounds = np.rint(np.cumsum(weights)[:-1] * (2**32 / np.sum(weights)))
    return ResidentPictures(
        sheets,
        np.asarray(place, np.int32),
        np.asarray([picture.shape[:2] for picture in pictures], np.int32),
        np.minimum(bounds, 2**32 - 1).astype(np.uint32),
    )


def check_device_memory(size: int, devices: Iterable[jax.Device]) -> None:
    """InputError if `size` bytes do not fit what a device has left, where it says so."""
    for device in devices:
        memory = device.memory_stats() or {}
        free = memory.get("bytes_limit", np.inf) - memory.get("bytes_in_use", 0)
        if size > free:
            raise InputError(
                f"the decoded pictures need {size / 1e6:.0f} MB on each device, found "
                f'{free / 1e6:.0f} MB free on {device}: use loader "memory" or "grain", which keep '
                "them in the host's memory or on disk"
            )


def random_crops(
    pictures: ResidentPictures, seed: int, step: Array | int, batch_size: int, crop: int
) -> Array:
    """The batch of a step, uint8 (batch_size, crop, crop, 3); inside `jit`.

    Each example draws a picture, a position and a horizontal flip. A picture smaller than the crop
    is extended at the bottom and right by its edge pixels.
    """
    numbers = jnp.uint32(step) * batch_size + jnp.arange(batch_size, dtype=jnp.uint32)
    key = jax.random.fold_in(jax.random.PRNGKey(seed), CROPS)
    return jax.vmap(lambda number: _crop(pictures, jax.random.fold_in(key, number), crop))(numbers)


def _crop(pictures: ResidentPictures, key: Array, crop: int) -> Array:
    picture_key, position_key, flip_key = jax.random.split(key, 3)
    bits = jax.random.bits(picture_key, dtype=jnp.uint32)
    picture = jnp.searchsorted(pictures.bounds, bits, side="right")
    (sheet, start), size = pictures.place[picture], pictures.size[picture]
    y, x = jax.random.randint(position_key, (2,), 0, jnp.maximum(size - crop, 0) + 1)
    inside = jnp.minimum(size, crop)  # height and width of what the picture has of the crop
    i = jnp.arange(crop)
    rows = jnp.minimum(i, inside[0] - 1)
    columns = jnp.minimum(i, inside[1] - 1)
    flipped = jnp.maximum(inside[1] - 1 - i, 0)
    columns = jnp.where(jax.random.bernoulli(flip_key), flipped, columns)
    pixel = start + (y + rows)[:, None] * size[1] + x + columns
    return pictures.sheets[sheet, pixel]
