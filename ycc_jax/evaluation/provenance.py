"""Where a figure comes from: what RD files say under "provenance"."""

import os
import platform
import subprocess

from PIL import __version__ as pillow_version

import ycc_jax


def provenance(codec) -> dict:
    """What measured `codec`, a `Peer` or `Model`: its name and settings, versions, the machine.

    "commit" is there if the library runs from a checkout, with "-dirty" if that was changed.
    """
    found = {
        "codec": codec.name,
        "settings": codec.settings,
        "ycc_jax": ycc_jax.__version__,
        "pillow": pillow_version,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    }
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def describe(settings: dict) -> str:
    """Settings in a line, for the CSV and for messages: "subsampling 4:2:0, progressive True"."""
    texts = []
    for name, value in settings.items():
        if isinstance(value, dict):
            texts.append(describe(value))
        elif value is not None:
            texts.append(f"{name} {value}")
    return ", ".join(texts)


def _commit():
    folder = os.path.dirname(ycc_jax.__file__)

    def git(*arguments):
        command = ["git", "-C", folder, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return result.stdout.strip()

    try:
        # An installed copy may lie inside the checkout of something else.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
