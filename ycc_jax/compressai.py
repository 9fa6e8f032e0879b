"""CompressAI's models: the weights of a PyTorch checkpoint, as a codec model of ours.

CompressAI (Begaint et al. 2020, arXiv:2011.03029) is where most published weights of the models of
Balle 2018 and Minnen 2018 are kept. Its networks are ours in another layout, so the conversion is
a table (`_arrays`): their key, its shape, our path, and the change of layout. Every array of a
checkpoint is in that table, or is a buffer that training or its coder needs and we do not; anything
else is an error, for it would mean another model.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ycc_jax.codec_model import check_export_path, export_model
from ycc_jax.errors import InputError, MissingBackendError, ModelError
from ycc_jax.nets.context import TAPS

MODELS = {
    "bmshj2018-factorized": {"hyperprior": "none", "context": "none"},
    "bmshj2018-hyperprior": {"hyperprior": "scale", "context": "none"},
    "mbt2018-mean": {"hyperprior": "mean_scale", "context": "none"},
    "mbt2018": {"hyperprior": "mean_scale", "context": "autoregressive"},
}
"""What each of CompressAI's models is among the arguments of `models.build`."""

FILTERS = (3, 3, 3, 3)
_PEDESTAL = 2.0**-36
# Buffers that are constants of the formulas: ours have the same, so others would be other formulas.
_CONSTANTS = {
    "pedestal": _PEDESTAL,
    "beta_reparam.lower_bound.bound": (1e-6 + _PEDESTAL) ** 0.5,
    "gamma_reparam.lower_bound.bound": _PEDESTAL**0.5,
    "scale_bound": 0.11,
    "lower_bound_scale.bound": 0.11,
}
_MASK = np.arange(25).reshape(5, 5) < len(TAPS)
# Their coder's tables, which ours replace, and what only training needs.
_UNUSED = re.compile(
    r"(entropy_bottleneck|gaussian_conditional)\."
    r"(_offset|_quantized_cdf|_cdf_length|scale_table|target|likelihood_lower_bound\.bound)"
)
# How the density's parameters were called: _matrix0, _matrices.0 and, now, matrices.0.
_DENSITY = re.compile(r"entropy_bottleneck\._?(matri|bias|factor)[a-z]*\.?(\d)")
_PLURAL = {"matri": "matrices", "bias": "biases", "factor": "factors"}

# What NumPy raises on damaged files and on arrays without an archive, beside zipfile's classes.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError)


def import_checkpoint(
    path: str | Path,
    model: str,
    output: str | Path,
    name: str | None = None,
    calibration: Sequence[np.ndarray] = (),
) -> str:
    """Writes a codec model folder from a CompressAI checkpoint, with its weights in float32.

    Args:
      path: a PyTorch file, of a state dict or of a training checkpoint with "state_dict" in it; or
        an `.npz` with the state dict's arrays.
      model: one of `MODELS`.
      output: the folder to write; see `codec_model.export_model`.
      name: of the codec model; None is that of CompressAI's model.
      calibration: as of `codec_model.export_model`.

    Returns:
      The codec model's hash, hex.

    Raises:
      ModelError: the file is missing, unreadable, or no checkpoint of that model.
      MissingBackendError: it is a PyTorch file, and PyTorch is not installed.
      InputError: no such model, or `codec_model.export_model` refuses the output or the weights.
    """
    check_export_path(output)
    arguments, params = convert(read_state_dict(path), model)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = {"library": "CompressAI", "model": model, "file": Path(path).name, "sha256": digest}
    content: dict[str, Any] = {"arguments": arguments, "params": params, "dtype": np.float32}
    content["calibration"] = calibration
    try:
        return export_model(output, name=name or model, training={"origin": origin}, **content)
    except ValueError as error:
        raise InputError(str(error)) from error


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by CompressAI's keys; see `import_checkpoint`.

    PyTorch files are read with `weights_only`: they are pickles, and could otherwise run code.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"expected a checkpoint file, found none at {path}")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
            raise ModelError(f"{path}: expected an .npz file of arrays ({error})") from error
    try:
        import torch
    except ImportError as error:
        raise MissingBackendError(
            f"{path}: expected PyTorch to read it with (pip install torch), found none; or save "
            "the state dict where PyTorch is, and import that: numpy.savez('weights.npz', "
            "**{key: value.numpy() for key, value in state_dict.items()})"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{path}: expected a PyTorch checkpoint of weights ({reason})") from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise ModelError(f"{path}: expected a state dict, or a dict with one as 'state_dict'")
    arrays = {}
    for key, value in content.items():
        try:
            value = value.detach().to_dense()
            # NumPy has no bfloat16.
            arrays[key] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        except (RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"{path}: expected {key} to be a plain tensor ({error})") from error
    return arrays


def convert(state_dict: Mapping[str, Any], model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """CompressAI's state dict as our model.

    Args:
      state_dict: arrays, or what NumPy makes arrays of, by CompressAI's keys, old or new.
      model: one of `MODELS`.

    Returns:
      (arguments of `models.build`, nested dict of float32 parameters).

    Raises:
      InputError: no such model.
      ModelError: a key is missing, unknown or of another shape; or it is another model's.
    """
    if model not in MODELS:
        raise InputError(f"expected a model among {', '.join(MODELS)}, found {model!r}")
    found = {_current(key): _real(key, value) for key, value in state_dict.items()}
    _check_model(found, model)
    N, M = (found[key].shape[0] for key in ("g_a.0.weight", "g_a.6.weight"))
    params: dict[str, Any] = {}
    for path, key, shape, change in _arrays(model, N, M):
        if key not in found:
            raise ModelError(f"expected {key} {shape} in a {model} of N={N}, M={M}, found none")
        value = found.pop(key)
        if value.shape != shape:
            raise ModelError(
                f"expected {key} to be {shape} in a {model} of N={N}, M={M}, found {value.shape}"
            )
        *parents, leaf = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = np.ascontiguousarray(change(value), np.float32)
    _check_rest(found, model)
    arguments = {
        "N": N,
        "M": M,
        "transform": "joint",
        "color_space": "rgb",
        "input_offset": 0.0,
        "activation": "gdn",
        "levels": 0,
        "level_aware": False,
        **MODELS[model],
        "density_filters": FILTERS,
        "density_offset": True,
    }
    return arguments, params


def _real(key: Any, value: Any) -> np.ndarray:
    """The array of a key."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise ModelError(f"expected {key} to hold real numbers, found {value.dtype}")
    return value


def _current(key: str) -> str:
    """A key as CompressAI 1.2.8 calls it."""
    if not isinstance(key, str):
        raise ModelError(f"expected keys that are names, found {key!r}")
    key = key.removeprefix("module.")  # of DataParallel
    match = _DENSITY.fullmatch(key)
    return f"entropy_bottleneck.{_PLURAL[match[1]]}.{match[2]}" if match else key


def _check_model(found: dict[str, np.ndarray], model: str) -> None:
    """ModelError if the keys tell that the checkpoint is another model's, saying whose."""
    for key in ("g_a.0.weight", "g_a.6.weight"):
        if found.get(key, np.empty(0)).ndim != 4:
            raise ModelError(f"expected {key} with 4 axes, as all of {', '.join(MODELS)} have it")
    if "g_a.1.beta" not in found:
        raise ModelError("expected g_a.1.beta, found none: models without GDN are not supported")
    if "h_a.0.weight" not in found:
        actual = "bmshj2018-factorized"
    elif "context_prediction.weight" in found:
        actual = "mbt2018"
    elif found.get("h_s.4.weight", np.empty(0)).shape[:1] == found["g_a.6.weight"].shape[:1]:
        actual = "bmshj2018-hyperprior"
    else:
        actual = "mbt2018-mean"
    if actual != model:
        raise ModelError(f"expected the weights of {model}, found those of {actual}")


def _check_rest(rest: dict[str, np.ndarray], model: str) -> None:
    """ModelError if what the table has no use for is more than buffers that we know."""
    for key, value in rest.items():
        constant = next((c for name, c in _CONSTANTS.items() if key.endswith(name)), None)
        if constant is not None:
            if value.size != 1 or not np.allclose(value, constant, rtol=4e-3, atol=0):
                raise ModelError(f"expected {key} to be {constant:g}, found {value.ravel()}")
        elif key == "context_prediction.mask":
            if not np.array_equal(value, np.broadcast_to(_MASK, (*value.shape[:-2], 5, 5))):
                raise ModelError(
                    f"expected {key} to be 1 for the {len(TAPS)} positions coded before a symbol "
                    "in its 5x5 neighbourhood and 0 for the others, found another mask"
                )
        elif not _UNUSED.fullmatch(key):
            raise ModelError(f"expected the keys of a {model}, found {key} {value.shape} as well")


def _arrays(model: str, N: int, M: int) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
    """(our path, CompressAI's key, its shape, change of layout) of every parameter."""
    hyperprior, context = MODELS[model]["hyperprior"], MODELS[model]["context"]

    def layer(
        path: str, key: str, size: int, inputs: int, outputs: int, change: Any = conv
    ) -> Iterator[tuple[str, str, tuple[int, ...], Any]]:
        first = (inputs, outputs) if change is transposed else (outputs, inputs)
        yield f"{path}/kernel", f"{key}.weight", (*first, size, size), change
        yield f"{path}/bias", f"{key}.bias", (outputs,), same

    for i in range(4):
        yield from layer(f"analysis/Conv_{i}", f"g_a.{2 * i}", 5, N if i else 3, N if i < 3 else M)
        name, inputs, outputs = f"synthesis/ConvTranspose_{i}", N if i else M, N if i < 3 else 3
        yield from layer(name, f"g_s.{2 * i}", 5, inputs, outputs, transposed)
    for net, key in (("analysis", "g_a"), ("synthesis", "g_s")):
        for i in range(3):
            yield f"{net}/GDN_{i}/beta", f"{key}.{2 * i + 1}.beta", (N,), same
            yield f"{net}/GDN_{i}/gamma", f"{key}.{2 * i + 1}.gamma", (N, N), np.transpose

    if hyperprior != "none":
        widths = (N, N, M) if hyperprior == "scale" else (M, M * 3 // 2, 2 * M)
        for i, (size, inputs) in enumerate(((3, M), (5, N), (5, N))):
            yield from layer(f"hyper_analysis/Conv_{i}", f"h_a.{2 * i}", size, inputs, N)
        for i, inputs in enumerate((N, widths[0])):
            name = f"hyper_synthesis/ConvTranspose_{i}"
            yield from layer(name, f"h_s.{2 * i}", 5, inputs, widths[i], transposed)
        yield from layer("hyper_synthesis/Conv_0", "h_s.4", 3, widths[1], widths[2])
    if context == "autoregressive":
        yield from layer("context", "context_prediction", 5, M, 2 * M, taps)
        hidden = (4 * M, M * 10 // 3, M * 8 // 3, 2 * M)
        for i, name in enumerate(("hidden_0", "hidden_1", "output")):
            name, key = f"entropy_parameters/{name}", f"entropy_parameters.{2 * i}"
            yield from layer(name, key, 1, hidden[i], hidden[i + 1], dense)

    density, C = ("density_y", M) if hyperprior == "none" else ("density_z", N)
    filters = (1, *FILTERS, 1)
    for k, (r, s) in enumerate(zip(filters[:-1], filters[1:], strict=True)):
        key = "entropy_bottleneck"
        yield f"{density}/matrix_{k}", f"{key}.matrices.{k}", (C, s, r), matrix
        yield f"{density}/bias_{k}", f"{key}.biases.{k}", (C, s, 1), column
        if k < len(FILTERS):
            yield f"{density}/factor_{k}", f"{key}.factors.{k}", (C, s, 1), column
    # Quantiles are at the lower tail, the median and the upper tail; they round to the median.
    yield f"{density}/offset", "entropy_bottleneck.quantiles", (C, 1, 3), lambda q: q[:, 0, 1]


def same(vector):
    """(C,) as it is."""
    return vector


def conv(kernel):
    """Convolution: (out, in, h, w) -> (h, w, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def transposed(kernel):
    """Transposed convolution: (in, out, h, w) -> (h, w, in, out)."""
    return kernel.transpose(2, 3, 0, 1)


def dense(kernel):
    """1x1 convolution: (out, in, 1, 1) -> (in, out)."""
    return kernel[:, :, 0, 0].T


def taps(kernel):
    """Masked 5x5 convolution: (out, in, 5, 5) -> (12, in, out); what the mask zeroes is dropped."""
    return np.stack([kernel[:, :, 2 + i, 2 + j].T for i, j in TAPS])


def matrix(value):
    """(C, s, r) -> (C, r, s)."""
    return value.transpose(0, 2, 1)


def column(value):
    """(C, s, 1) -> (C, s)."""
    return value[:, :, 0]
