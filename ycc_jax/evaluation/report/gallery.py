"""Pictures at matched rates for the report: each original, and what codecs make of it.

The first codec is a model: it is walked through its qualities, and every other codec is searched
for the quality whose file is nearest in size. All is encoded and decoded really.
"""

import base64
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ycc_jax.codec import Codec
from ycc_jax.evaluation.peers import Peer
from ycc_jax.evaluation.report.bit_map import decode_with_bits
from ycc_jax.metrics.psnr import psnr

SAMPLES = ("astronaut", "chelsea", "coffee", "rocket")
"""Photographs inside scikit-image's wheel, free to show (CC0 or public domain)."""


@dataclass(frozen=True)
class Subject:
    """A codec as the gallery sees it.

    Attributes:
      name: of the codec.
      qualities: those to choose from, from the smallest file to the largest.
      encode: (uint8 (H, W, 3), quality) -> bytes.
      decode: bytes -> (uint8 (H, W, 3), bits of each 16x16 block (h, w) or None).
      settings: what its pictures depend on beside the quality.
    """

    name: str
    qualities: Sequence[float | None]
    encode: Callable
    decode: Callable
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """Pictures and what codecs make of them, for the page.

    Attributes:
      subjects: the codecs.
      pictures: a dict each of "name", "width", "height", "original" (a key of images) and "codecs":
        for each subject a list of points, dicts of "quality", "bytes", "bpp", "psnr" (of luma, dB;
        None if exact), "image" (a key) and, where known, "bits", a dict of "columns" and
        "values", the bits of the 16x16 blocks row by row.
      images: lossless WebP in base64: what is seen is what was decoded.
    """

    subjects: Sequence[Subject]
    pictures: list[dict]
    images: dict[str, str] = field(repr=False)


def of_model(codec: Codec) -> Subject:
    """The subject of a codec model, at every whole quality or its only one."""
    return Subject(
        codec.model.name,
        range(101) if codec.net.levels > 1 else (None,),
        lambda rgb, quality: codec.encode(rgb, quality=quality),
        lambda data: decode_with_bits(codec, data),
        {"weights_hash": codec.model.weights_hash.hex()},
    )


def of_peer(peer: Peer) -> Subject:
    """The subject of a classic codec, at its whole qualities."""
    low, high = peer.scale
    qualities = range(math.ceil(low), math.floor(high) + 1)
    return Subject(
        peer.name, qualities, peer.encode, lambda data: (peer.decode(data), None), peer.settings
    )


def samples(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H, W, 3)) of the first `SAMPLES`."""
    from skimage import data

    for name in SAMPLES[:count]:
        yield name, getattr(data, name)()


def exhibit(
    subjects: Sequence[Subject],
    pictures: Sequence[tuple[str, np.ndarray]],
    steps: int,
    progress: Callable[[str], Any] = lambda done: None,
) -> Gallery:
    """Codes pictures for the page.

    Args:
      subjects: the codecs; the first one's qualities are walked.
      pictures: (name, uint8 (H, W, 3)).
      steps: number of qualities, evenly spread over those of the first subject.
      progress: called with "PICTURE, CODEC" after each.

    Returns:
      The first subject has a point a step, the others one of nearest size for each, without
      repetitions.
    """
    shown, images = [], {}
    for number, (name, rgb) in enumerate(pictures):
        images[f"image-{number}"] = _webp(rgb)
        height, width = rgb.shape[:2]
        picture = {"name": name, "width": width, "height": height, "codecs": []}
        picture["original"] = f"image-{number}"
        sizes = None
        for c, subject in enumerate(subjects):
            ladder = _Ladder(subject, rgb)
            if sizes is None:
                qualities = _spread(subject.qualities, steps)
                sizes = [len(ladder.file(q)) for q in qualities]
            else:
                qualities = sorted({ladder.nearest(size) for size in sizes})
            points = []
            for p, quality in enumerate(subject.qualities[q] for q in qualities):
                key = f"image-{number}-{c}-{p}"
                point, decoded = _point(subject, rgb, ladder.file(qualities[p]))
                points.append({"quality": quality, **point, "image": key})
                images[key] = _webp(decoded)
            picture["codecs"].append(points)
            progress(f"{name}, {subject.name}")
        shown.append(picture)
    return Gallery(subjects, shown, images)


class _Ladder:
    """The files of one picture by index of the quality, each encoded once."""

    def __init__(self, subject, rgb):
        self.subject, self.rgb, self.files = subject, rgb, {}

    def file(self, index):
        if index not in self.files:
            quality = self.subject.qualities[index]
            self.files[index] = self.subject.encode(self.rgb, quality)
        return self.files[index]

    def nearest(self, size):
        """The index whose file is nearest in the logarithm of its size, which rises with it."""
        low, high = 0, len(self.subject.qualities) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if len(self.file(middle)) <= size else (low, middle)
        return min(low, high, key=lambda i: abs(math.log(len(self.file(i)) / size)))


def _spread(qualities, steps):
    """Indexes, ascending, evenly from the first quality to the last."""
    return sorted({round(i) for i in np.linspace(0, len(qualities) - 1, max(steps, 2))})


def _point(subject, rgb, data):
    decoded, bits = subject.decode(data)
    point = {
        "bytes": len(data),
        "bpp": 8 * len(data) / (rgb.shape[0] * rgb.shape[1]),
        "psnr": None if np.array_equal(rgb, decoded) else psnr(rgb, decoded)["psnr-y"],
    }
    if bits is not None:
        values = np.rint(bits).astype(int).ravel().tolist()
        point["bits"] = {"columns": bits.shape[1], "values": values}
    return point, decoded


def _webp(rgb):
    file = io.BytesIO()
    # `exact` and no more effort than 4: effort 6 saves 1 % in forty times the time.
    Image.fromarray(rgb).save(file, "WEBP", lossless=True, method=4, exact=True)
    return base64.b64encode(file.getvalue()).decode()
