"""A codec model behind a peer's interface (`peers.py`), and where the seconds of a call go."""

import contextlib
import time
from collections.abc import Iterator

import jax
import numpy as np

import ycc_jax
from ycc_jax.codec import Codec
from ycc_jax.codec import load as load_codec
from ycc_jax.codec_model import CodecModel
from ycc_jax.compilation_cache import enable_compilation_cache
from ycc_jax.entropy import backends
from ycc_jax.operating_point import choose
from ycc_jax.stages import Stages

QUALITIES = (0, 15, 30, 45, 60, 75, 90, 100)


def load(
    model: str | None = None, chroma: float | None = None, effort: int = 0, backend: str = "auto"
) -> "Model":
    """The model that `ycc_jax.load` takes, ready to measure.

    Raises:
      ModelError: no such model, or a damaged one.
      InputError: a chroma that it does not have.
      MissingBackendError: the backend cannot be loaded.
    """
    enable_compilation_cache()
    return Model(load_codec(model, backend=backend), chroma, effort)


class Model:
    """A codec at one weight of chroma and one effort; times one call at a time: not for threads.

    Attributes:
      name: of the codec model.
      settings: what a figure depends on beside the quality, weights and versions included.
      qualities: measured by default; (None,) of a model with a single rate.
    """

    def __init__(self, codec: Codec, chroma: float | None = None, effort: int = 0):
        self.stopwatch = Stopwatch()
        stages = TimedStages(codec.model, self.stopwatch)
        self.codec = Codec(codec.model, backend=codec.backend, stages=stages)
        self.chroma, self.effort = chroma, effort
        self.name = codec.model.name
        self.qualities = QUALITIES if codec.net.levels > 1 else (None,)
        device = jax.devices()[0]
        self.settings = {
            "weights_hash": codec.model.weights_hash.hex(),
            "chroma": choose(codec.net, None, chroma).chroma,
            "ycc_jax": ycc_jax.__version__,
            "jax": jax.__version__,
            "device": f"{device.platform}: {device.device_kind}",
        }
        if effort:
            self.settings["effort"] = effort
        # Seconds depend on it. Imported here, TensorFlow is in no picture's seconds.
        if backends.operations(codec.backend):
            self.settings["coder"] = "tfc"

    def check(self, quality: float | None) -> None:
        """Raises InputError unless the model has the quality."""
        choose(self.codec.net, quality, self.chroma)

    def encode(self, rgb: np.ndarray, quality: float | None) -> bytes:
        """The picture, uint8 (H, W, 3), as a `.ycc` stream."""
        self.stopwatch.reset()
        return self.codec.encode(rgb, quality, chroma=self.chroma, effort=self.effort)

    def decode(self, data: bytes) -> np.ndarray:
        """The picture of such a stream, uint8 (H, W, 3)."""
        self.stopwatch.reset()
        picture = self.codec.decode(data, max_pixels=None)
        assert isinstance(picture, np.ndarray)  # what was encoded is
        return picture

    def parts(self) -> dict[str, float]:
        """Seconds of the last call: "compile", and "transform" without what was compiled in it."""
        return {"compile": self.stopwatch.compiled(), "transform": self.stopwatch.transform}


class TimedStages(Stages):
    """Stages whose transforms, between pictures and latents, are timed."""

    def __init__(self, model: CodecModel, stopwatch: "Stopwatch"):
        super().__init__(model)
        self.stopwatch = stopwatch

    def analyse(self, picture, level):
        with self.stopwatch.transforming():
            return super().analyse(picture, level)

    def hyper_analyse(self, y, level):
        with self.stopwatch.transforming():
            return super().hyper_analyse(y, level)

    def synthesise(self, y_hat, level):
        with self.stopwatch.transforming():
            return super().synthesise(y_hat, level)


class Stopwatch:
    """Seconds since `reset`: in the transforms, and those in which JAX traced and compiled.

    JAX tells of each duration when it ends, and of those inside another before that other one:
    what counts is their union.
    """

    def __init__(self):
        self.reset()
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def reset(self) -> None:
        self.transform = 0.0
        self._spans: list[tuple[float, float]] = []

    def compiled(self) -> float:
        return sum(end - begin for begin, end in self._spans)

    @contextlib.contextmanager
    def transforming(self) -> Iterator[None]:
        start, compiled = time.perf_counter(), self.compiled()
        yield
        self.transform += time.perf_counter() - start - (self.compiled() - compiled)

    def _listen(self, event: str, duration: float, **_) -> None:
        if event.startswith("/jax/core/compile/"):
            end = time.perf_counter()
            begin = end - duration
            while self._spans and self._spans[-1][1] > begin:
                begin = min(begin, self._spans.pop()[0])
            self._spans.append((begin, end))
