"""The optimiser of a run: clipping, then Adam or Muon on a schedule, the shortcut slower."""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from ycc_jax.nets.lapped import in_shortcut


def optimizer(config: Any) -> optax.GradientTransformation:
    """Clipping to a global norm of `optim.clip_norm`, then Adam or Muon on a schedule.

    The learning rate rises linearly from 0 over `optim.warmup_steps`, then falls along a cosine to
    `optim.final_fraction` of its peak at step `train.steps`.

    The lapped shortcut starts in closed form, nearly right, and high rates need it precise: it
    moves `optim.shortcut_rate` times as fast as the networks, which start from nothing.

    With `optim.optimizer` "muon" the kernels (`kernels`) move along the orthogonalised momentum
    (Jordan et al. 2024, "Muon"; Newton-Schulz with five steps), as long a step as Adam's by root
    mean square (Liu et al. 2025, "Muon is scalable for LLM training", 2.2), at
    `optim.kernel_rate` times the learning rate; all else by Adam with Nesterov's momentum.
    """
    optim = config.optim

    def schedule(factor: float) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=optim.learning_rate * factor,
            warmup_steps=optim.warmup_steps,
            decay_steps=max(config.train.steps, optim.warmup_steps + 1),
            end_value=optim.learning_rate * factor * optim.final_fraction,
        )

    rule = optax.adam(schedule(1.0))
    if optim.optimizer == "muon":
        rule = muon(
            schedule(optim.kernel_rate),
            adam_learning_rate=schedule(1.0),
            muon_weight_dimension_numbers=kernels,
            consistent_rms=0.2,
        )
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        rule,
        optax.masked(optax.scale(optim.shortcut_rate), in_shortcut),
    )


def kernels(params: Any) -> Any:
    """For each parameter, which axes Muon takes as a matrix's, or None: those that Adam moves.

    Muon is for the matrices inside a network. The last layer of the entropy parameters, whose
    outputs are means and scales, is left to Adam, as are densities, gains and the lapped shortcut.
    """

    def axes(path: tuple, leaf: Any) -> MuonDimensionNumbers | None:
        names = [p.key for p in path]
        if names[-1] != "kernel" or {"shortcut", "output"} & set(names):
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(axes, params)
