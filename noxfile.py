"""Checks of every change: `python -m nox`, or one session: `nox -s newest -- tests/test_color.py`.

`newest` has no TensorFlow and whatever versions pip finds today; `tfc` has the oldest JAX that we
support and the real TensorFlow Compression coder. Both test the installed wheel, not the checkout.
"""

import shutil
import sys

import nox

nox.options.sessions = ["lint", "newest", "tfc"]

RUFF = "ruff==0.17.6"  # the formatter's style changes between releases; also in pre-commit's file
# TensorFlow 2.17 has no wheel for Python 3.13.
TFC_PYTHON = None if sys.version_info < (3, 13) else "3.12"


@nox.session
def lint(session):
    """Style, without changing anything."""
    session.install(RUFF)
    session.run("ruff", "format", "--check", "--diff", ".")
    session.run("ruff", "check", ".")


@nox.session
def newest(session):
    """The tests on the newest JAX, without TensorFlow."""
    install(session, ".[test]")
    test(session)


@nox.session(python=TFC_PYTHON)
def tfc(session):
    """The tests on JAX 0.5.3 beside TensorFlow Compression."""
    install(session, ".[test,tfc]")
    # Fails here if the real coder does not load; the tests would only skip it.
    session.run("python", "-c", "import tensorflow_compression_ops", silent=True)
    test(session)


def install(session, package):
    """Installs the checkout as a wheel. Build leftovers would put deleted modules into it."""
    shutil.rmtree("build", ignore_errors=True)
    session.install(package)


def test(session):
    """Runs pytest on the installed package: the safe path keeps the checkout out of sys.path."""
    arguments = session.posargs or ["--durations=10"]
    session.run("pytest", *arguments, env={"PYTHONSAFEPATH": "1"})
