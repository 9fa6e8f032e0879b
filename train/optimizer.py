"""The optimiser of a run: clipping, then Adam, Muon or SOAP on a schedule, the shortcut slower."""

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from train.soap import soap
from ycc_jax.nets.lapped import in_shortcut


def optimizer(config: Any) -> optax.GradientTransformation:
    """Clipping to a global norm of `optim.clip_norm`, then Adam, Muon or SOAP on a schedule.

    The learning rate rises linearly from 0 over `optim.warmup_steps`, then falls along a cosine to
    `optim.final_fraction` of its peak at step `train.steps`.

    The lapped shortcut starts in closed form, nearly right, and high rates need it precise: it
    moves `optim.shortcut_rate` times as fast as the networks, which start from nothing.

    With `optim.optimizer` "muon" the kernels (`kernels`) move along the orthogonalised momentum
    (Jordan et al. 2024, "Muon"; Newton-Schulz with five steps), as long a step as Adam's by root
    mean square (Liu et al. 2025, "Muon is scalable for LLM training", 2.2), at
    `optim.kernel_rate` times the learning rate; all else by Adam with Nesterov's momentum.

    With "soap" the same kernels move by `train.soap`, also at `optim.kernel_rate` times the
    learning rate, and all else by Adam.
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
    elif optim.optimizer == "soap":
        rules = {"kernels": soap(schedule(optim.kernel_rate)), "rest": rule}
        rule = optax.partition(
            rules, lambda params: jax.tree.map(("rest", "kernels").__getitem__, is_kernel(params))
        )
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm),
        rule,
        optax.masked(optax.scale(optim.shortcut_rate), in_shortcut),
    )


def kernels(params: Any) -> Any:
    """For each parameter, which axes Muon takes as a matrix's, or None: those that Adam moves."""

    def axes(leaf: Any, taken: bool) -> MuonDimensionNumbers | None:
        if not taken:
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(axes, params, is_kernel(params))


def is_kernel(params: Any) -> Any:
    """For each parameter, whether it is one of the kernels that Muon and SOAP move.

    They are for the matrices inside a network. The last layer of the entropy parameters, whose
    outputs are means and scales, is left to Adam, as are densities, gains and the lapped shortcut.
    """

    def taken(path: tuple, _: Any) -> bool:
        names = [p.key for p in path]
        return names[-1] == "kernel" and not {"shortcut", "output"} & set(names)

    return jax.tree_util.tree_map_with_path(taken, params)
