"""Where in the picture the bits of a `.ycc` stream went."""

import numpy as np

from ycc_jax.codec import Codec
from ycc_jax.pictures.planes import Planes
from ycc_jax.stages import Stages
from ycc_jax.wavefront import Place

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
    z, tables = recorder.z, codec.model.tables
    channels = np.broadcast_to(np.arange(z.shape[-1]), z.shape)
    bits = tables["z"].bits(z, channels).sum(axis=-1, dtype=np.float64)
    # A position of z lies over 4x4 of y; where there is no y beside it, z is the latent itself.
    side = codec.net.stride // BLOCK
    bits = np.kron(bits, np.full((side, side), 1 / side**2))
    for place, symbols, index in recorder.waves:
        np.add.at(bits, place[:2], tables["y"].bits(symbols, index).sum(axis=-1))
    return picture, bits


class Recorder(Stages):
    """The same compiled stages, which remember the symbols that pass through them."""

    def __init__(self, stages: Stages):
        vars(self).update(vars(stages))
        self.z = np.zeros(0)
        self.waves: list[tuple[Place, np.ndarray, np.ndarray]] = []

    def y_hat(self, z, level, exchange):
        self.z = z

        def recorded(place, mean, index):
            symbols = exchange(place, mean, index)
            self.waves.append((place, symbols, index))
            return symbols

        return super().y_hat(z, level, recorded)
