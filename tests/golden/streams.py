"""The golden streams: what is stored of each, and what decoding it gives now."""

import hashlib
import json
from pathlib import Path

import numpy as np

from ycc_jax.codec import Codec, load
from ycc_jax.pictures.planes import Planes
from ycc_jax.stages import Stages

FOLDER = Path(__file__).parent


class Fingerprint(Stages):
    """The stages of a codec, which hash the numbers that must be the same on every machine.

    Args:
      stages: of the codec.
    """

    def __init__(self, stages: Stages):
        vars(self).update(vars(stages))
        self._symbols, self._y_hat = hashlib.sha256(), hashlib.sha256()

    def y_hat(self, z, level, exchange):
        self._symbols.update(np.ascontiguousarray(z, "<i4"))

        def hashed(place, mean, index):
            symbols = exchange(place, mean, index)
            self._symbols.update(np.ascontiguousarray(symbols, "<i4"))
            return symbols

        found = super().y_hat(z, level, hashed)
        self._y_hat.update(np.ascontiguousarray(found, "<f4"))
        return found

    def hashes(self) -> dict[str, str]:
        """SHA-256, hex, of what was coded through these stages, tile after tile: "symbols", z's and
        then y's as little-endian int32 in coding order; "y_hat", as little-endian float32 (whole
        multiples of 1/256, exact)."""
        return {"symbols": self._symbols.hexdigest(), "y_hat": self._y_hat.hexdigest()}


def observed(codec: Codec) -> tuple[Codec, Fingerprint]:
    """The same codec, compiled programs and all, and what watches it; for one picture."""
    stages = Fingerprint(codec.stages)
    return Codec(codec.model, backend=codec.backend, stages=stages), stages


def listed() -> dict[str, dict]:
    """What `golden.json` says of each file, by its name: "model", "symbols", "y_hat"."""
    path = FOLDER / "golden.json"
    return json.loads(path.read_text()) if path.exists() else {}


def golden_codec(model: str) -> Codec:
    """A codec of `models/`, or the bundled one of that name."""
    folder = FOLDER / "models" / model
    return load(folder if folder.is_dir() else model)


def samples(picture: np.ndarray | Planes) -> list[np.ndarray]:
    """The arrays of a picture: itself, or three planes."""
    if isinstance(picture, np.ndarray):
        return [picture]
    return [picture.y, picture.cb, picture.cr]


def stored_pixels() -> dict[str, np.ndarray]:
    """The samples of all files, "FILE/0" and for planes also "FILE/1", "FILE/2"."""
    path = FOLDER / "pixels.npz"
    if not path.exists():
        return {}
    with np.load(path) as file:
        return dict(file)


def stored_samples(file: str) -> list[np.ndarray]:
    """The samples that a golden file decoded to when it was written."""
    pixels = stored_pixels()
    return [pixels[key] for key in (f"{file}/{n}" for n in range(3)) if key in pixels]


def distances(found: list[np.ndarray], expected: list[np.ndarray]) -> np.ndarray:
    """How far each sample is from the one expected, flat, in steps of their depth.

    Raises:
      ValueError: they are of other kinds or sizes.
    """
    kinds = [[(a.shape, a.dtype) for a in arrays] for arrays in (found, expected)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"expected samples {kinds[1]}, found {kinds[0]}")
    pairs = zip(found, expected, strict=True)
    return np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in pairs])
