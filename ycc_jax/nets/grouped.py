"""Context over groups of channels and phases of positions: a few steps, each of a whole plane.

A step predicts one group of channels at one phase of positions, from

  hyper features                       at every step
  the groups before it                 whole: channel-conditional, Minnen & Singh 2020, sec. 2.1
  its own phases that are coded        checkerboard or four phases, He et al. 2021

with groups that grow from the lowest frequencies on (ELIC: He et al. 2022, sec. 3). That is ten
steps for five groups of two phases, where the masked context of Minnen 2018 has W + 3 (H - 1)
waves, and it also models what channels of one position tell about each other.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ycc_jax.nets.context import EntropyParameters
from ycc_jax.nets.layers import Conv

Array = jax.Array

# Phase of position (row % 2, column % 2), by the number of phases. Every position has neighbours
# of the phases before its own on either side.
PHASES = {1: ((0,),), 2: ((0, 1), (1, 0)), 4: ((0, 2), (3, 1))}


class Step(NamedTuple):
    """Channels start .. stop - 1 at the positions of one phase of several.

    Attributes:
      start, stop: of the channels.
      phase: 0, 1, ...
      pattern: the phase of each position of a tile, row by row, that is repeated over the plane.
    """

    start: int
    stop: int
    phase: int
    pattern: tuple[tuple[int, ...], ...]

    @property
    def phases(self) -> int:
        """How many phases the pattern has."""
        return 1 + max(map(max, self.pattern))

    def mask(self, height: int, width: int) -> np.ndarray:
        """Which positions are of the phase, bool (height, width)."""
        rows, columns = len(self.pattern), len(self.pattern[0])
        tiled = np.tile(self.pattern, (-(-height // rows), -(-width // columns)))
        return tiled[:height, :width] == self.phase


def steps(M: int, groups: tuple[int, ...], phases: int) -> tuple[Step, ...]:
    """The steps in coding order.

    Args:
      M: channels of y.
      groups: channels of the groups but the last, which has the rest; together less than M.
      phases: 1, 2 or 4.
    """
    ends = np.cumsum([0, *groups, M - sum(groups)]).tolist()
    pairs = zip(ends[:-1], ends[1:], strict=True)
    pattern = PHASES[phases]
    return tuple(Step(*pair, phase, pattern) for pair in pairs for phase in range(phases))


def check_steps(steps: tuple[Step, ...], M: int) -> None:
    """ValueError unless each of M channels is coded once at every position, and phase 0 first."""
    found: dict[tuple[int, int], list[Step]] = {}
    for step in steps:
        found.setdefault((step.start, step.stop), []).append(step)
    ends = [0, *(stop for _, stop in sorted(found))]
    if sorted(found) != list(zip(ends[:-1], ends[1:], strict=True)) or ends[-1] != M:
        raise ValueError(
            f"expected steps whose groups share {M} channels, found groups {sorted(found)}"
        )
    for group, own in found.items():
        phases = [step.phase for step in own]
        rows = {len(row) for step in own for row in step.pattern}
        if len({step.pattern for step in own}) != 1 or len(rows) != 1 or 0 in rows:
            raise ValueError(f"expected one rectangular pattern of group {group}, found others")
        if phases != list(range(own[0].phases)):
            raise ValueError(
                f"expected phases 0 to {own[0].phases - 1} of group {group}, found {phases}"
            )


class GroupParameters(nn.Module):
    """Mean and scales of one group of channels.

    Attributes:
      channels: of the group, m.
      width: E, features of each context and of the hidden layers.
      scales, grid: as in `EntropyParameters`.
    """

    channels: int
    width: int
    scales: int
    grid: tuple[int, ...]

    @nn.compact
    def __call__(
        self,
        hyper: Array,
        before: Array,
        own: Array | None,
        level: Array,
        unit: Array,
    ) -> tuple[Array, ...]:
        """Mean and scales, (B, h, w, m) each, in float32.

        Args:
          hyper: features (B, h, w, F).
          before: y_hat of the groups before this one, (B, h, w, c), c from 0.
          own: y_hat of this group (B, h, w, m), zero where it is not coded yet; None if nowhere.
          level, unit: as in `EntropyParameters`, unit (B, 1, 1, m).
        """
        features = [hyper]
        if before.shape[-1]:
            features.append(Conv(self.width, 3, name="channel_context")(before))
        spatial = Conv(self.width, 5, name="spatial_context")
        if own is None and not self.is_initializing():
            features.append(jnp.zeros((*hyper.shape[:-1], self.width), hyper.dtype))
        else:
            # At initialisation a first phase, too, makes the parameters of the later ones.
            shape = (*hyper.shape[:-1], self.channels)
            features.append(spatial(jnp.zeros(shape, hyper.dtype) if own is None else own))
        widths = (2 * self.width, self.width)
        nets = EntropyParameters(self.channels, widths, self.scales, self.grid, name="nets")
        return nets(jnp.concatenate(features, axis=-1), level, unit)
