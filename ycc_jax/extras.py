"""Packages that only some commands need, and the sentence where one is missing."""

import importlib.util

from ycc_jax.errors import MissingBackendError


def require(extra: str, *packages: str) -> None:
    """Raises unless the packages are installed; imports none of them.

    Args:
      extra: of setup.cfg, that brings them.
      packages: by the names that they are imported by.

    Raises:
      MissingBackendError: some are not; the message names them and the command that helps.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingBackendError(
            f"expected the packages {', '.join(packages)}, found no {', '.join(missing)}: "
            f"pip install 'ycc-jax[{extra}]'"
        )
