"""Which range coder runs: what is asked for, what is installed, and when TensorFlow is imported."""

import os
import subprocess
import sys
import types

import pytest

from ycc_jax import cli
from ycc_jax.codec import Codec
from ycc_jax.entropy import backends
from ycc_jax.entropy.range_coder import Decoder, encode
from ycc_jax.entropy.tables import tables_from_pmf
from ycc_jax.errors import InputError, MissingBackendError


@pytest.fixture
def installed(monkeypatch):
    """Sets what is installed, and YCC_CODER if it is given."""

    def set_both(tfc, variable=None):
        found = ("native", "tfc") if tfc else ("native",)
        monkeypatch.setattr(backends, "available_backends", lambda: found)
        if variable is None:
            monkeypatch.delenv("YCC_CODER", raising=False)
        else:
            monkeypatch.setenv("YCC_CODER", variable)

    return set_both


@pytest.fixture
def broken(installed, monkeypatch):
    """A TensorFlow with which the operations do not load: as each version but 2.17."""
    fake = types.ModuleType("tensorflow")
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    monkeypatch.setitem(sys.modules, "tensorflow_compression_ops", None)
    backends._import_tfc.cache_clear()
    installed(tfc=True)
    yield
    backends._import_tfc.cache_clear()


@pytest.mark.parametrize(
    ("tfc", "variable", "auto"),
    [
        (False, None, "native"),
        (True, None, "tfc"),
        (True, "", "tfc"),
        (True, "native", "native"),
        (True, "tfc", "tfc"),
        (False, "native", "native"),
    ],
)
def test_auto_is_the_variable_else_what_is_installed(installed, capsys, tfc, variable, auto):
    installed(tfc, variable)
    assert backends.chosen() == backends.chosen("auto") == auto
    assert backends.chosen("native") == "native"
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"coder: {auto}"


def test_what_is_not_there_is_a_sentence(installed, capsys, tiny_codec):
    installed(tfc=False)
    with pytest.raises(InputError, match="found 'ans'"):
        backends.chosen("ans")
    for asked, variable in (("tfc", None), ("auto", "tfc")):
        installed(False, variable)
        with pytest.raises(MissingBackendError, match=r"pip install 'ycc-jax\[tfc\]'") as caught:
            Codec(tiny_codec.model, backend=asked)
        assert isinstance(caught.value, ImportError)
    installed(True, "TFC")
    assert backends.chosen("native") == "native"  # who says so asks no variable
    with pytest.raises(InputError, match="expected YCC_CODER to be native or tfc, found 'TFC'"):
        Codec(tiny_codec.model)


@pytest.mark.parametrize("command", ["encode", "decode", "verify", "eval", "report"])
def test_commands_refuse_before_they_read_anything(installed, capsys, command):
    installed(tfc=False)
    required = {"eval": ["--images", "x", "-o", "x.json"], "report": ["none", "-o", "x.html"]}
    rest = required.get(command, ["none"])
    assert cli.main([command, "--coder", "tfc", *rest]) == 2
    expected = "ycc: error: expected TensorFlow and tensorflow-compression-ops for the coder tfc"
    assert capsys.readouterr().err.startswith(expected)
    installed(True, "ans")
    assert cli.main([command, *rest]) == 2
    assert capsys.readouterr().err.startswith("ycc: error: expected YCC_CODER to be native or tfc")


def test_one_that_does_not_load_is_a_warning_or_for_who_asks_an_error(
    broken, installed, tiny_codec, photo
):
    rows = tables_from_pmf([[0.5, 0.4]], [0])
    with pytest.warns(UserWarning, match="the coder is native, .* does not load: TensorFlow of an"):
        assert encode([0, 1, 9], [0] * 3, rows) == encode([0, 1, 9], [0] * 3, rows, "native")
    tfc = Codec(tiny_codec.model, backend="tfc")  # nothing is imported yet
    with pytest.raises(MissingBackendError, match="expected a coder tfc that loads, found"):
        tfc.encode(photo)
    installed(True, "tfc")
    with pytest.raises(MissingBackendError, match="expected a coder tfc that loads, found"):
        Decoder(b"", rows)


@pytest.mark.skipif(
    "tfc" not in backends.available_backends(),
    reason="TensorFlow Compression is not installed; the other test environment has it",
)
def test_tensorflow_is_imported_by_coding_alone_and_says_nothing():
    code = """if True:
        import os, sys
        from ycc_jax import cli
        from ycc_jax.entropy import backends, range_coder, tables
        cli.main(["--version"])
        rows = tables.tables_from_pmf([[0.5, 0.4]], [0])
        native = range_coder.encode([0, 1, 9], [0, 0, 0], rows, "native")
        print("tensorflow" in sys.modules)
        assert range_coder.encode([0, 1, 9], [0, 0, 0], rows) == native
        print("tensorflow_compression_ops" in sys.modules, "TF_CPP_MIN_LOG_LEVEL" in os.environ)
    """
    unset = ("YCC_CODER", "TF_CPP_MIN_LOG_LEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[1:] == ["coder: tfc", "False", "True False"]
    assert done.stderr == ""
