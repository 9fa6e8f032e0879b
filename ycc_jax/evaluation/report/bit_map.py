"""Where in the picture the bits of a `.ycc` stream went."""

import numpy as np

from ycc_jax import bitstream
from ycc_jax.codec import Codec
from ycc_jax.pictures.planes import Planes
from ycc_jax.pictures.tiling import Tiling
from ycc_jax.stages import Stages
from ycc_jax.wavefront import Place

Wave = tuple[Place, np.ndarray, np.ndarray]

BLOCK = 16
"""Pixels, down and across, of one position of the latent y."""


def decode_with_bits(codec: Codec, data: bytes) -> tuple[np.ndarray | Planes, np.ndarray]:
    """The picture of a stream, and the bits that each of its latent's positions took.

    Args:
      codec: of the model that made the stream.
      data: the stream.

    Returns:
      (what `codec.decode` returns, float64 (h, w)): -log2 p of the symbols of y at each position,
      summed over channels, p being what the coding tables give them, and the position's equal share
      of the symbols of z that lie over it. The picture's top left is the first position's; the last
      ones may lie outside, in the padding. Their sum is the stream's size in bits but for the
      header and the coder's last bytes.

    Raises:
      YccError: as of `Codec.decode`.
    """
    recorder = Recorder(codec.stages)
    recording = Codec(codec.model, backend=codec.backend, stages=recorder)
    picture = recording.decode(data)
    header = bitstream.unpack(data).header
    tiling = Tiling(header.height, header.width, codec.net.stride, header.tile)
    height, width = tiling.picture.shape
    bits = np.zeros((height // BLOCK, width // BLOCK, 1))
    for tile, symbols in zip(tiling.tiles, recorder.tiles, strict=True):
        tile.of(bits, BLOCK)[..., 0] = _bits_of(codec, *symbols)
    return picture, bits[..., 0]


def _bits_of(codec: Codec, z: np.ndarray, waves: list[Wave]) -> np.ndarray:
    """Bits at each position of a tile, (h, w)."""
    tables = codec.model.tables
    channels = np.broadcast_to(np.arange(z.shape[-1]), z.shape)
    bits = tables["z"].bits(z, channels).sum(axis=-1, dtype=np.float64)
    # A position of z lies over 4x4 of y; where there is no y beside it, z is the latent itself.
    side = codec.net.stride // BLOCK
    bits = np.kron(bits, np.full((side, side), 1 / side**2))
    for place, symbols, index in waves:
        np.add.at(bits, place[:2], tables["y"].bits(symbols, index).sum(axis=-1))
    return bits


class Recorder(Stages):
    """The same compiled stages, which remember the symbols that pass through them: of each tile
    those of z, and place, symbols and indexes of every part of y."""

    def __init__(self, stages: Stages):
        vars(self).update(vars(stages))
        self.tiles: list[tuple[np.ndarray, list[Wave]]] = []

    def y_hat(self, z, level, exchange):
        waves: list[Wave] = []
        self.tiles.append((z, waves))

        def recorded(place, mean, index):
            symbols = exchange(place, mean, index)
            waves.append((place, symbols, index))
            return symbols

        return super().y_hat(z, level, recorded)
