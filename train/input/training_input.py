"""What a run reads: its pictures, and how batches of crops are cut from them."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Self

import jax
import numpy as np

from train import hosts
from train.input.crops import crop_batches
from train.input.pictures import open_source


@dataclasses.dataclass(frozen=True)
class TrainingInput:
    """Made once from a config, by `open`.

    Attributes:
      source: pictures to train on, as `open_source` gives them.
      validation: those to validate on; may be the same.
      seed: of the steps' crops. Crops that only measure have seeds of their own beside it, so that
        no step sees them again.
      early, late: (batch size of all processes, crop), before step `late_from` and from there on.
      late_from: a step, or None.
      loader, workers: of `crop_batches`; or the loader "resident" (`feed.Feed`).
      shard: (index, count) of this process.
    """

    source: Sequence[np.ndarray]
    validation: Sequence[np.ndarray]
    seed: int
    early: tuple[int, int]
    late: tuple[int, int] = (0, 0)
    late_from: int | None = None
    loader: str = "memory"
    workers: int = 0
    shard: tuple[int, int] = (0, 1)

    @classmethod
    def open(cls, config: Any) -> Self:
        """The input of a config, for this process; only headers are read.

        Raises:
          InputError: no such pictures, or none of use; or the devices cannot have equal parts of a
            batch.
          MissingBackendError: a package that the source needs is not installed.
        """
        data = config.data
        for batch_size in (data.batch_size, data.late.batch_size if data.late.step else 0):
            hosts.local_batch_size(batch_size)
        source, *other = (
            open_source(spec, data_dir=data.data_dir or None)
            for spec in (data.source, data.validation)
            if spec
        )
        return cls(
            source,
            *(other or [source]),
            seed=config.train.seed,
            early=(data.batch_size, data.crop),
            late=(data.late.batch_size, data.late.crop),
            late_from=data.late.step or None,
            loader=data.loader,
            workers=data.workers,
            shard=(jax.process_index(), jax.process_count()),
        )

    def shape(self, step: int) -> tuple[int, int]:
        """(batch size of all processes, crop) of a step."""
        return self.early if self.late_from is None or step < self.late_from else self.late

    def batches(self, step: int) -> Iterator[np.ndarray]:
        """This process's part of each batch from a step on, in the shape of that step."""
        batch_size, crop = self.shape(step)
        return crop_batches(
            self.source,
            batch_size=hosts.local_batch_size(batch_size),
            crop=crop,
            seed=self.seed,
            start_step=step,
            loader=self.loader,
            workers=self.workers,
            shard=self.shard,
        )

    def sample(self, count: int) -> np.ndarray:
        """At least `count` training crops, the same on every process, (n, crop, crop, 3)."""
        size, _ = self.early
        batches = self._measured(self.source, self.seed + 1, size, (0, 1))
        with contextlib.closing(batches):
            return np.concatenate(list(itertools.islice(batches, -(-count // size))))

    def validation_batch(self) -> np.ndarray:
        """This process's part of the fixed batch of validation crops."""
        size = hosts.local_batch_size(self.early[0])
        batches = self._measured(self.validation, self.seed + 2, size, self.shard)
        with contextlib.closing(batches):
            return next(batches)

    def _measured(
        self, source: Sequence[np.ndarray], seed: int, batch_size: int, shard: tuple[int, int]
    ) -> Iterator[np.ndarray]:
        """Batches that no step sees; a few, which the host cuts also where steps cut their own."""
        return crop_batches(
            source,
            batch_size=batch_size,
            crop=self.early[1],
            seed=seed,
            loader="memory" if self.loader == "resident" else self.loader,
            workers=self.workers,
            shard=shard,
        )
