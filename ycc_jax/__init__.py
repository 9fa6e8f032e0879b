"""ycc_jax: a learned image codec that codes YCbCr with the eye's priorities, at any rate.

    import ycc_jax
    codec = ycc_jax.load()                     # the bundled model, or load("WORKDIR/model")
    data = codec.encode(picture, quality=50)   # uint8 (H, W, 3) -> bytes
    picture = codec.decode(data)               # bytes -> uint8 (H, W, 3)
    ycc_jax.info(data)                         # the header, without a model

JAX is imported with the first use of `load`, `Codec` or `build`, so that reading a header stays
instant.
"""

from ycc_jax.bitstream import info as info
from ycc_jax.errors import CorruptStreamError as CorruptStreamError
from ycc_jax.errors import InputError as InputError
from ycc_jax.errors import LimitError as LimitError
from ycc_jax.errors import ModelError as ModelError
from ycc_jax.errors import YccError as YccError

__version__ = "0.1.0"

_LAZY = {"load": "codec", "Codec": "codec", "build": "models"}
__all__ = ["load", "Codec", "build", "info", "YccError", "CorruptStreamError", "InputError"]
__all__ += ["LimitError", "ModelError"]


def __getattr__(name: str):
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"ycc_jax.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'ycc_jax' has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(__all__))
