"""Classic codecs behind two functions, to measure them as our models are measured.

They run through Pillow (its wheel has the libraries), JPEG XL through pillow-jxl-plugin. The
settings are those a careful user takes: slow but not the slowest effort, and of AVIF the tuning for
PSNR, for that is what is measured. `settings` says them all, so that a figure can be repeated.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np
from PIL import Image, features

from ycc_jax.errors import InputError, MissingBackendError


@dataclass(frozen=True)
class Peer:
    """One codec with its settings.

    Attributes:
      name: as `ycc eval --codec` takes it.
      format: Pillow's name of the format.
      options: of Pillow's `Image.save`, beside the quality.
      library: "Pillow module or codec" as `PIL.features.version` knows it; None: JPEG XL's plugin.
      qualities: measured by default, from the smallest file to the best picture.
      scale: (least, most) quality.
      whole: whether qualities are whole numbers only.
      parameter: quality -> the option that sets it.
    """

    name: str
    format: str
    options: dict
    library: str | None
    qualities: tuple[float, ...]
    scale: tuple[float, float] = (0, 100)
    whole: bool = True
    parameter: Callable = field(default=lambda quality: {"quality": quality}, repr=False)

    @property
    def settings(self) -> dict:
        """What a figure depends on beside the quality: options and versions."""
        if self.library is None:
            version = f"pillow-jxl-plugin {metadata.version('pillow-jxl-plugin')}"
        else:
            version = f"{self.library} {features.version(self.library)}"
        return {**self.options, "library": version}

    def check(self, quality: float) -> None:
        """Raises InputError unless the codec has the quality."""
        low, high = self.scale
        if not low <= quality <= high or (self.whole and quality != int(quality)):
            kind = "a whole quality" if self.whole else "a quality"
            raise InputError(
                f"{self.name}: expected {kind} from {low:g} to {high:g}, found {quality:g}"
            )

    def encode(self, rgb: np.ndarray, quality: float) -> bytes:
        """The picture, uint8 (H, W, 3) in sRGB, as a file of the codec.

        Raises:
          InputError: a quality that the codec does not have.
        """
        self.check(quality)
        file = io.BytesIO()
        quality = int(quality) if self.whole else float(quality)
        options = {**self.options, **self.parameter(quality)}
        Image.fromarray(rgb).save(file, self.format, **options)
        return file.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """The picture of such a file, uint8 (H, W, 3)."""
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.asarray(image.convert("RGB"))

    def parts(self) -> dict[str, float]:
        """Seconds of the last call by part, as of `subject.Model`: not known of another's code."""
        return {}


def _jpeg(subsampling):
    return {"subsampling": subsampling, "progressive": True, "optimize": True}


def _avif(subsampling):
    advanced = {"end-usage": "q", "tune": "psnr"}
    return {"subsampling": subsampling, "codec": "aom", "speed": 4, "advanced": advanced}


_JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 55, 70, 80, 90)
# aom's quantizers 60, 55, ... 20.
_AVIF_QUALITIES = (5, 13, 21, 29, 37, 44, 52, 60, 68)

PEERS = {
    peer.name: peer
    for peer in (
        Peer("jpeg-420", "JPEG", _jpeg("4:2:0"), "libjpeg_turbo", _JPEG_QUALITIES),
        Peer("jpeg-444", "JPEG", _jpeg("4:4:4"), "libjpeg_turbo", _JPEG_QUALITIES),
        # Lossy WebP is 4:2:0 only.
        Peer("webp", "WEBP", {"method": 6}, "webp", (1, 5, 15, 30, 50, 70, 85, 95), whole=False),
        # The 9/7 wavelet, in YCbCr 4:4:4; its quality is the PSNR in dB that it aims at.
        Peer(
            "jpeg2000",
            "JPEG2000",
            {"irreversible": True, "mct": 1, "quality_mode": "dB"},
            "jpg_2000",
            (26, 28, 30, 32, 34, 36, 38, 40, 42),
            scale=(10, 100),
            whole=False,
            parameter=lambda quality: {"quality_layers": [quality]},
        ),
        Peer("avif-420", "AVIF", _avif("4:2:0"), "avif", _AVIF_QUALITIES),
        Peer("avif-444", "AVIF", _avif("4:4:4"), "avif", _AVIF_QUALITIES),
        # In XYB 4:4:4; the qualities are libjxl's, of distances from 12 to 1.
        Peer("jxl", "JXL", {"effort": 8}, None, (15, 25, 34, 46, 57, 68, 79, 86, 90), whole=False),
    )
}


def get(name: str) -> Peer:
    """The codec of that name, ready to run.

    Raises:
      InputError: no such codec.
      MissingBackendError: its library is not installed.
    """
    if name not in PEERS:
        raise InputError(f"expected a codec of {', '.join(PEERS)}, found {name!r}")
    peer = PEERS[name]
    if peer.library is None:
        try:
            import pillow_jxl  # noqa: F401 - registers the format with Pillow
        except ImportError as error:
            raise MissingBackendError(
                f"{name}: expected the package pillow-jxl-plugin, found none; "
                "pip install 'ycc_jax[eval]'"
            ) from error
    elif not features.check(peer.library):
        raise MissingBackendError(
            f"{name}: expected a Pillow built with {peer.library}, found one without; "
            "pip install --force-reinstall pillow"
        )
    return peer
