"""Every error that ycc_jax raises on purpose; the command line exits with the class's `exit_code`.

A message is one sentence that says what was expected and what was found.
"""

import importlib.util


class YccError(Exception):
    """Base of the errors below: catch it to catch them all."""

    exit_code = 1


class InputError(YccError, ValueError):
    """An argument or a picture is unusable: unreadable, unsupported mode, value out of range."""

    exit_code = 2


class MissingBackendError(YccError, ImportError):
    """A package that the call needs is not installed: of an extra (`require`), or PyTorch."""

    exit_code = 2


class CorruptStreamError(YccError):
    """The bytes are not a whole, undamaged `.ycc` stream of a version this library reads."""

    exit_code = 3


class ModelError(YccError):
    """The model is missing, or is not the one (architecture, weights) the stream was made with."""

    exit_code = 4


class LimitError(YccError):
    """A size is above the limit that the caller set; a higher limit lets it pass."""

    exit_code = 5


def require(extra: str, *packages: str) -> None:
    """Raises unless packages are installed; imports none of them.

    Args:
      extra: of setup.cfg, that brings them.
      packages: by the names that they are imported by.

    Raises:
      MissingBackendError: some are not; the message names them and the command that helps.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingBackendError(
            f"expected {', '.join(packages)} to be installed, found no {', '.join(missing)}: "
            f"pip install 'ycc-jax[{extra}]'"
        )
