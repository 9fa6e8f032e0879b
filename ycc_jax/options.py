"""Options that commands of several files have. Only click is imported here."""

import click

from ycc_jax.entropy import backends


def _installed(_context, _parameter, value: str | None) -> str:
    """The `backend` of an option's value; an error now, not after the seconds that JAX takes."""
    backends.chosen(value or "auto")
    return value or "auto"


coder_option = click.option(
    "--coder",
    "backend",
    type=click.Choice(backends.NAMES),
    callback=_installed,
    help="Range coder, TensorFlow Compression's own or ours; the bytes are the same. Default: what "
    f"{backends.VARIABLE} says in the environment, else tfc where the extra [tfc] is installed.",
)
