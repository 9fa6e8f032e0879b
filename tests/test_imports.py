"""The order of the packages, as CONTRIBUTING.md draws it: no import goes up, none in a circle."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Lowest first, as drawn: names in the first 36 columns, then what they are.
SECTION = (ROOT / "CONTRIBUTING.md").read_text().partition("## Layers\n")[2].partition("\n## ")[0]
LAYERS = [line[:36].split() for line in SECTION.splitlines() if line.startswith("    ")]
LAYERS += [["__main__"]]
RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}

MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for top in ("ycc_jax", "train", "configs")
    for file in (ROOT / top).rglob("*.py")
}


def imported(module):
    """Our modules that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        names = [alias.name for alias in getattr(node, "names", [])]
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        elif not isinstance(node, ast.Import):
            continue
        for name in names:
            found = name if name in MODULES else name.rpartition(".")[0]
            if found in MODULES and found != "ycc_jax":
                yield found


def part(module):
    """What is drawn of a module of ycc_jax: itself, or else its package."""
    name = module.removeprefix("ycc_jax.")
    return name if name in RANK else name.split(".")[0]


def test_no_import_goes_up():
    inside = [module for module in MODULES if module.startswith("ycc_jax.")]
    assert {part(module) for module in inside} == set(RANK)
    for module in inside:
        for other in imported(module):
            assert other.startswith("ycc_jax."), f"{module} imports {other}"
            if part(module) != part(other):
                assert RANK[part(module)] > RANK[part(other)], f"{module} imports {other}"


def test_the_library_stands_alone():
    """Training stands beside the codec: on all of it but its evaluation and its command line."""
    for module in MODULES:
        tops = {other.split(".")[0] for other in imported(module)}
        parts = {part(other) for other in imported(module) if other.startswith("ycc_jax.")}
        if module.startswith("configs"):
            assert tops <= {"configs", "ycc_jax"} and parts <= {"errors"}, module
        elif module.startswith("train"):
            assert not parts & {"evaluation", "cli", "__main__"}, module


def test_no_imports_in_a_circle():
    graphlib.TopologicalSorter({module: set(imported(module)) for module in MODULES}).prepare()
