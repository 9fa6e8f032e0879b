"""The README works: its Python runs, its commands name options and configs that exist."""

import importlib
import re
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from ycc_jax.cli import cli

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_runs(bundled, photo):
    names = {"picture": photo[:70, :90]}
    (code,) = blocks("python")
    exec(code, names)
    assert names["picture"].shape == (70, 90, 3) and names["picture"].dtype == np.uint8
    assert names["header"]["width"] == 90 and names["header"]["quality"] == 50


def test_commands_exist():
    shell = "\n".join(blocks("bash"))
    for command, rest in re.findall(r"ycc ([\w-]+)([^&|\n]*)", shell):
        help_text = CliRunner().invoke(cli, [command, "--help"]).output
        for option in re.findall(r" (--?[a-z]+)", rest):
            assert re.search(rf"{option}\b", help_text), (command, option)
    shown = re.findall(r"--config (\w+)", shell) + re.findall(r"^\| `(\w+)` \|", README, re.M)
    assert len(shown) > 6
    for name in shown:
        config = importlib.import_module(f"configs.{name}").get_config()
        assert config.name == name
