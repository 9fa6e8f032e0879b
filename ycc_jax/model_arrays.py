"""Parameters and tables as named arrays: which there are to be, and the hash over them.

Names are paths, "params/analysis/luma/kernel" and "tables/y/cdf", as in arrays.npz.
"""

import functools
import hashlib
import json
from typing import Any

import jax
import numpy as np

from ycc_jax.models import HyperpriorModel, init


def check_parameters(model: HyperpriorModel, arrays: dict[str, np.ndarray]) -> None:
    """ValueError unless the arrays "params/..." are the model's parameters, by name and shape."""
    expected = parameter_shapes(model)
    found = {key: value.shape for key, value in arrays.items() if key.startswith("params/")}
    for key in sorted(expected | found):
        if key not in found:
            raise ValueError(f"expected parameter {key} of shape {expected[key]}, found none")
        if key not in expected:
            raise ValueError(f"expected no parameter {key}, found one of shape {found[key]}")
        if expected[key] != found[key]:
            raise ValueError(
                f"expected parameter {key} of shape {expected[key]}, found {found[key]}"
            )


@functools.lru_cache(maxsize=8)
def parameter_shapes(model: HyperpriorModel) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's parameters, by name."""
    shapes = jax.eval_shape(lambda: init(model))
    return {f"params/{key}": leaf.shape for key, leaf in leaves(shapes)}


def under(section: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays with their names in a section."""
    return {f"{section}/{key}": value for key, value in arrays.items()}


def _canonical(arguments: dict[str, Any]) -> bytes:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":")).encode()


def hash_of(arguments: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the arguments, and the arrays with their names, hex."""
    digest = hashlib.sha256(_canonical(arguments))
    for key in sorted(arrays):
        value = np.ascontiguousarray(arrays[key])
        value = value.astype(value.dtype.newbyteorder("<"))
        digest.update(f"{key}:{value.dtype.str}:{value.shape};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def hash_of_shapes(arguments: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the arguments, and the names and shapes of the parameters, hex."""
    digest = hashlib.sha256(_canonical(arguments))
    for key in sorted(key for key in arrays if key.startswith("params/")):
        digest.update(f"{key}:{arrays[key].shape};".encode())
    return digest.hexdigest()


def leaves(tree: Any, prefix: str = ""):
    """(path, leaf) of nested dicts."""
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def nested(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arrays "params/..." as Flax has them, nested dicts of float32."""
    tree: dict[str, Any] = {}
    for key, value in arrays.items():
        section, *parents, leaf = key.split("/")
        if section == "params":
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value.astype(np.float32)
    return tree
