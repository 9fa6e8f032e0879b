"""The CSV of an evaluation: a line a picture and quality, written as soon as it is measured.

It is also what an interrupted evaluation continues from. All its lines are of one codec with one
set of settings, named in the first two columns; a picture is known by its name and checksum, so
others of the same name are no mistake.
"""

import csv
import io
import math
import os
from collections.abc import Iterator
from typing import Any, TextIO

from ycc_jax.errors import InputError
from ycc_jax.metrics import psnr
from ycc_jax.pictures import files

DISTORTION = (*psnr.KEYS, "ms-ssim-rgb", "ms-ssim-y")
DIRECTIONS = ("encoding", "decoding")
PARTS = ("compile", "transform", "entropy")
TIMES = tuple(f"{d}_{part}time" for d in DIRECTIONS for part in ("", *(f"{p}_" for p in PARTS)))
# Names of files need not be UTF-8.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"
_TEXTS = ("codec", "settings", "image", "crc32")
COLUMNS = (*_TEXTS, "quality", "width", "height", "bytes", "bpp", *DISTORTION, *TIMES)


def key(row: dict) -> tuple:
    """What makes a line one measurement."""
    return row["image"], row["crc32"], row["quality"]


def read(path: str | os.PathLike, codec: str, settings: str) -> dict[tuple, dict]:
    """The lines of a CSV by `key`; numbers as floats, empty ones as None. No file: no lines.

    Raises:
      InputError: another kind of file, or of another codec or other settings.
    """
    if not os.path.exists(path):
        return {}
    data = files.read_bytes(path)
    elsewhere = "move it away or name another -o"
    try:
        lines = list(_whole_lines(data))
        header, table = lines[0] if lines else COLUMNS, lines[1:]
    except csv.Error as error:
        raise InputError(f"{path}: expected a CSV, found none: {error}; {elsewhere}") from error
    # A torn header is ours only if it is the beginning of one.
    torn = not lines and not ",".join(COLUMNS).encode().startswith(data)
    if tuple(header) != COLUMNS or torn:
        found = "other columns" if lines else repr(data[:40])
        raise InputError(f"{path}: expected a CSV of `ycc eval`, found {found}; {elsewhere}")
    rows = {}
    for number, values in enumerate(table, 2):
        try:
            row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
            for column in COLUMNS[len(_TEXTS) :]:
                row[column] = float(row[column]) if row[column] else None
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: expected a line of {len(COLUMNS)} values, texts then "
                f"numbers, found {','.join(values)[:80]!r}; {elsewhere}"
            ) from error
        if (row["codec"], row["settings"]) != (codec, settings):
            raise InputError(
                f"{path}: expected measurements of {codec} ({settings}), found those of "
                f"{row['codec']} ({row['settings']}); {elsewhere}"
            )
        if math.inf not in row.values():  # as once written of exact planes: measured again
            rows[key(row)] = row
    return rows


def open_to_append(path: str | os.PathLike) -> TextIO:
    """The CSV, with a header, after its last whole line: a stop may have torn the next."""
    if not os.path.exists(path) or b"\n" not in files.read_bytes(path):
        with open(path, "w", newline="", encoding=_ENCODING, errors=_ERRORS) as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)
    else:
        data = files.read_bytes(path)
        os.truncate(path, data.rindex(b"\n") + 1)
    return open(path, "a", newline="", encoding=_ENCODING, errors=_ERRORS)


def append(file: TextIO, row: dict) -> None:
    """Writes one line at once."""
    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
    file.flush()


def _whole_lines(data: bytes) -> Iterator[list[str]]:
    text = data[: data.rfind(b"\n") + 1].decode(_ENCODING, _ERRORS)
    return csv.reader(io.StringIO(text, newline=""), strict=True)
