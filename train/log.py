"""The records of a run: metrics.jsonl and TensorBoard events on disk, progress on the terminal."""

import json
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from ycc_jax.storage import Mirror

log = logging.getLogger(__name__)

SHOWN = ("loss", "bpp_y", "bpp_z", "psnr_y")  # the metrics beside the progress bar, where given
BAR_SECONDS = 0.5  # between redraws on a terminal
UPLOAD_SECONDS = 30.0  # between uploads to an object store, which takes whole files
LINE_SECONDS = 10.0  # between lines elsewhere: a log file, a notebook's pipe


class RunLog:
    """Writes the metrics of one run and shows its progress on stderr; a context manager.

    `workdir/metrics.jsonl` has one JSON object a line: step, time (seconds since 1970), seconds
    (since this process began the run) and the metrics. `workdir/tensorboard` has the same metrics
    as scalars, if the tensorboard package is installed; TensorFlow is not imported.

    A resumed run takes the records of its lost tail back, those after `resume_step`; a new run in
    an old folder keeps the old records as metrics.jsonl.old.
    Of several processes only one should have a RunLog.

    Args:
      workdir: folder of the run, on a disk or gs://; created if it is missing.
      total_steps: last step of the run.
      resume_step: the last step whose state was restored, 0 for a new run.
      progress: whether `progress` shows anything.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        total_steps: int,
        resume_step: int = 0,
        progress: bool = True,
    ):
        self._mirror = Mirror(workdir, "metrics.jsonl")
        path = self._mirror.folder / "metrics.jsonl"
        _drop_tail(path, resume_step)
        self._lines = path.open("a", encoding="utf-8")
        self._events = _open_events(path.parent / "tensorboard", resume_step)
        self._progress = _Progress(total_steps, resume_step) if progress else None
        self._last, self._start = resume_step, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files and ends the progress bar."""
        self._lines.close()
        if self._events is not None:
            self._events.close()
        if self._progress is not None:
            self._progress.close()
        self._mirror.close()

    def upload(self) -> None:
        """Brings an object store up to date; a workdir on a disk always is."""
        self._mirror.upload()

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Appends the metrics of a step, on disk on return; NaN and infinity become null.

        An object store has them within `UPLOAD_SECONDS`, if steps are written that often.

        Args:
          step: not below the step of the call before; a step may have several records.
          metrics: names and what `float` takes: numbers, numpy or jax scalars.

        Raises:
          ValueError: `step` goes backwards.
        """
        if step < self._last:
            raise ValueError(f"expected a step of at least {self._last}, found {step}")
        self._last, now = step, time.time()
        values = {name: float(value) for name, value in metrics.items()}
        record: dict[str, Any] = {"step": int(step), "time": round(now, 3)}
        record["seconds"] = round(time.monotonic() - self._start, 3)
        record |= {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._lines.write(json.dumps(record, allow_nan=False) + "\n")
        self._lines.flush()
        if self._events is not None:
            scalars = [{"tag": name, "simple_value": value} for name, value in values.items()]
            _write_event(self._events, wall_time=now, step=int(step), summary={"value": scalars})
        self._mirror.upload(every=UPLOAD_SECONDS)

    def progress(self, step: int, metrics: Mapping[str, Any], batch_size: int) -> None:
        """Shows step, speed, time left and the metrics named in SHOWN, if it is time to.

        The batch size is that of the last steps, of all processes.

        Cheap to call at every step: metrics still on a device are only fetched when shown; of an
        array, a value a step, the last is shown.
        """
        if self._progress is not None:
            self._progress.show(step, metrics, batch_size)


class _Progress:
    """A tqdm bar on a terminal with tqdm installed, else plain lines."""

    def __init__(self, total_steps: int, resume_step: int):
        self._total = total_steps
        self._bar = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                pass
            else:
                layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"
                self._bar = tqdm(
                    total=total_steps, initial=resume_step, bar_format=layout, dynamic_ncols=True
                )
        self._interval = LINE_SECONDS if self._bar is None else BAR_SECONDS
        self._shown: tuple[int, float] | None = None
        self._step_seconds: float | None = None

    def show(self, step: int, metrics: Mapping[str, Any], batch_size: int) -> None:
        now = time.monotonic()
        if self._shown is not None:
            if now - self._shown[1] < self._interval and step < self._total:
                return
            self._measure(step - self._shown[0], now - self._shown[1])
        # Speed counts from the first call on: the time before it went to compilation.
        self._shown = step, now
        values = {k: np.ravel(metrics[k])[-1] for k in SHOWN if k in metrics}
        text = self._speed(step, batch_size) + [f"{k} {value:.4g}" for k, value in values.items()]
        if self._bar is None:
            print(", ".join([f"step {step}/{self._total}", *text]), file=sys.stderr, flush=True)
        else:
            self._bar.n = step
            self._bar.set_postfix_str(", ".join(text))

    def _measure(self, steps: int, seconds: float) -> None:
        if steps > 0 and seconds > 0:
            new, old = seconds / steps, self._step_seconds
            self._step_seconds = new if old is None else 0.7 * old + 0.3 * new

    def _speed(self, step: int, batch_size: int) -> list[str]:
        if self._step_seconds is None:
            return []
        rate = 1 / self._step_seconds
        minutes, seconds = divmod(round((self._total - step) * self._step_seconds), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        return [f"{rate:.3g} steps/s", f"{rate * batch_size:.3g} images/s", left]

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _drop_tail(path: Path, resume_step: int) -> None:
    if not path.exists():
        return
    if not resume_step:
        # Another run's records, or those of one whose checkpoints are gone: never thrown away.
        path.replace(path.with_name(path.name + ".old"))
        return
    old = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in old if _is_record(line, resume_step)]
    if len(kept) < len(old):
        # Written whole, then renamed: a crash in between leaves the old file.
        new = path.with_name(path.name + ".new")
        new.write_bytes(b"".join(kept))
        new.replace(path)


def _is_record(line: bytes, resume_step: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= resume_step
    except (ValueError, KeyError, TypeError):  # what a crash or a full disk left of a line
        return False


def _open_events(folder: Path, resume_step: int) -> Any:
    # The record writer alone: `tensorboard.summary.Writer` imports TensorFlow where it finds one,
    # seconds of start-up and another claim on the accelerator.
    try:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError as error:
        log.warning("No TensorBoard events, metrics.jsonl has the same metrics: %s", error)
        return None
    folder.mkdir(parents=True, exist_ok=True)
    # TensorBoard reads the files of a folder in the order of their names.
    now = time.time()
    name = f"events.out.tfevents.{int(now * 1e6)}.{socket.gethostname()}"
    events = RecordWriter((folder / name).open("wb"))
    _write_event(events, wall_time=now, file_version="brain.Event:2")
    # Makes TensorBoard drop what earlier files say of this step and those after it.
    first = resume_step + 1 if resume_step else 0
    _write_event(events, wall_time=now, step=first, session_log={"status": SessionLog.START})
    return events


def _write_event(events: Any, **fields: Any) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    events.write(Event(**fields).SerializeToString())
    events.flush()
