"""The Python of the README runs; its commands are checked with those of docs/ (test_docs.py)."""

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_python_runs(bundled, photo):
    names = {"picture": photo[:70, :90]}
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(code, names)
    assert names["picture"].shape == (70, 90, 3) and names["picture"].dtype == np.uint8
    assert names["header"]["width"] == 90 and names["header"]["quality"] == 50


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", README)
    assert len(links) > 15
    for link in links:
        assert (Path(__file__).parents[1] / link).exists(), link
