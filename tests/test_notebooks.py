"""The notebooks: they run, made small by their switch, and are committed without outputs."""

import configparser
import json
import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({})"
WIDGET = "application/vnd.jupyter.widget-view+json"
# What shows that a notebook did its work: a pattern in what it prints, whose groups are bytes that
# were expected and written; and how many pictures, or sliders with one.
SHOWS = {
    "codec_tour": (r"y \(8, 8, 320\): expected ([\d,]+) bytes, ([\d,]+) in the file", 7),
    "train_on_colab_tpu": (r"Resuming at step 3 of 6\.\n(?s:.*)in runs/first/model: use it by", 2),
    "your_own_module": (r"(\d+) bytes expected, (\d+) written", 2),
}


def cells(path):
    return json.loads(path.read_text())["cells"]


def colab(path):
    """Where the badge leads: to the notebook in the repository that `url` of setup.cfg names; or as
    long as that names none to Colab, which asks for a notebook."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    address = "https://colab.research.google.com/"
    url = setup["metadata"].get("url", "")
    if url:
        address += f"{url.removeprefix('https://').removesuffix('/').replace('.com', '', 1)}/blob"
        address += f"/main/notebooks/{path.name}"
    return address


def test_these_are_the_notebooks():
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed(path):
    first, *others = cells(path)
    assert "".join(first["source"]).splitlines()[0] == BADGE.format(colab(path))
    assert first["cell_type"] == "markdown"
    for cell in others:
        assert not cell.get("outputs") and not cell.get("execution_count"), "strip the outputs"
        assert not cell["metadata"], "strip the metadata"
    text = path.read_text()
    assert not re.search(r"/(home|root|Users|tmp)/", text), "a path of a machine"
    assert "colab_tpu" not in text and "YCC_NOTEBOOK_TINY" in text


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, tmp_path_factory, monkeypatch):
    reason = "extra [notebooks]; the nox session newest has it"
    pytest.importorskip("ipykernel", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    monkeypatch.setenv("YCC_NOTEBOOK_TINY", "1")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this Python
    # Compiling is most of the time: without optimisation it takes a fraction.
    xla = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    monkeypatch.setenv("XLA_FLAGS", xla)
    if jax.__version_info__ >= (0, 10):  # see ycc_jax.compilation_cache
        cache = tmp_path_factory.getbasetemp() / "notebooks"
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    notebook = nbformat.read(path, 4)
    client = nbclient.NotebookClient(
        notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pattern, pictures = SHOWS[path.stem]
    found = re.search(pattern, "".join(output.get("text", "") for output in outputs))
    assert found
    if found.groups():
        expected, written = (int(number.replace(",", "")) for number in found.groups())
        assert written == pytest.approx(expected, rel=0.1, abs=100)
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") + kinds.count(WIDGET) == pictures
