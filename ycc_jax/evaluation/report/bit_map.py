"""Where in the picture the bits of a `.ycc` stream went."""

import copy
from typing import Any

import numpy as np

from ycc_jax.codec import Codec
from ycc_jax.entropy.tables import TOTAL, CdfTables

BLOCK = 16
"""Pixels, down and across, of one position of the latent y."""


def decode_with_bits(codec: Codec, data: bytes) -> tuple[np.ndarray, np.ndarray]:
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
    recording = copy.copy(codec)
    recording.stages = recorder = _Recorder(codec.stages)
    picture = recording.decode(data)
    z, tables = recorder.z, codec.model.tables
    channels = np.broadcast_to(np.arange(z.shape[-1]), z.shape)
    bits = symbol_bits(z, channels, tables["z"]).sum(axis=-1)
    # A position of z lies over 4x4 of y; where there is no y beside it, z is the latent itself.
    side = codec.net.stride // BLOCK
    bits = np.kron(bits, np.full((side, side), 1 / side**2))
    for rows, columns, symbols, index in recorder.calls:
        np.add.at(bits, (rows, columns), symbol_bits(symbols, index, tables["y"]).sum(axis=-1))
    return picture, bits


def symbol_bits(symbols: np.ndarray, index: np.ndarray, tables: CdfTables) -> np.ndarray:
    """Bits that the range coder spends on each symbol, float64.

    Args:
      symbols: integers, any shape.
      index: the row of the tables for each, same shape.
      tables: CdfTables. Of a symbol outside its row's support the escape's bits and those of the
        Elias gamma code of its distance and sign are counted.
    """
    symbols, index = np.asarray(symbols, np.int64), np.asarray(index)
    escape = tables.length[index] - 2
    place = symbols - tables.offset[index]
    distance = np.where(place < 0, -place, place - escape + 1)
    outside = (place < 0) | (place >= escape)
    column = np.where(outside, escape, place)
    count = tables.cdf[index, column + 1].astype(np.int64) - tables.cdf[index, column]
    gamma = 2 * np.floor(np.log2(np.where(outside, distance, 1))) + 2
    return np.log2(TOTAL / count) + np.where(outside, gamma, 0)


class _Recorder:
    """Stages that remember the symbols which pass between them and the range coder."""

    def __init__(self, stages: Any):
        self._stages, self.z, self.calls = stages, np.zeros(0), []

    def __getattr__(self, name):
        return getattr(self._stages, name)

    def code(self, z, level, exchange):
        self.z = z

        def recorded(rows, columns, mean, index):
            symbols = exchange(rows, columns, mean, index)
            self.calls.append((rows, columns, symbols, index))
            return symbols

        return self._stages.code(z, level, recorded)
