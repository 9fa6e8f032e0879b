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
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ycc_jax.entropy.tables import CdfTables
from ycc_jax.errors import InputError, ModelError
from ycc_jax.exact.freeze import freeze
from ycc_jax.model_arrays import check_parameters, hash_of, hash_of_shapes, leaves, nested, under
from ycc_jax.model_folder import BUNDLED, BUNDLED_DEFAULT, check_export_path, replacing
from ycc_jax.models import build
from ycc_jax.storage import place

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
    content = _content(name, arguments, params, training, dtype, calibration, frozen)
    with replacing(path) as folder:
        np.savez_compressed(folder / "arrays.npz", **_any(content.arrays))
        return _finish(folder, content)


def model_in_memory(
    arguments: dict[str, Any],
    params: Any,
    *,
    name: str = "in memory",
    training: dict[str, Any] | None = None,
    dtype: Any = np.float16,
    calibration: Sequence[np.ndarray] = (),
    frozen: dict[str, np.ndarray] | None = None,
) -> CodecModel:
    """What `load_model` gives of a folder that `export_model` writes, without the folder.

    Args and errors are those of `export_model`; streams of the one are streams of the other.
    """
    return _codec_model(_content(name, arguments, params, training, dtype, calibration, frozen))


class _Content(NamedTuple):
    """What the files of a folder hold: model.json, arrays.npz and frozen.npz."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    frozen: dict[str, np.ndarray]


def _content(name, arguments, params, training, dtype, calibration, frozen) -> _Content:
    """All of a codec model, from parameters; arguments and errors as of `export_model`."""
    model = build(**arguments)
    arrays = {f"params/{key}": np.asarray(leaf).astype(dtype) for key, leaf in leaves(params)}
    check_parameters(model, arrays)
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"expected parameters finite in {np.dtype(dtype)}, found NaN or infinity in {key}"
            )
    tables = model.coding_tables(nested(arrays))
    for latent, table in tables.items():
        for field in _FIELDS:
            arrays[f"tables/{latent}/{field}"] = getattr(table, field)
    if frozen is None:
        frozen = freeze(model, nested(arrays), calibration)
    return _Content(_header(name, arguments, arrays, frozen, training or {}), arrays, frozen)


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
    model = place(model)
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
    frozen = freeze(build(**arguments), nested(arrays), calibration)
    content = (model / "arrays.npz").read_bytes()
    with replacing(path) as folder:
        (folder / "arrays.npz").write_bytes(content)
        header = _header(header["name"], arguments, arrays, frozen, header["training"])
        return _finish(folder, _Content(header, arrays, frozen))


def _header(name, arguments, arrays, frozen, training) -> dict[str, Any]:
    """model.json."""
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "arguments": arguments,
        "hash": hash_of(arguments, {**arrays, **under("frozen", frozen)}),
        "shapes": hash_of_shapes(arguments, arrays),
        "training": training,
    }


def _finish(folder, content: _Content) -> str:
    """Writes what goes beside the arrays; the model's hash."""
    np.savez_compressed(folder / "frozen.npz", **_any(content.frozen))
    (folder / "model.json").write_text(json.dumps(content.header, indent=2) + "\n")
    return content.header["hash"]


def find_model(model: str | Path | None = None) -> Path:
    """The folder of a codec model, found by its path or as a bundled model's name.

    Raises:
      ModelError: neither; the message lists the bundled models.
    """
    name = BUNDLED_DEFAULT if model is None else model
    path = BUNDLED / str(name)
    # A folder wins over a bundled model of that name, but only one that is a model.
    if model is not None and ((found := place(model)) / "model.json").is_file():
        path = found
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
    file = place(path) / "model.json"
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

    Args:
      path: the folder; `find_model` knows those of bundled models.

    Returns:
      The codec model in memory.

    Raises:
      ModelError: missing, damaged, of another format version, the arrays are not those hashed, or
        one is missing or has another shape than the arguments ask for.
    """
    path = place(path)
    header = read_header(path)
    with _damage_named(path):
        arrays, frozen = _load(path, "arrays.npz"), _load(path, "frozen.npz")
        found = hash_of(header["arguments"], {**arrays, **under("frozen", frozen)})
        if found != header["hash"]:
            raise ModelError(f"{path}: expected hash {header['hash']}, found {found}")
        check_arrays(path, header, arrays)
        return _codec_model(_Content(header, arrays, frozen))


def _codec_model(content: _Content) -> CodecModel:
    header, arrays, frozen = content
    tables = {
        latent: CdfTables(*(arrays[f"tables/{latent}/{field}"] for field in _FIELDS))
        for latent in ("y", "z")
        if f"tables/{latent}/cdf" in arrays
    }
    return CodecModel(
        header["name"],
        header["arguments"],
        nested(arrays),
        tables,
        frozen,
        header["hash"],
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
        if header.get("shapes") != hash_of_shapes(header["arguments"], arrays):
            check_parameters(model, arrays)
        for latent, rows in model.table_rows.items():
            key = f"tables/{latent}/cdf"
            if key not in arrays or arrays[key].shape[:1] != (rows,):
                found = f"shape {arrays[key].shape}" if key in arrays else "none"
                raise ValueError(f"expected {key} with {rows} rows, found {found}")
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def weights_hash(header: dict[str, Any]) -> bytes:
    """The 4 bytes by which streams of a model know it, from its model.json."""
    return bytes.fromhex(header["hash"])[:4]


def _load(path: str | Path, name: str) -> dict[str, np.ndarray]:
    content = io.BytesIO((place(path) / name).read_bytes())
    with np.load(content, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def _any(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    # savez has arguments of other types beside the arrays'.
    return arrays
