"""Every error that ycc_jax raises on purpose; the command line exits with the class's `exit_code`.

A message is one sentence that says what was expected and what was found.
"""


class YccError(Exception):
    """Base of the errors below: catch it to catch them all."""

    exit_code = 1


class InputError(YccError, ValueError):
    """An argument or a picture is unusable: unreadable, unsupported mode, value out of range."""

    exit_code = 2


class MissingBackendError(YccError, ImportError):
    """A package that the call needs is not installed: the range coder's backend, or PyTorch."""

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
