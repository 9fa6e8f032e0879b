"""Whole files in and out, where "-" is standard input or output and an output appears at once."""

import contextlib
import errno
import hashlib
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


def is_stream(path: str | os.PathLike) -> bool:
    """Whether it is a pipe, a device or an open file, which `write_bytes` does not replace."""
    known = path == "-" or _descriptor(path) is not None
    return known or (os.path.exists(path) and not os.path.isfile(path))


def check_target(path: str) -> None:
    """Tells before the work what `write_bytes` would fail at after it.

    Raises:
      InputError: not the name of a file in an existing folder.
      OSError: a stream that is closed, or a name that is too long.
    """
    if path == "-":
        if sys.stdout is None:
            closed = "expected it open, found it closed"
            raise OSError(errno.EBADF, closed, "standard output")
    elif (descriptor := _descriptor(path)) is not None:
        try:
            os.write(descriptor, b"")
        except OSError as error:
            error.filename = path
            raise
    elif not os.path.basename(path) or os.path.isdir(path):
        found = "a folder" if os.path.isdir(path) else "none"
        raise InputError(f"{path or repr(path)}: expected a file name, found {found}")
    elif not os.path.isdir(folder := os.path.dirname(os.path.realpath(path))):
        raise InputError(f"{path}: expected an existing folder, found no {folder}")
    else:
        with contextlib.suppress(FileNotFoundError):
            os.stat(path)


def read_bytes(path: str | os.PathLike, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of the file, or all of standard input; never more than `max_bytes`.

    Raises:
      InputError: the file cannot be read.
      LimitError: it has more than `max_bytes`, or no end.
    """
    if path == "-":
        if sys.stdin is None:
            raise InputError("standard input: expected it open, found it closed")
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

    A symbolic link is followed. A device, a pipe, or an open file of this process (/dev/stdout,
    /dev/fd/63) is written to, not replaced. A new file gets the permissions of the process
    (umask), an existing one keeps its own.

    Raises:
      OSError: the file cannot be written; `filename` is its name, whatever file it was about.
    """
    try:
        if path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        descriptor = _descriptor(path)
        mode = os.stat(path).st_mode if os.path.exists(path) else None
        if descriptor is not None or not (mode is None or stat.S_ISREG(mode)):
            with open(path if descriptor is None else os.dup(descriptor), "wb") as file:
                file.write(data)
            return
        folder, name = os.path.split(os.path.realpath(path))
        # Whatever the first way cannot do here, the second one tries, and tells what is wrong.
        with contextlib.suppress(AttributeError, NotImplementedError, OSError):
            return _link_nameless(folder, name, data, mode)
        _rename_named(folder, name, data, mode)
    except OSError as error:
        error.filename, error.filename2 = "standard output" if path == "-" else path, None
        raise


def _descriptor(path: str | os.PathLike) -> int | None:
    """The open file of this process that a name as /dev/stdout or /dev/fd/63 stands for.

    To open it by its name would begin again at its first byte, and lose what others wrote there.
    """
    path = os.fspath(path)
    folders = ("/dev/fd", f"/proc/{os.getpid()}/fd")
    for _ in range(40):  # as many links as Linux follows
        folder, name = os.path.split(path)
        if name.isdecimal() and os.path.realpath(folder) in folders:
            return int(name)
        if not os.path.islink(path):
            break
        path = os.path.join(folder, os.readlink(path))
    return None


def _link_nameless(folder: str, name: str, data: bytes, mode: int | None) -> None:
    """Write a file that has no name before it is whole: a killed process leaves nothing (Linux).

    A new name is given at once. To replace a file it needs a name for the moment before it is
    renamed: the same each time, so that the next call removes what a kill just then has left.

    Raises:
      OSError, AttributeError, NotImplementedError: the system or the file system cannot do it.
    """
    # Short, for `name` may have all the bytes that a name can have.
    draft = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"
    with contextlib.ExitStack() as stack:
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, where)
        descriptor = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=where)
        file = stack.enter_context(open(descriptor, "wb"))
        _fill(file, data)
        if mode is not None:
            os.fchmod(descriptor, stat.S_IMODE(mode))

        def link(name):
            os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=where, follow_symlinks=True)

        if mode is None:
            with contextlib.suppress(FileExistsError):
                return link(name)
        for _ in range(9):
            try:
                link(draft)
                return os.replace(draft, name, src_dir_fd=where, dst_dir_fd=where)
            except (FileExistsError, FileNotFoundError):
                # Left by a kill, or of another process that writes the same file now. Each of them
                # is whole: whoever finds its own gone tries again, and the last one stays.
                pass
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=where)
        raise BlockingIOError(errno.EAGAIN, "others keep writing the same file")


def _rename_named(folder: str, name: str, data: bytes, mode: int | None) -> None:
    """Write a temporary file, then rename it: everywhere; a killed process may leave the former."""
    # In the same folder, for a rename is atomic only within one file system. Not from `tempfile`,
    # whose files are private to the user whatever the umask says.
    temporary = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            _fill(file, data)
        if mode is not None:
            os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _fill(file, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
