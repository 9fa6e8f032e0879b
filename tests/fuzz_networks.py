"""What `fuzz.py` does to whole decoders: those of small random models."""

import collections
import contextlib
import dataclasses
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from fuzz_container import MAX_PIXELS, outcome, repaired
from test_models import RGB, parameters

from ycc_jax import bitstream, models
from ycc_jax.codec import Codec, load
from ycc_jax.codec_model import export_model
from ycc_jax.entropy.symbols import Reader
from ycc_jax.errors import YccError
from ycc_jax.head import read_head
from ycc_jax.header import Header
from ycc_jax.pictures.planes import Planes

GRID = dict(levels=2, chroma_weights=(0.025, 0.25, 1.0), subsampling="420")
MODELS = (
    dict(levels=2),
    dict(GRID, context="grouped", groups=(2, 3)),
    dict(RGB, hyperprior="scale", context="none"),
    dict(RGB, hyperprior="none", context="none"),
)
SIZES = ((1, 1), (17, 31), (70, 130))  # height, width


def networks(folder: Path) -> tuple["Networks", list[bytes]]:
    """The target of that name, and files to start from."""
    target = Networks(folder, symbols=False)
    return target, target.files


def symbols(folder: Path) -> tuple["Networks", list[bytes]]:
    """As `networks`, of the target of that name."""
    target = Networks(folder, symbols=True)
    return target, target.files


class Networks:
    """The targets through the networks.

    Args:
      folder: for the models, which are small and random.
      symbols: whether the checksum of symbols passes.
      kinds: arguments of the models.

    Attributes:
      symbols: as above.
      files: to start from.
    """

    def __init__(self, folder: Path, symbols: bool, kinds: tuple[dict, ...] = MODELS):
        self.symbols = symbols
        self._codecs = [_codec(folder / str(n), kind) for n, kind in enumerate(kinds)]
        self._hashes = tuple(codec.model.weights_hash for codec in self._codecs)
        self._pictures = collections.defaultdict(list)
        self.files = []
        for number, coder in enumerate(self._codecs):
            for data in _files(coder):
                self._pictures[_named(data)].append(coder.decode(data))
                # As `repaired` reads it: these files need no other model tomorrow.
                self.files.append(data[:7] + bytes([number, 0, 0, 0]) + data[11:])

    def __call__(self, data: bytes) -> None:
        data, choice = repaired(data, self._hashes), zlib.crc32(data)
        stream = outcome(bitstream.unpack, data, MAX_PIXELS, partial=True, region=True)
        if isinstance(stream, YccError):
            return
        header = stream.header
        coder = self._codecs[self._hashes.index(header.weights_hash)]
        with symbols_pass() if self.symbols else contextlib.nullcontext():
            self._decode(coder, header, data, choice)

    def _decode(self, coder: Codec, header: Header, data: bytes, choice: int) -> None:
        how, choice = choice % 3, choice // 3
        limit = {"max_pixels": MAX_PIXELS}
        if how == 0:
            found = outcome(coder.decode, data, **limit)
            self._check(header, data, found)
            return
        partial = outcome(coder.decode_partial, data, **limit)
        if isinstance(partial, YccError):
            picture, lost = partial, 0
        else:
            picture, lost = partial
            assert 0 <= lost < 1
            _check_shape(header, picture)
        if lost == 0:
            self._check(header, data, picture)
        if how == 1:
            return
        x, y = choice % header.width, choice // 256 % header.height
        if header.planes:
            x, y = x & ~1, y & ~1
        width = 1 + choice // 65536 % (header.width - x)
        height = 1 + choice // 1024 % (header.height - y)
        found = outcome(coder.decode, data, region=(x, y, width, height), **limit)
        if not isinstance(found, YccError) and not isinstance(picture, YccError) and lost == 0:
            _check_equal(crop(picture, x, y, width, height), found)

    def _check(self, header: Header, data: bytes, found) -> None:
        if isinstance(found, YccError):
            return
        _check_shape(header, found)
        if not self.symbols:
            assert any(_equal(found, known) for known in self._pictures[_named(data)])


@contextlib.contextmanager
def symbols_pass() -> Iterator[None]:
    """Every checksum of symbols is taken for right."""
    finish = Reader.finish
    Reader.finish = lambda self, crc: finish(self, self.crc)
    try:
        yield
    finally:
        Reader.finish = finish


def crop(picture: np.ndarray | Planes, x: int, y: int, width: int, height: int):
    """That part of it; of planes x and y are even."""
    if not isinstance(picture, Planes):
        return picture[y : y + height, x : x + width]
    across, down = slice(x // 2, -(-(x + width) // 2)), slice(y // 2, -(-(y + height) // 2))
    return dataclasses.replace(
        picture,
        y=picture.y[y : y + height, x : x + width],
        cb=picture.cb[down, across],
        cr=picture.cr[down, across],
    )


def samples(picture: np.ndarray | Planes) -> list[np.ndarray]:
    """Its arrays."""
    return [picture.y, picture.cb, picture.cr] if isinstance(picture, Planes) else [picture]


def _equal(a, b) -> bool:
    return type(a) is type(b) and all(map(np.array_equal, samples(a), samples(b)))


def _check_equal(a, b) -> None:
    assert _equal(a, b)


def _check_shape(header: Header, picture: np.ndarray | Planes) -> None:
    assert isinstance(picture, Planes) == header.planes
    shape = (header.height, header.width)
    assert samples(picture)[0].shape == (shape if header.grey or header.planes else (*shape, 3))


def _named(data: bytes) -> bytes:
    """The head: what tells files apart whose symbols have the right checksum."""
    return data[: read_head(data)[1]]


def _codec(folder: Path, arguments: dict) -> Codec:
    arguments = dict(arguments, N=4, M=8)
    params = parameters(models.build(**arguments))
    export_model(folder, name=folder.name, arguments=arguments, params=params)
    return load(folder, backend="native")


def _files(coder: Codec) -> Iterator[bytes]:
    """Files of all kinds that a model codes."""
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        options = {"quality": 50 * number} if coder.net.levels else {}
        yield coder.encode(picture, tile=64 * (number % 2), **options)
        yield coder.encode(picture[..., 0], tile=64 * (1 - number % 2), **options)
        if coder.net.takes_planes:
            half = rng.integers(0, 256, (2, -(-height // 2), -(-width // 2)), np.uint8)
            planes = Planes(picture[..., 0], *half, 8, "full", "bt601", "center")
            yield coder.encode(planes, tile=64 * (number % 2), **options)
