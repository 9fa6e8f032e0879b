"""The documentation prints what it says."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import pytest

from ycc_jax.models import HyperpriorModel, build

MODEL = (Path(__file__).parents[1] / "docs/model.md").read_text()


def section(title):
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", MODEL, re.M | re.S).group(1)


def shown(text):
    """The rows of the table, by their first cell; the heading has none."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = [row for row in rows if row and row[0].isalpha()]
    return {name: [float(x) for x in cells] for name, *cells in rows}


def printed(text):
    """What the Python in it prints, in the same form."""
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    rows = [line.split() for line in out.getvalue().splitlines()]
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
