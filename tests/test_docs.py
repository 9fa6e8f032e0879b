"""The documentation prints what it says, its code runs, and its commands exist."""

import contextlib
import dataclasses
import importlib
import io
import re
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner

from ycc_jax import registry
from ycc_jax.cli import cli
from ycc_jax.models import HyperpriorModel, build

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
MODEL = (DOCS / "model.md").read_text()


def code(page, language="python"):
    return "\n".join(re.findall(rf"^```{language}\n(.*?)```", page.read_text(), re.M | re.S))


def run(text):
    """What it leaves, and what it prints."""
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(text, names)
    return names, out.getvalue()


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", MODEL, re.M | re.S).group(1)


def shown(text):
    """The rows of the table, by their first cell; the heading has none."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = [row for row in rows if row and row[0].isalpha()]
    return {name: [float(x) for x in cells] for name, *cells in rows}


def printed(text):
    """What the Python in it prints, in the same form."""
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    rows = [line.split() for line in run(block)[1].splitlines()]
    return {name: [float(x) for x in cells] for name, *cells in rows}


def test_the_ceiling_of_half_size_chroma():
    text = section("Chroma has half the size inside")
    table = shown(text)
    assert len(table) == 4
    for name, cells in printed(text).items():
        assert cells == pytest.approx(table[name], abs=0.011), name


@pytest.mark.slow
def test_the_rate_at_each_weight_of_chroma():
    text = section("`--chroma` changes the rate, too")
    table = shown(text)
    assert len(table) == 4
    for name, cells in printed(text).items():
        assert cells == pytest.approx(table[name], abs=0.003) and cells == sorted(cells), name


def test_every_model_argument_is_documented():
    arguments = {field.name for field in dataclasses.fields(HyperpriorModel)} - {"parent", "name"}
    for text in (build.__doc__, HyperpriorModel.__doc__):
        assert arguments <= set(re.findall(r"\w+", text))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["faq", "modules", "python"])
def test_python_of_a_page_runs(page):
    """In one go, as a reader types it; the pages assert what they say."""
    kinds = registry.TRANSFORMS, registry.CONTEXTS, registry.LIKELIHOODS
    with contextlib.ExitStack() as stack:
        for kind in kinds:  # what a page registers goes with it
            stack.enter_context(mock.patch.dict(kind))
        run(code(DOCS / f"{page}.md"))


@pytest.mark.slow
def test_the_tutorial():
    text = (DOCS / "tutorial.py").read_text()
    assert len(text.splitlines()) <= 40
    names, printed = run(text)
    assert printed
    out, steps = names["out"], names["model"].M
    assert out["element_bits_y"].shape == (4, 4, 4, steps)
    assert out["element_bits_y"].sum() == pytest.approx(float(out["bits_y"].sum()), rel=1e-5)
    header = names["ycc_jax"].info(names["file"])
    assert (header["width"], header["height"]) == names["photo"].shape[:2]


def test_pages_with_code_are_run():
    # tests/test_readme.py; above; tests/test_transformations.py
    elsewhere = {"README", "model", "training", "transformations"}
    assert {page.stem for page in PAGES if code(page)} == {"faq", "modules", "python"} | elsewhere


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_exist(page):
    text = page.read_text()
    # Blocks of code, and indented ones; a command may go on in the next line.
    shell = code(page, "bash") + "\n".join(re.findall(r"^    (?!- ).*", text, re.M))
    shell = re.sub(r"\s*\\\n\s*", " ", shell)
    for command, rest in re.findall(r"(?:^ *|[&|] )ycc ([a-z][\w-]*)([^&|#\n]*)", shell, re.M):
        help_text = CliRunner().invoke(cli, [command, "--help"]).output
        for option in re.findall(r" (--?[a-z][a-z-]*)", rest):
            assert re.search(rf"{option}\b", help_text), (command, option)
    for script in re.findall(r"python ((?:benchmarks|tests|docs)/\S+\.py)", shell):
        assert (ROOT / script).exists(), script
    for name in re.findall(r"--config (\w+)", shell):
        importlib.import_module(f"configs.{name}")


def test_the_table_of_configs():
    table = (DOCS / "training.md").read_text().partition("## Configs\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| `(\w+)[`:]", table, re.M)
    files = {path.stem for path in (ROOT / "configs").glob("[a-z]*.py")}
    assert sorted(shown) == sorted(files - {"common"})
    for name in set(shown) - {"comparison"}:
        assert importlib.import_module(f"configs.{name}").get_config().name == name
