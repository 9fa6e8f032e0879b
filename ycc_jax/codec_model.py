"""The codec model: all that a decoder needs, and nothing of the training state.

A folder with two files:
  model.json   format version, name, model arguments, hashes, and how it was trained
  arrays.npz   parameters ("params/...", in float16 unless imported), and the frozen coding tables
               ("tables/...")

The tables are integers computed once, at export: a stream is decoded with the tables that it was
encoded with, whatever library version computes logarithms differently. The hashes go into every
stream's header: `model_id` covers the arguments, `weights_hash` the arrays.

That the parameters are those that the arguments ask for is checked at export, which takes JAX a
second, and written down as a hash of both (`shapes`): a model that has it is not checked again.
"""

import dataclasses
import functools
import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ycc_jax.entropy.tables import CdfTables
from ycc_jax.errors import ModelError
from ycc_jax.model_folder import check_export_path, replacing
from ycc_jax.models import HyperpriorModel, build

FORMAT_VERSION = 1
BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_DEFAULT = "dlec_gain_small"
_FIELDS = ("cdf", "length", "offset")
# What NumPy, zipfile and json raise on damaged files, beside their own classes.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError)


@dataclasses.dataclass(frozen=True)
class CodecModel:
    """A codec model in memory.

    Attributes:
      name: of the config that it was trained by.
      arguments: of `models.build`.
      params: nested dict of float32 arrays, the Flax parameters.
      tables: CdfTables by latent: "z", one row a channel (of y where there is no hyperprior), and
        "y", one row a scale.
      hash: SHA-256 over arguments and arrays, hex.
      model_id, weights_hash: what a stream's header names, int of 16 bits and 4 bytes.
    """

    name: str
    arguments: dict[str, Any]
    params: dict[str, Any]
    tables: dict[str, CdfTables]
    hash: str
    model_id: int
    weights_hash: bytes


def export_model(
    path: str | Path,
    *,
    name: str,
    arguments: dict[str, Any],
    params: Any,
    training: dict[str, Any] | None = None,
    dtype: Any = np.float16,
) -> str:
    """Writes a codec model folder; an existing one is replaced only once the new one is whole.

    Anything else that is found at the path stays, and is an error.

    Args:
      path: the folder to write.
      name: of the config.
      arguments: of `models.build`.
      params: nested dict of arrays, the Flax parameters.
      training: how it was trained; kept in model.json, not part of the hash.
      dtype: in which parameters are stored, float16 or float32; the tables and all later use see
        the rounded values.

    Returns:
      The model's hash, hex.

    Raises:
      InputError: the path is something other than a codec model.
      ValueError: a parameter is missing, of another shape than the arguments ask for, or not finite
        in dtype; or the factorized density cannot be tabulated.
    """
    path = check_export_path(path)
    arrays = {f"params/{key}": np.asarray(leaf).astype(dtype) for key, leaf in _leaves(params)}
    check_parameters(build(**arguments), arrays)
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"expected parameters finite in {np.dtype(dtype)}, found NaN or infinity in {key}"
            )
    tables = build(**arguments).coding_tables(_unflatten(arrays))
    for latent, table in tables.items():
        for field in _FIELDS:
            arrays[f"tables/{latent}/{field}"] = getattr(table, field)
    digest = _hash(arguments, arrays)
    header = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "arguments": arguments,
        "hash": digest,
        "shapes": _shapes_hash(arguments, arrays),
        "training": training or {},
    }
    with replacing(path) as folder:
        (folder / "model.json").write_text(json.dumps(header, indent=2) + "\n")
        named: dict[str, Any] = arrays
        np.savez_compressed(folder / "arrays.npz", **named)
    return digest


def find_model(model: str | Path | None = None) -> Path:
    """The folder of a codec model, found by its path or as a bundled model's name.

    Raises:
      ModelError: neither; the message lists the bundled models.
    """
    name = BUNDLED_DEFAULT if model is None else model
    path = BUNDLED / str(name)
    # A folder wins over a bundled model of that name, but only one that is a model.
    if model is not None and (Path(model) / "model.json").is_file():
        path = Path(model)
    if not path.is_dir():
        bundled = sorted(p.name for p in BUNDLED.glob("*") if p.is_dir())
        raise ModelError(
            f"expected a codec model folder or one of the bundled models {bundled}, "
            f"found {str(name)!r}"
        )
    return path


def read_header(path: str | Path) -> dict[str, Any]:
    """model.json of a codec model, checked, without reading its arrays.

    Raises:
      ModelError: not a codec model, or of another format version.
    """
    file = Path(path) / "model.json"
    try:
        header = json.loads(file.read_text())
        version = header["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"expected a codec model folder with model.json, found {path} ({error})"
        ) from error
    if version != FORMAT_VERSION:
        raise ModelError(f"{file}: expected model format {FORMAT_VERSION}, found {version!r}")
    return header


def load_model(path: str | Path) -> CodecModel:
    """Reads a codec model folder, and checks its hash and that its arrays fit its arguments.

    Raises:
      ModelError: missing, damaged, of another format version, the arrays are not those hashed, or
        one is missing or has another shape than the arguments ask for.
    """
    header = read_header(path)
    try:
        with np.load(Path(path) / "arrays.npz", allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        found = _hash(header["arguments"], arrays)
        if found != header["hash"]:
            raise ModelError(f"{path}: expected hash {header['hash']}, found {found}")
        check_arrays(path, header, arrays)
        tables = {
            latent: CdfTables(*(arrays[f"tables/{latent}/{field}"] for field in _FIELDS))
            for latent in ("y", "z")
            if f"tables/{latent}/cdf" in arrays
        }
        model_id, weights_hash = stream_ids(header)
        return CodecModel(
            header["name"],
            header["arguments"],
            _unflatten(arrays),
            tables,
            found,
            model_id,
            weights_hash,
        )
    except ModelError:
        raise
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(
            f"{path}: expected a whole codec model, found a damaged one ({error})"
        ) from error


def check_arrays(path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """ModelError unless parameters and tables are those that the arguments ask for."""
    try:
        model = build(**header["arguments"])
        # Export has checked this very combination, or else it is checked now.
        if header.get("shapes") != _shapes_hash(header["arguments"], arrays):
            check_parameters(model, arrays)
        for latent, rows in model.table_rows.items():
            key = f"tables/{latent}/cdf"
            if key not in arrays or arrays[key].shape[:1] != (rows,):
                found = f"shape {arrays[key].shape}" if key in arrays else "none"
                raise ValueError(f"expected {key} with {rows} rows, found {found}")
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def check_parameters(model: HyperpriorModel, arrays: dict[str, np.ndarray]) -> None:
    """ValueError unless the arrays "params/..." are the model's parameters, by name and shape."""
    expected = _parameter_shapes(model)
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
def _parameter_shapes(model: HyperpriorModel) -> dict[str, tuple[int, ...]]:
    level = np.zeros((1, len(model.grid)), np.float32)

    def init(rgb):
        return model.init(jax.random.PRNGKey(0), model.picture(rgb), level)

    rgb = jax.ShapeDtypeStruct((1, model.stride, model.stride, 3), np.float32)
    return {
        f"params/{key}": leaf.shape for key, leaf in _leaves(jax.eval_shape(init, rgb)["params"])
    }


def stream_ids(header: dict[str, Any]) -> tuple[int, bytes]:
    """(model_id, weights_hash) that streams of a model carry, from its model.json.

    The first is the head of the arguments' hash, the second of the whole hash.
    """
    arguments = hashlib.sha256(_canonical(header["arguments"])).digest()
    return int.from_bytes(arguments[:2], "big"), bytes.fromhex(header["hash"])[:4]


def _canonical(arguments: dict[str, Any]) -> bytes:
    return json.dumps(arguments, sort_keys=True, separators=(",", ":")).encode()


def _hash(arguments: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(_canonical(arguments))
    for key in sorted(arrays):
        value = np.ascontiguousarray(arrays[key])
        value = value.astype(value.dtype.newbyteorder("<"))
        digest.update(f"{key}:{value.dtype.str}:{value.shape};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _shapes_hash(arguments: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the arguments, and the names and shapes of the parameters, hex."""
    digest = hashlib.sha256(_canonical(arguments))
    for key in sorted(key for key in arrays if key.startswith("params/")):
        digest.update(f"{key}:{arrays[key].shape};".encode())
    return digest.hexdigest()


def _leaves(tree: Any, prefix: str = ""):
    """(path, leaf) of nested dicts."""
    for key, value in tree.items():
        if hasattr(value, "items"):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _unflatten(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in arrays.items():
        section, *parents, leaf = key.split("/")
        if section == "params":
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value.astype(np.float32)
    return tree
