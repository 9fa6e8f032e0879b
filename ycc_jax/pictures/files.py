"""Whole files in and out, where "-" is standard input or output and an output appears at once."""

import contextlib
import mmap
import os
import stat
import sys
from typing import BinaryIO

from ycc_jax.errors import InputError, LimitError
from ycc_jax.vocabulary import MAX_FILE_BYTES, PLANES_SUFFIXES

_CHUNK_BYTES = 2**24


def is_planes_file(path: str | os.PathLike) -> bool:
    """Whether the name ends in one of `PLANES_SUFFIXES`, in any case."""
    return os.path.splitext(path)[1].lower() in PLANES_SUFFIXES


def read_bytes(path: str | os.PathLike, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of the file, or all of standard input; never more than `max_bytes`.

    Raises:
        InputError: the file cannot be read.
        LimitError: it has more than `max_bytes`, or no end.
    """
    if path == "-":
        return read_stream("standard input", sys.stdin.buffer, max_bytes)
    try:
        with open(path, "rb") as file:
            return read_stream(path, file, max_bytes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_stream(name: object, stream: BinaryIO, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All that is left of the stream; errors, which call it `name`, as of `read_bytes`."""
    chunks, size = [], 0
    # In parts, for one read of so many bytes would allocate them all.
    while chunk := stream.read(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise LimitError(
                f"{name}: expected at most {max_bytes} bytes, found more; "
                "a higher --max-pixels (max_pixels) lets larger files pass"
            )
    return b"".join(chunks)


def map_bytes(path: str | os.PathLike, max_bytes: int = MAX_FILE_BYTES) -> bytes | mmap.mmap:
    """As `read_bytes`, but of a regular file only what is used is read: it may be a film, of any
    size.

    Raises:
        InputError: the file cannot be read.
        LimitError: it is not a regular file, and has more than `max_bytes`, or no end.
    """
    if path == "-" or not os.path.isfile(path) or not os.path.getsize(path):
        return read_bytes(path, max_bytes)
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
