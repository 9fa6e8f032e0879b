"""Folders on a disk or in an object store: `gs://BUCKET/...`, by etils.epath as in Orbax.

Both are read alike. An object store has whole objects and nothing else: none is appended to, no
folder is renamed, and none exists without an object in it. So what grows, or is renamed once it
is whole, does so on a disk, and `upload` then writes it object by object.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from ycc_jax.errors import InputError, require


def place(path: str | os.PathLike) -> Path:
    """A path on a disk, or one in an object store that has been reached: an `epath.Path` then,
    which reads and writes as a `pathlib.Path` does but is none.

    Raises:
      InputError: another scheme than gs, or the bucket cannot be reached.
      MissingBackendError: the extra that talks to object stores is not installed.
    """
    if "://" not in os.fspath(path):
        return Path(path)
    if not isinstance(path, str):  # what this returned
        return cast(Path, path)
    scheme, _, name = path.partition("://")
    bucket = name.partition("/")[0]
    if scheme != "gs" or not bucket:
        raise InputError(f"expected a folder or gs://BUCKET/FOLDER, found {path!r}")
    require("gcs", "gcsfs")
    # Else epath takes TensorFlow where there is one: seconds, and all of a GPU's memory.
    os.environ.setdefault("EPATH_USE_TF", "false")
    from etils import epath

    try:
        found = "" if epath.Path(f"gs://{bucket}").exists() else "none of that name"
    except Exception as error:  # of the network, of credentials: each library has its own
        found = " ".join(f"{type(error).__name__}: {error}".split())
    if found:
        raise InputError(f"{path}: expected a bucket that can be reached, found {found}")
    return cast(Path, epath.Path(path))


def on_disk(path: Any) -> bool:
    """Whether what `place` returned is on a disk."""
    return isinstance(path, Path)


def upload(folder: Path, names: Iterable[str], path: Path) -> None:
    """Copies files of a folder on a disk into one of an object store, in this order.

    Each is there as a whole or as it was before.
    """
    for name in names:
        (path / name).write_bytes((folder / name).read_bytes())


class Mirror:
    """A folder on a disk, for files that grow; in an object store, a copy of it.

    Args:
      path: as of `place`; created if it is on a disk.
      names: what to have of an object store at the start, where it is there.

    Attributes:
      folder: the path itself, or a temporary folder until `close`.
    """

    def __init__(self, path: str | os.PathLike, *names: str):
        self._target, self._temporary = place(path), None
        self.folder = self._target
        if on_disk(self._target):
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            self._temporary = tempfile.TemporaryDirectory()
            self.folder = Path(self._temporary.name)
            for name in names:
                if (self._target / name).exists():
                    (self.folder / name).write_bytes((self._target / name).read_bytes())
        self._uploaded: dict[str, int] = {}
        self._time = time.monotonic()

    def upload(self, every: float = 0) -> None:
        """Writes files that are new or longer than before to the object store, if there is one,
        and if it is so many seconds since the last time."""
        if self._temporary is None or time.monotonic() - self._time < every:
            return
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        sizes = {str(path.relative_to(self.folder)): path.stat().st_size for path in files}
        # The longer of two names first: a file that is now NAME.old is there before a new NAME.
        names = sorted(sizes, key=len, reverse=True)
        changed = [name for name in names if sizes[name] != self._uploaded.get(name)]
        upload(self.folder, changed, self._target)
        self._uploaded, self._time = sizes, time.monotonic()

    def close(self) -> None:
        """Uploads what is left, and removes the temporary folder."""
        if self._temporary is not None:
            self.upload()
            self._temporary.cleanup()


def move(source: Any, target: Any) -> None:
    """Moves a folder to a path where there is nothing; in an object store, its objects: all are
    copied before the first is removed."""
    if on_disk(source):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
        return
    _copy(source, target)
    source.rmtree()


def _copy(source: Any, target: Any) -> None:
    for entry in source.iterdir():
        if entry.is_dir():
            _copy(entry, target / entry.name)
        else:
            entry.copy(target / entry.name)
