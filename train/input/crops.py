"""From pictures (`pictures.py`) to batches of random crops: `crop_batches` cuts them.

Example number n of a run (picture, position, flip) is a pure function of (seed, n), whichever
loader reads it, so a run resumed at step k sees the batches that an uninterrupted run would see.
The arrays are numpy; grain is imported only where it is chosen.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from train.input.pictures import Pictures, decoding_threads
from ycc_jax.errors import InputError, MissingBackendError

log = logging.getLogger(__name__)

PREFETCH = 4  # batches made ahead of the training step


class CropSampler:
    """Random crops of a source by number: `sampler(n)` is example n, uint8 (crop, crop, 3).

    A picture is drawn with probability proportional to its area where the source has `areas`, so
    that every pixel of a folder is about equally likely, else uniformly; then a position and a
    horizontal flip. A picture smaller than the crop is extended at the bottom and right by its
    edge pixels. For one that cannot be decoded, named in a warning, another is drawn.
    """

    def __init__(self, source: Sequence[np.ndarray], crop: int, seed: int):
        self.source, self.crop, self.seed = source, crop, seed
        areas = getattr(source, "areas", None)
        self._cumulative = np.cumsum(np.ones(len(source), np.int64) if areas is None else areas)
        self._broken: dict[int, Exception] = {}

    def __call__(self, number: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, int(number)])
        picture = self._draw(rng)
        y, x = (rng.integers(max(side - self.crop, 0) + 1) for side in picture.shape[:2])
        crop = picture[y : y + self.crop, x : x + self.crop]
        if rng.integers(2):
            crop = crop[:, ::-1]
        missing = [(0, self.crop - side) for side in crop.shape[:2]]
        return np.pad(crop, [*missing, (0, 0)], mode="edge")

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        for _ in range(100):
            index = np.searchsorted(self._cumulative, rng.integers(self._cumulative[-1]), "right")
            picture = self.read(int(index))
            if picture is not None:
                return picture
        raise InputError("100 pictures drawn in a row could not be decoded")

    def read(self, index: int) -> np.ndarray | None:
        """Picture `index`, uint8 (H, W, 3), or None where its data is damaged."""
        if index in self._broken:
            return None
        try:
            return self.source[index]
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, ...
            # One warning, also where two threads read it at once: setdefault is atomic.
            if self._broken.setdefault(index, error) is error:
                name = getattr(self.source, "paths", {index: f"picture {index}"})[index]
                log.warning("%s cannot be decoded and is left out: %s", name, error)
            return None

    def load(self, max_memory_mb: float) -> None:
        """Decodes every picture into memory; InputError if they need more than `max_memory_mb`."""
        decoded = getattr(self.source, "decoded", None)
        decoded = decoded or _decode_all(self.read, self.source, max_memory_mb)
        if isinstance(self.source, Pictures):
            self.source.decoded = decoded
        self.source = decoded


def _decode_all(read: Callable, source: Sequence, max_memory_mb: float) -> list[np.ndarray | None]:
    areas = getattr(source, "areas", None)
    _check_memory(0 if areas is None else 3 * int(areas.sum()), max_memory_mb)
    pictures, size = [], 0
    pool = ThreadPoolExecutor(decoding_threads())
    try:
        for picture in pool.map(read, range(len(source))):
            pictures.append(picture)
            size += 0 if picture is None else picture.nbytes
            _check_memory(size, max_memory_mb)
    finally:
        pool.shutdown(cancel_futures=True)
    log.info("decoded %d pictures, %.0f MB in memory", len(pictures), size / 1e6)
    return pictures


def crop_batches(
    source: Sequence[np.ndarray],
    *,
    batch_size: int,
    crop: int,
    seed: int,
    start_step: int = 0,
    loader: str = "memory",
    workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    max_memory_mb: float = 8192,
) -> Iterator[np.ndarray]:
    """Endless batches of random crops, uint8 (batch_size, crop, crop, 3), from `start_step` on.

    The batch of step k is the same whatever the loader, the number of workers and the step that the
    iterator started at. Across processes the examples of step k are numbered shard after shard:
    `count` processes together see what one process with batch size `count * batch_size` sees.

    Args:
      source: pictures from `open_source`, or any sequence of uint8 (H, W, 3) arrays.
      batch_size: crops per batch of this process.
      crop: side of the square crops, pixels.
      seed: non-negative.
      start_step: the step of the first batch.
      loader: "memory" decodes all pictures once, then cuts batches in a background thread that
        ends when the iterator is closed or collected; "grain" decodes each picture when drawn.
      workers: processes of the grain loader; 0 is threads in this process.
      shard: (index, count) of this process.
      max_memory_mb: limit of the memory loader in units of 1e6 bytes.

    Raises:
      ValueError: an argument is out of range.
      InputError: there are no pictures, or they do not fit `max_memory_mb`.
      MissingBackendError: loader "grain" without the grain package.
    """
    index, count = shard
    if loader not in ("memory", "grain"):
        raise ValueError(f'unknown loader {loader!r}: expected "memory" or "grain"')
    if min(batch_size, crop) < 1 or min(seed, start_step, workers) < 0 or not 0 <= index < count:
        raise ValueError(
            "expected batch_size and crop >= 1, seed, start_step and workers >= 0, shard index in "
            f"[0, count), found {batch_size=} {crop=} {seed=} {start_step=} {workers=} {shard=}"
        )
    if not len(source):
        raise InputError("expected at least one picture, found an empty source")
    sampler = CropSampler(source, crop, seed)

    def batch(step: int) -> np.ndarray:
        first = (int(step) * count + index) * batch_size
        return np.stack([sampler(number) for number in range(first, first + batch_size)])

    if loader == "grain":
        return _grain_batches(batch, start_step, workers)
    sampler.load(max_memory_mb)
    return _prefetched(batch, start_step)


def _grain_batches(batch: Callable, start_step: int, workers: int) -> Iterator[np.ndarray]:
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise MissingBackendError(
            "loader 'grain' needs grain: pip install 'ycc-jax[train]'"
        ) from error

    # 2**62 stands for "endless": grain wants a length, and keeps indices in 64 bits.
    steps = grain.MapDataset.range(start_step, 2**62).map(batch)
    batches = steps.to_iter_dataset(grain.ReadOptions(decoding_threads(), PREFETCH))
    if workers:
        if not flags.FLAGS.is_parsed():  # grain's processes read absl flags, used here or not
            flags.FLAGS.mark_as_parsed()
        options = grain.multiprocessing.MultiprocessingOptions(workers, PREFETCH)
        batches = batches.mp_prefetch(options)
    return _copied(iter(batches))


def _copied(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    try:
        for batch in batches:
            # grain's processes hand out shared memory, which must not outlive them.
            yield batch.copy()
    finally:
        getattr(batches, "close", lambda: None)()  # grain gained close() after 0.2.11


def _prefetched(batch: Callable, start_step: int) -> Iterator[np.ndarray]:
    ready: queue.Queue = queue.Queue(PREFETCH)
    stop = threading.Event()
    thread = threading.Thread(target=_produce, args=(batch, start_step, ready, stop), daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:  # also when the generator is closed or collected
        stop.set()


def _produce(batch: Callable, step: int, ready: queue.Queue, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            item = batch(step)
        except BaseException as error:
            item = error
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                break
            except queue.Full:
                pass
        if isinstance(item, BaseException):
            return
        step += 1


def _check_memory(size: int, max_memory_mb: float) -> None:
    if size > max_memory_mb * 1e6:
        raise InputError(
            f"the decoded pictures need at least {size / 1e6:.0f} MB, more than max_memory_mb = "
            f'{max_memory_mb:g}: raise it, or use loader "grain", which decodes pictures as drawn'
        )
