"""Whole files in and out, where "-" is standard input or output and an output appears at once."""

import contextlib
import mmap
import os
import stat
import sys

from ycc_jax.errors import InputError
from ycc_jax.vocabulary import PLANES_SUFFIXES


def is_planes_file(path: str | os.PathLike) -> bool:
    """Whether the name ends in one of `PLANES_SUFFIXES`, in any case."""
    return os.path.splitext(path)[1].lower() in PLANES_SUFFIXES


def read_bytes(path: str | os.PathLike) -> bytes:
    """The content of the file, or all of standard input.

    Raises:
        InputError: the file cannot be read.
    """
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def map_bytes(path: str | os.PathLike) -> bytes | mmap.mmap:
    """As `read_bytes`, but of a regular file only what is used is read: it may be a film.

    Raises:
        InputError: the file cannot be read.
    """
    if path == "-" or not os.path.isfile(path) or not os.path.getsize(path):
        return read_bytes(path)
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write the file whole or not at all: a failure leaves what was there before.

    A symbolic link is followed, and a device or pipe is written to, not replaced. A new file
    gets the permissions of the process (umask), an existing one keeps its own.

    Raises:
        OSError: the file cannot be written.
    """
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = os.path.realpath(path)
    mode = os.stat(target).st_mode if os.path.exists(target) else None
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as file:
            file.write(data)
        return
    # In the same folder, for a rename is atomic only within one file system. Not from `tempfile`,
    # whose files are private to the user whatever the umask says.
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:200]}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = path  # the name the caller knows, not the temporary one
        raise
