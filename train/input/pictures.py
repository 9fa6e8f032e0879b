"""Pictures to train on: `open_source` finds them in scikit-image, a folder or a TFDS data set.

The arrays are numpy; tensorflow_datasets is imported only where it is chosen.
"""

import importlib.util
import logging
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import ImageOps

from ycc_jax.errors import InputError, MissingBackendError
from ycc_jax.pictures.image_opening import open_image
from ycc_jax.pictures.limits import check_pixels
from ycc_jax.vocabulary import DEFAULT_MAX_PIXELS, PICTURE_SUFFIXES

log = logging.getLogger(__name__)

MIN_SIDE = 32  # pixels; smaller files in a folder are icons and thumbnails, not photographs
# The colour photographs inside scikit-image's wheel that its documentation declares CC0 or public
# domain. Its Hubble picture is too, but being mostly black sky it would fill half of all crops.
SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
FORMS = '"samples", "folder:PATH" or "tfds:NAME[:SPLIT]"'
# A TFDS name may carry "/config" and ":1.2.3", and a split colons of its own: "train[:80%]".
TFDS_SPEC = re.compile(r"(?P<name>[^:]+(:\d+\.\d+\.\d+)?)(:(?P<split>.+))?")


class Pictures(Sequence):
    """Base of the sources: uint8 RGB arrays (H, W, 3), decoded when indexed.

    Attributes:
      areas: int64 (len,), the pixels of each picture, or None where only decoding would tell.
      decoded: all pictures, once a memory loader has read them; the next loader finds them here.
    """

    areas: np.ndarray | None = None
    decoded: list[np.ndarray | None] | None = None


class ImageFiles(Pictures):
    """Picture files, converted to RGB, EXIF orientation applied.

    Opening reads headers only. Files that the codec does not read either, high bit depth files
    (Pillow's conversion to RGB would clip them), files smaller than MIN_SIDE and files of more than
    DEFAULT_MAX_PIXELS are skipped with one warning.

    Attributes:
      paths: the files kept, in the order given.

    Raises:
      InputError: no file can be used.
      OSError, SyntaxError, ...: from indexing, what Pillow raises where pixel data is damaged.
    """

    def __init__(self, paths: Iterable[Path], origin: str):
        paths = list(paths)
        with ThreadPoolExecutor(decoding_threads()) as pool:
            areas = list(pool.map(_usable_area, paths))
        skipped = [path for path, area in zip(paths, areas, strict=True) if not area]
        if skipped:
            log.warning(
                "%s: skipped %d of %d files, unreadable, 16-bit, with a side under %d pixels or of "
                "more than %d pixels, first %s",
                *(origin, len(skipped), len(paths), MIN_SIDE, DEFAULT_MAX_PIXELS, skipped[0]),
            )
        self.paths = [path for path, area in zip(paths, areas, strict=True) if area]
        self.areas = np.array([area for area in areas if area], np.int64)
        if not self.paths:
            raise InputError(
                f"{origin}: expected readable image files ({', '.join(PICTURE_SUFFIXES)}), "
                f"found {len(paths)} files and none of use"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        with open(self.paths[index], "rb") as file:
            image = open_image(self.paths[index], file)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


class TfdsImages(Pictures):
    """The `image` feature of a TFDS split, read by random access without TensorFlow."""

    def __init__(self, name: str, split: str, data_dir: str | None):
        try:
            import tensorflow_datasets as tfds

            self._records = tfds.data_source(name, split=split, data_dir=data_dir)
            has_images = len(self._records) and "image" in self._records[0]
        except ImportError as error:
            raise MissingBackendError(
                f"tfds:{name} needs packages (pip install 'ycc-jax[train]'): {error}"
            ) from error
        except Exception as error:  # no such data set, version or split, no network, ...
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"tfds:{name}:{split}: cannot be opened ({reason})") from error
        if not has_images:
            raise InputError(f"tfds:{name}:{split}: expected examples with an `image` feature")

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> np.ndarray:
        image = np.asarray(self._records[index]["image"])
        return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


def open_source(spec: str, *, data_dir: str | None = None) -> Sequence[np.ndarray]:
    """The pictures that `spec` names, as a sequence of uint8 (H, W, 3) RGB arrays of any sizes.

    Args:
      spec: "samples" (a few photographs inside the scikit-image package, nothing is downloaded),
        "folder:PATH" (every image file below PATH, sorted by path) or "tfds:NAME[:SPLIT]" (a
        TensorFlow Datasets data set with an `image` feature, stored as array_record; "train").
      data_dir: where TFDS keeps its data sets; None is its own default.

    Raises:
      InputError: unknown form, PATH is not a folder or has no usable pictures, no such data set
        or one without `image`.
      MissingBackendError: the package that the form needs is not installed.
    """
    form, _, rest = spec.partition(":")
    if spec == "samples":
        package = importlib.util.find_spec("skimage")
        if package is None:
            raise MissingBackendError('data "samples" needs scikit-image: pip install scikit-image')
        folder = Path(package.submodule_search_locations[0], "data")
        return ImageFiles([folder / name for name in SAMPLES], spec)
    if form == "folder" and rest:
        return ImageFiles(_image_paths(Path(rest).expanduser()), spec)
    if form == "tfds" and (match := TFDS_SPEC.fullmatch(rest)):
        return TfdsImages(match["name"], match["split"] or "train", data_dir)
    raise InputError(f"unknown data {spec!r}: expected {FORMS}")


def _image_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"folder:{folder}: expected a folder of images, found none there")
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".")
    )


def _usable_area(path: Path) -> int:
    try:
        with open(path, "rb") as file:
            image = open_image(path, file)
            check_pixels(path, *image.size, DEFAULT_MAX_PIXELS)
            usable = min(image.size) >= MIN_SIDE and image.mode[0] not in "IF"
            return image.width * image.height if usable else 0
    except Exception:  # whatever a parser trips over, the file is not a picture that Pillow opens
        return 0


def decoding_threads() -> int:
    """How many pictures to decode at a time."""
    return min(8, os.cpu_count() or 1)
