"""Which code runs the range coder: TensorFlow Compression's (TFC's) own operations, or ours.

The bytes are the same, and so is what either says of damaged ones. "tfc" is TFC's, from
tensorflow-compression-ops, which the extra [tfc] brings; "native" is `range_kernels`, compiled by
numba. "auto" is what the environment variable YCC_CODER names; where it is not set, "tfc" if it is
installed, for who installs the extra wants the real operations; else "native".

Whether it is installed is found without importing it. TensorFlow takes 3 to 5 s to import, which
only a process that codes with it pays, once, before its first picture is coded. Where "auto" finds
TFC installed and it does not load, as with another version of TensorFlow, it is "native", with a
warning; who asks for "tfc", by the variable too, gets an error.
"""

import contextlib
import functools
import importlib.util
import os
import sys
import threading
import types
import warnings
from collections.abc import Iterator

from ycc_jax.errors import InputError, MissingBackendError

VARIABLE = "YCC_CODER"
NAMES = ("tfc", "native")
_INSTALL = "pip install 'ycc-jax[tfc]'"
_loading = threading.Lock()


@functools.cache
def available_backends() -> tuple[str, ...]:
    """The names that are installed, "native" first, as a tuple. Imports nothing."""
    modules = ("tensorflow", "tensorflow_compression_ops")
    found = all(importlib.util.find_spec(module) for module in modules)
    return ("native", "tfc") if found else ("native",)


def chosen(backend: str = "auto") -> str:
    """The name that `backend` stands for here, "native" or "tfc". Imports nothing.

    Args:
      backend: "auto", "native" or "tfc".

    Raises:
      InputError: another name, or YCC_CODER has another value than "native" or "tfc".
      MissingBackendError: "tfc" is asked for, and not installed.
    """
    if backend not in ("auto", *NAMES):
        raise InputError(f'backend must be "auto", "native" or "tfc", found {backend!r}')
    asked = _asked(backend)
    if asked == "tfc" and "tfc" not in available_backends():
        raise MissingBackendError(
            f"expected TensorFlow and tensorflow-compression-ops for the coder tfc, found none: "
            f"{_INSTALL}"
        )
    return asked or available_backends()[-1]


def operations(backend: str = "auto") -> types.ModuleType | None:
    """TFC's operations, imported, or None for the native coder.

    Raises:
      As `chosen`; and MissingBackendError: "tfc" is asked for, and cannot be loaded.
    """
    if chosen(backend) == "native":
        return None
    with _loading:  # of threads that code, the first imports
        found = _import_tfc()
    if not isinstance(found, str):
        return found
    if _asked(backend):
        raise MissingBackendError(f"expected a coder tfc that loads, found {found}")
    warnings.warn(
        f"the coder is native, with the same bytes, for tfc is installed and does not load: {found}"
        f" ({VARIABLE}=native spares the attempt)",
        stacklevel=1,  # wherever from, it is shown once
    )
    return None


def _asked(backend: str) -> str | None:
    """The name that the caller or else the environment asks for; None: none."""
    if backend != "auto":
        return backend
    name = os.environ.get(VARIABLE) or None
    if name not in (None, *NAMES):
        raise InputError(f"expected {VARIABLE} to be native or tfc, found {name!r}")
    return name


@functools.cache
def _import_tfc() -> types.ModuleType | str:
    """TFC's operations, or why they cannot be loaded."""
    started = "tensorflow" in sys.modules
    try:
        with _silent():
            import tensorflow as tf

            if not started:  # else TensorFlow would reserve the GPU memory that JAX needs
                tf.config.set_visible_devices([], "GPU")
            import tensorflow_compression_ops
    except Exception as error:  # TensorFlow's own class where its version is another
        reason = " ".join(str(error).split())
        return f"TensorFlow of another version than {_INSTALL} brings, most likely: {reason}"
    return tensorflow_compression_ops


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """TensorFlow says at start which libraries of GPUs it does without, as errors, too: of no use
    to who codes a picture. A level that the user sets remains; "1" is JAX's own."""
    name = "TF_CPP_MIN_LOG_LEVEL"
    before = os.environ.get(name)
    if before in (None, "1"):
        os.environ[name] = "3"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
