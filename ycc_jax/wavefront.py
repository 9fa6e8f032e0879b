"""The serial part of the codec: y, wave after wave.

The 5x5 type-A mask lets all positions with equal t = 3 * row + column be coded together: each needs
only positions with a smaller t. That makes W + 3 (H - 1) waves in place of H * W single positions,
with the same numbers. Encoder and decoder walk the same waves with the same step; they differ only
in where a wave's symbols come from (`exchange`).
"""

from collections.abc import Callable, Iterator

import numpy as np

from ycc_jax.exact.fixed_point import dequantise
from ycc_jax.nets.context import TAPS

# Positions that a compiled step takes: every picture size shares these programs. A 768x512 picture
# has 16 to a wave, and fewer in its corners.
SIZES = (8, 16)
POSITIONS = SIZES[-1]

Step = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
# Rows, columns and channels: an index of y. The channels may be a slice.
Place = tuple[np.ndarray, np.ndarray, slice]
Exchange = Callable[[Place, np.ndarray, np.ndarray], np.ndarray]


def waves(height: int, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, columns), int arrays, of the positions of each wave; rows ascend within a wave."""
    for t in range(width + 3 * (height - 1)):
        rows = np.arange(max(0, -(-(t - width + 1) // 3)), min(height, t // 3 + 1))
        if rows.size:
            yield rows, t - 3 * rows


def y_hat(
    hyper: np.ndarray,
    channels: int,
    step: Step,
    see: Callable[[np.ndarray], np.ndarray],
    exchange: Exchange,
) -> np.ndarray:
    """The whole latent, symbols and all.

    Args:
      hyper: hyper features (h, w, F), int32.
      channels: M.
      step: the compiled part, (hyper (K, F), neighbours (K, 12 M)) -> mean, Q8, and table index,
        int32 (K, M) each, with K one of SIZES; unused positions are zeros.
      see: y_hat (n, M) -> what the context sees of it, int16 (n, M).
      exchange: (place of n positions, mean (n, M), index (n, M)) -> symbols (n, M), integers;
        a `Writer` chooses and keeps them, a `Reader` reads them (`entropy/symbols.py`).

    Returns:
      y_hat = symbols + mean, int32 (h, w, M), Q8.
    """
    height, width, features = hyper.shape
    found = np.zeros((height, width, channels), np.int32)
    # Two zero rows above and two zero columns on either side stand beyond the border.
    seen = np.zeros((height + 2, width + 4, channels), np.int16)
    tap_rows, tap_columns = np.array(TAPS).T
    step_hyper = np.zeros((POSITIONS, features), np.int32)
    neighbours = np.zeros((POSITIONS, len(TAPS), channels), np.int16)
    for wave_rows, wave_columns in waves(height, width):
        for start in range(0, wave_rows.size, POSITIONS):
            rows = wave_rows[start : start + POSITIONS]
            columns = wave_columns[start : start + POSITIONS]
            n = rows.size
            size = next(size for size in SIZES if size >= n)
            step_hyper[:n] = hyper[rows, columns]
            neighbours[:n] = seen[rows[:, None] + tap_rows + 2, columns[:, None] + tap_columns + 2]
            step_hyper[n:size], neighbours[n:size] = 0, 0
            parameters = step(step_hyper[:size], neighbours[:size].reshape(size, -1))
            mean, index = (a[:n] for a in parameters)
            symbols = exchange((rows, columns, slice(None)), mean, index)
            found[rows, columns] = dequantise(symbols, mean)
            seen[rows + 2, columns + 2] = see(found[rows, columns])
    return found
