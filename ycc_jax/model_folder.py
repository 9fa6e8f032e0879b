"""The folder of a codec model: whether it is one, and how a new one takes its place."""

import contextlib
import glob
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ycc_jax.errors import InputError
from ycc_jax.storage import on_disk, place, upload

BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_DEFAULT = "dlec_gain_small"
FILES = ("model.json", "arrays.npz", "frozen.npz")
_ALWAYS = FILES[:2]  # models exported before there was a frozen prior have no more


def bundled_models() -> list[dict]:
    """What there is to say of each bundled model, without reading its arrays.

    Returns:
      Dicts of name, default (whether it is), hash, bytes, and of `bundled/rates.json`
      (`benchmarks/bundled_rates.py`): bpp, lowest and highest mean of the Kodak
      pictures; bd_rate_psnr_y, percent by codec.
    """
    measured = json.loads((BUNDLED / "rates.json").read_text())
    found = []
    for path in sorted(path.parent for path in BUNDLED.glob("*/model.json")):
        found.append(
            {
                "name": path.name,
                "default": path.name == BUNDLED_DEFAULT,
                "hash": json.loads((path / "model.json").read_text())["hash"],
                "bytes": sum((path / name).stat().st_size for name in FILES),
                **measured[path.name],
            }
        )
    return found


def check_export_path(path: str | Path) -> Path:
    """The real path, if `export_model` may write there: nothing is there, or a codec model.

    A model that a killed `export_model` had put aside, for one that never came, is put back.

    Raises:
      InputError: something else is there, or a model with other files beside it; replacing it would
        lose them.
    """
    path = place(path)
    if on_disk(path):
        path = Path(os.path.realpath(path))
        _put_back(path)
    if path.exists() and (found := foreign(path)):
        raise InputError(f"{path}: expected nothing or a codec model to replace, found {found}")
    return path


def _put_back(path: Path) -> None:
    """Puts back what a killed `replacing` put aside, if there is nothing at the path."""
    if not path.exists():
        aside = sorted(path.parent.glob(f".{glob.escape(path.name)}.*.old"))
        for old in [old for old in aside if not foreign(old)][:1]:
            os.rename(old, path)


def foreign(path: Path) -> str:
    """What a path has that is not an exported codec model and nothing else; "" for one."""
    if not path.is_dir():
        return "another file"
    names = {entry.name for entry in path.iterdir() if entry.is_file()}
    others = sorted({entry.name for entry in path.iterdir()} - set(FILES))
    if others:
        return f"a folder with {others[0]} in it"
    if not on_disk(path) and FILES[0] not in names:
        return ""  # the upload of a first model, cut off before its last file
    if missing := [name for name in _ALWAYS if name not in names]:
        return f"a folder without {missing[0]}"
    try:
        header = json.loads((path / "model.json").read_text())
        ours = (
            isinstance(header["format_version"], int)
            and isinstance(header["arguments"], dict)
            and re.fullmatch("[0-9a-f]{64}", header["hash"])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        ours = False
    return "" if ours else "a folder with another model.json"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new folder to write the files to, which is at `path` once the block ends without an error.

    On a disk, what `check_export_path` found there is put aside for the moment between two renames,
    then removed; a process that is killed in that moment leaves it for the next
    `check_export_path`. In an object store the files are replaced one by one, model.json last: in
    the moments before that, arrays and hash do not fit, which readers refuse.

    Raises:
      InputError: something else is there by now.
    """
    local = on_disk(path)
    if local:
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent if local else None
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=beside))
    try:
        yield staging
        staging.chmod(0o755)
        check_export_path(path)  # again: it took seconds to fill the new folder
        if local:
            _swap(staging, path)
        else:
            upload(staging, reversed(FILES), path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _swap(staging: Path, path: Path) -> None:
    """Renames a folder to a path; the files of the model that was there are removed."""
    old = staging.with_name(staging.name + ".old")
    if path.exists():
        os.rename(path, old)
    try:
        os.rename(staging, path)
    except BaseException:
        if old.exists():
            os.rename(old, path)
        raise
    # File by file: should something be there that is not ours, it stays, and so its folder.
    with contextlib.suppress(OSError):
        for name in FILES:
            (old / name).unlink(missing_ok=True)
        old.rmdir()
