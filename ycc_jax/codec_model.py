"""The codec model: all that a decoder needs, and nothing of the training state.

A folder with three files:
  model.json   format version, name, model arguments, hashes, and how it was trained
  arrays.npz   parameters ("params/...", in float16 unless imported), and the frozen coding tables
               ("tables/...")
  frozen.npz   the prior in integers (`exact/freeze.py`), which is what codes

Tables and integers are computed once, at export: a stream is decoded with those that it was encoded
with, whatever library version computes logarithms differently. The parameters of the prior are kept
beside its integers to train on from; no decoder reads them. The head of the hash over all of it
goes into every stream's header, `weights_hash`.

That the parameters are those that the arguments ask for is checked at export, which takes JAX a
second, and written down as a hash of both (`shapes`): a model that has it is not checked again.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ycc_jax.entropy.tables import CdfTables
from ycc_jax.errors import InputError, ModelError
from ycc_jax.exact.freeze import freeze
from ycc_jax.model_folder import BUNDLED, BUNDLED_DEFAULT, check_export_path, replacing
from ycc_jax.models import HyperpriorModel, build

FORMAT_VERSION = 2
_FIELDS = ("cdf", "length", "offset")
_RENAMED = {"alphas": "chroma_weights"}
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
      frozen: the integers of the prior, by name (`exact.prior.ExactPrior`); {} without one.
      hash: SHA-256 over arguments, arrays and integers, hex.
      weights_hash: what a stream's header names, 4 bytes.
      lambdas: that it was trained for, one a rate level, per unit of MSE on the 0..255 scale; () if
        it does not say, or was trained for another distortion.
    """

    name: str
    arguments: dict[str, Any]
    params: dict[str, Any]
    tables: dict[str, CdfTables]
    frozen: dict[str, np.ndarray]
    hash: str
    weights_hash: bytes
    lambdas: tuple[float, ...] = ()


def export_model(
    path: str | Path,
    *,
    name: str,
    arguments: dict[str, Any],
    params: Any,
    training: dict[str, Any] | None = None,
    dtype: Any = np.float16,
    calibration: Sequence[np.ndarray] = (),
    frozen: dict[str, np.ndarray] | None = None,
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
      calibration: uint8 RGB pictures (H, W, 3) to freeze the prior with, as of `freeze`.
      frozen: the prior's integers, of a model whose prior is this one's; None freezes it.

    Returns:
      The model's hash, hex.

    Raises:
      InputError: the path is something other than a codec model.
      ValueError: a parameter is missing, of another shape than the arguments ask for, or not finite
        in dtype; the factorized density cannot be tabulated; or a layer of the prior has no
        integers whose sums are proved to be exact.
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
    if frozen is None:
        frozen = freeze(build(**arguments), _unflatten(arrays), calibration)
    with replacing(path) as folder:
        np.savez_compressed(folder / "arrays.npz", **_any(arrays))
        return _finish(folder, name, arguments, arrays, frozen, training or {})


def freeze_model(
    model: str | Path, output: str | Path | None = None, calibration: Sequence[np.ndarray] = ()
) -> str:
    """Freezes the prior of a codec model anew, or of one that was exported before there was that.

    Args:
      model: its folder.
      output: the folder to write; None: the model's own, if it was not frozen yet. (Files that were
        written with one freezing need that one.)
      calibration: as of `export_model`.

    Returns:
      The new hash, hex.

    Raises:
      ModelError: no codec model there.
      InputError: no output, and the model is frozen; or the output is something else.
      ValueError: as of `export_model`.
    """
    model = Path(model)
    header = read_header(model, (1, FORMAT_VERSION))
    if output is None and header["format_version"] != 1:
        raise InputError(
            f"{model}: expected a model that is not frozen, or a folder to write to (-o): files "
            "need the very integers that they were written with"
        )
    path = check_export_path(model if output is None else output)
    with _damage_named(model):
        arrays = _load(model, "arrays.npz")
        # As format 1 called them.
        arguments = {_RENAMED.get(key, key): value for key, value in header["arguments"].items()}
        check_arrays(model, {"arguments": arguments}, arrays)
    frozen = freeze(build(**arguments), _unflatten(arrays), calibration)
    content = (model / "arrays.npz").read_bytes()
    with replacing(path) as folder:
        (folder / "arrays.npz").write_bytes(content)
        return _finish(folder, header["name"], arguments, arrays, frozen, header["training"])


def _finish(folder, name, arguments, arrays, frozen, training) -> str:
    """Writes what goes beside the arrays; the model's hash."""
    np.savez_compressed(folder / "frozen.npz", **_any(frozen))
    digest = _hash(arguments, {**arrays, **_under("frozen", frozen)})
    header = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "arguments": arguments,
        "hash": digest,
        "shapes": _shapes_hash(arguments, arrays),
        "training": training,
    }
    (folder / "model.json").write_text(json.dumps(header, indent=2) + "\n")
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


def read_header(path: str | Path, versions: tuple[int, ...] = (FORMAT_VERSION,)) -> dict[str, Any]:
    """model.json of a codec model in one of these format versions, without reading its arrays.

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
    if version not in versions:
        known = " or ".join(map(str, versions))
        hint = "; ycc freeze brings it up to date" if version == 1 else ""
        raise ModelError(f"{file}: expected model format {known}, found {version!r}{hint}")
    return header


def load_model(path: str | Path) -> CodecModel:
    """Reads a codec model folder, and checks its hash and that its arrays fit its arguments.

    Raises:
      ModelError: missing, damaged, of another format version, the arrays are not those hashed, or
        one is missing or has another shape than the arguments ask for.
    """
    header = read_header(path)
    with _damage_named(path):
        arrays, frozen = _load(path, "arrays.npz"), _load(path, "frozen.npz")
        found = _hash(header["arguments"], {**arrays, **_under("frozen", frozen)})
        if found != header["hash"]:
            raise ModelError(f"{path}: expected hash {header['hash']}, found {found}")
        check_arrays(path, header, arrays)
        tables = {
            latent: CdfTables(*(arrays[f"tables/{latent}/{field}"] for field in _FIELDS))
            for latent in ("y", "z")
            if f"tables/{latent}/cdf" in arrays
        }
        return CodecModel(
            header["name"],
            header["arguments"],
            _unflatten(arrays),
            tables,
            frozen,
            found,
            weights_hash(header),
            _lambdas(header),
        )


def _lambdas(header: dict[str, Any]) -> tuple[float, ...]:
    loss = header["training"].get("config", {}).get("loss", {})
    return tuple(map(float, loss["lambdas"])) if loss.get("metric") == "mse" else ()


@contextlib.contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    """Whatever a damaged file makes NumPy raise, as a ModelError."""
    try:
        yield
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


def weights_hash(header: dict[str, Any]) -> bytes:
    """The 4 bytes by which streams of a model know it, from its model.json."""
    return bytes.fromhex(header["hash"])[:4]


def _load(path: str | Path, name: str) -> dict[str, np.ndarray]:
    with np.load(Path(path) / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _under(section: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{section}/{key}": value for key, value in arrays.items()}


def _any(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    # savez has arguments of other types beside the arrays'.
    return arrays


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
