"""The version stands in one place, and the changelog begins with it."""

import re
from pathlib import Path

import ycc_jax

ROOT = Path(__file__).parents[1]


def test_the_changelog_begins_with_the_version():
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    versions = [tuple(map(int, version.split("."))) for version, _ in headings]
    assert headings[0][0] == ycc_jax.__version__
    assert versions == sorted(set(versions), reverse=True)
    for version, day in headings[1:]:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", day), version


def test_no_file_repeats_the_version():
    for name in ("setup.cfg", "pyproject.toml", "CITATION.cff", "docs/conf.py", "README.md"):
        assert ycc_jax.__version__ not in (ROOT / name).read_text(), name
