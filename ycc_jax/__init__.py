"""ycc_jax: a learned image codec that codes YCbCr with the eye's priorities, at any rate.

    import ycc_jax
    codec = ycc_jax.load()                     # the bundled model, or load("WORKDIR/model")
    data = codec.encode(picture, quality=50)   # uint8 (H, W, 3) -> bytes
    picture = codec.decode(data)               # bytes -> uint8 (H, W, 3)
    ycc_jax.info(data)                         # the header, without a model

    model = ycc_jax.build(N=64, M=128, levels=6)   # a model to train: a Flax module,
    params = ycc_jax.init(model)                   # its parameters,
    ycc_jax.rate_distortion                        # its loss,
    ycc_jax.Codec.from_params(params, arguments)   # and a codec of them

`__all__` is all that is public. JAX is imported with the first use of what needs it, so that
reading a header stays instant.
"""

from ycc_jax.bitstream import info as info
from ycc_jax.errors import CorruptStreamError as CorruptStreamError
from ycc_jax.errors import InputError as InputError
from ycc_jax.errors import LimitError as LimitError
from ycc_jax.errors import ModelError as ModelError
from ycc_jax.errors import YccError as YccError

__version__ = "0.2.0"

_LAZY = {
    "load": "codec",
    "Codec": "codec",
    "build": "models",
    "init": "models",
    "HyperpriorModel": "models",
    "level_of": "operating_point",
    "rate_distortion": "loss",
    "export_model": "codec_model",
    "load_model": "codec_model",
    "register_transform": "registry",
    "register_context": "registry",
    "register_likelihood": "registry",
}
__all__ = ["info", "YccError", "CorruptStreamError", "InputError", "LimitError", "ModelError"]
__all__ += list(_LAZY)


def __getattr__(name: str):
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"ycc_jax.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'ycc_jax' has no attribute {name!r}")


def __dir__():
    return sorted(set(globals()) | set(__all__))
