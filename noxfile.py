"""Checks of every change: `python -m nox`, or one session: `nox -s newest -- tests/test_color.py`.

`newest` has the newest Python, whatever versions pip finds today, and no TensorFlow; `tfc` has the
oldest Python and JAX that we support, the real TensorFlow Compression coder, and an old pip; `base`
has no extras. All test the installed wheel, not the checkout. `docs` makes the documentation site.
By hand: `package`, what a release uploads; `compressai`, our models against theirs.
"""

import glob
import os
import shutil
import subprocess
import sys

import nox

nox.options.sessions = ["lint", "newest", "tfc", "base", "docs"]

MYPY = "mypy==2.4.1"
RUFF = "ruff==0.17.6"  # the formatter's style changes between releases; also in pre-commit's file


def python(*versions):
    """The first of these versions that is on PATH or in pyenv; else this Python, and a line."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    for version in versions:
        found = [shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
        found += sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"))
        for path in filter(None, found):
            # pyenv's own commands of that name are there also where they do not run.
            test = [path, "-c", "import ssl, sqlite3, zlib"]
            if os.path.exists(path) and not subprocess.run(test, capture_output=True).returncode:
                return path
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"No Python {' or '.join(versions)} found; taking Python {here}.", file=sys.stderr)
    return None


NEWEST = python("3.13")
# TensorFlow 2.17 has no wheel for Python 3.13.
OLDEST = python("3.11", "3.12")


@nox.session
def lint(session):
    """Style and types, without changing anything."""
    session.install(RUFF)
    session.run("ruff", "format", "--check", "--diff", ".")
    session.run("ruff", "check", ".")
    # mypy follows JAX's and NumPy's own types: they are installed beside it.
    install(session, ".[report]", MYPY)
    session.run("mypy")


@nox.session(python=NEWEST)
def newest(session):
    """The tests on the newest JAX and Python, without TensorFlow, installed by the newest pip."""
    session.install("--upgrade", "pip")
    install(session, ".[test,gcs,notebooks]")
    # Fails here if one is missing; the tests that need it would only skip.
    needed = "import flatbuffers, gcsfs, ipykernel, nbclient, nbformat, selenium"
    session.run("python", "-c", needed, silent=True)
    test(session)


@nox.session(python=OLDEST)
def tfc(session):
    """The tests on JAX 0.5.3 beside TensorFlow Compression, installed by the pip of Python 3.11."""
    session.install("pip==23.2.1")
    install(session, ".[test,tfc]")
    # Fails here if the real coder does not load; the tests would only skip it.
    session.run("python", "-c", "import tensorflow_compression_ops", silent=True)
    # Slow ones are about training, which has nothing to do with the coder; `newest` runs them.
    test(session, "-m", "not slow")


@nox.session(python=NEWEST)
def base(session):
    """Without extras: that the codec works, and that what else is there says what it needs."""
    install(session, ".", "pytest", "pytest-xdist")
    test(session, "tests/test_extras.py", "tests/test_cli.py")


@nox.session(python=NEWEST)
def docs(session):
    """The site, in site/: every warning is an error."""
    install(session, ".[docs]")
    shutil.rmtree("site", ignore_errors=True)
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    session.run("sphinx-build", *strict, "docs", "site", env={"PYTHONSAFEPATH": "1"})


@nox.session(python=NEWEST, default=False)
def package(session):
    """A wheel and an sdist, in dist/, as an index would take them; the wheel from the sdist."""
    session.install("build", "twine")
    for folder in ("build", "dist"):
        shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build")
    packages = sorted(glob.glob("dist/*"))
    session.run("twine", "check", "--strict", *packages)
    session.install(*(path for path in packages if path.endswith(".whl")))
    session.run("ycc", "--version", env={"PYTHONSAFEPATH": "1"})


@nox.session(python=OLDEST, default=False)
def compressai(session):
    """Our models against CompressAI's, at full size, on the same weights: minutes; by hand.

    The default tests check against arrays that `tests/reference/make_compressai.py` wrote.
    """
    peers = ["torch==2.13.0", "numpy<2", "jax<0.6", "scipy", "einops", "pandas", "matplotlib"]
    peers += ["pytorch-msssim", "requests", "aiohttp", "fsspec", "jinja2", "psutil", "pyparsing"]
    install(session, ".[test]", *peers, "xxhash", "tqdm")
    # They ask for torchvision, of which only the name is needed (the scripts provide it).
    session.install("--no-deps", "compressai==1.2.8", "torch-geometric")
    safe = {"PYTHONSAFEPATH": "1"}
    session.run("pytest", "tests/test_compressai.py", "tests/test_ms_ssim.py", env=safe)
    session.run("python", "tests/reference/check_compressai.py", env=safe)


def install(session, *packages):
    """Installs the checkout as a wheel. Build leftovers would put deleted modules into it."""
    shutil.rmtree("build", ignore_errors=True)
    session.install(*packages)


def test(session, *selection):
    """Runs pytest on the installed package: the safe path keeps the checkout out of sys.path."""
    # Two processes, as one leaves cores idle while XLA compiles; a file's tests share its fixtures.
    together = ["-n", "2", "--dist", "loadfile"]
    arguments = session.posargs or [*together, "--durations=10", *selection]
    session.run("pytest", *arguments, env={"PYTHONSAFEPATH": "1"})
