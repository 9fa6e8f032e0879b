"""What a model can be built of, by name; and how a module of your own gets a name.

A name stands in configs, in arguments of `build` and in a codec model's model.json. A registered
module trains, is frozen and codes like those of the library; whoever decodes has to register it
too, under the same name, before the model is loaded. Nothing is registered twice: a name in a file
means one thing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ycc_jax.entropy import asymmetric, gaussian
from ycc_jax.nets import grouped
from ycc_jax.nets.dlec import DlecAnalysis, DlecSynthesis
from ycc_jax.nets.grouped import Step
from ycc_jax.nets.joint import JointAnalysis, JointSynthesis
from ycc_jax.nets.residual import ResidualAnalysis, ResidualSynthesis


class Transform(NamedTuple):
    """A pair of analysis and synthesis; fields as in `register_transform`."""

    analysis: Callable[[Any], Any]
    synthesis: Callable[[Any], Any]
    planes: bool
    level: bool


def _dlec(model: Any) -> tuple[str, bool, str]:
    return model.activation, model.linear_shortcut, model.layout


def _residual(model: Any) -> tuple[str, tuple[int, ...]]:
    return model.activation, model.grid if model.level_aware_transform else ()


TRANSFORMS: dict[str, Transform] = {
    "joint": Transform(
        lambda m: JointAnalysis(m.N, m.M, m.activation, linear_shortcut=m.linear_shortcut),
        lambda m: JointSynthesis(m.N, m.activation, linear_shortcut=m.linear_shortcut),
        planes=False,
        level=False,
    ),
    "dlec": Transform(
        lambda m: DlecAnalysis(m.N, m.M, *_dlec(m)),
        lambda m: DlecSynthesis(m.N, *_dlec(m)),
        planes=True,
        level=False,
    ),
    "residual": Transform(
        lambda m: ResidualAnalysis(m.strided_widths, m.analysis_blocks, m.M, *_residual(m)),
        lambda m: ResidualSynthesis(m.strided_widths, m.synthesis_blocks, *_residual(m)),
        planes=True,
        level=True,
    ),
}

CONTEXTS: dict[str, Callable[[Any], tuple[Step, ...]]] = {
    "grouped": lambda m: grouped.steps(m.M, m.groups, m.phases),
}
"""Contexts that code y in steps of whole planes; "none" and "autoregressive" are the others."""

LIKELIHOODS: dict[str, Any] = {"gaussian": gaussian, "asymmetric_gaussian": asymmetric}


def register_transform(
    name: str,
    analysis: Callable[[Any], Any],
    synthesis: Callable[[Any], Any],
    *,
    planes: bool = False,
    level: bool = False,
) -> None:
    """Makes `transform=name` an argument of models.

    Args:
      name: a new name.
      analysis, synthesis: functions of the `HyperpriorModel`, whose attributes (N, M, ...) they may
        use, that return a Flax Linen module each.
        The analysis is called with the picture, centred at 0: (B, H, W, 3), H and W multiples of
        64; or with `planes` luma (B, H, W, 1) and chroma (B, H/2, W/2, 2). It returns y (B, H/16,
        W/16, M), before the gain. The synthesis takes y_hat, with the inverse gain applied, and
        returns what the analysis took. Neither may reach further than 64 pixels (`tiling.HALO`):
        tiles would have seams, and a region other samples than the whole picture.
      planes: whether it codes luma and half-size chroma, and so also 4:2:0 pictures.
      level: whether both are also given the level, (B,) or (B, number of axes), as their last
        argument.

    Raises:
      ValueError: there is a transform of that name.
    """
    _add(TRANSFORMS, "transform", name, Transform(analysis, synthesis, planes, level))


def register_context(name: str, steps: Callable[[Any], tuple[Step, ...]]) -> None:
    """Makes `context=name` an argument of models: y coded in an order of your own.

    Each step codes one group of channels at the positions of one phase, and is predicted by the
    nets of `grouped.GroupParameters` from the hyper features, from all that is coded of lower
    channels, and from what is coded of its own.

    Args:
      name: a new name.
      steps: function of the `HyperpriorModel` that returns the steps, `grouped.Step`, in coding
        order: groups that share the M channels out among them, each with the phases 0, 1, ... of
        one pattern, in this order. `build` checks that.

    Raises:
      ValueError: there is a context of that name.
    """
    if name in ("none", "autoregressive"):
        raise ValueError(f"expected a new name of a context, found {name!r}")
    _add(CONTEXTS, "context", name, steps)


def register_likelihood(name: str, likelihood: Any) -> None:
    """Makes `likelihood=name` an argument of models: a density of y given mean and scales.

    Args:
      name: a new name.
      likelihood: module or object with

        - SCALES: how many scales the nets give each symbol;
        - ROWS: of the coding tables;
        - bits(y, mean, *scales): -log2 P(y), elementwise, float32, differentiable, of a density
          that is convolved with U(-1/2, 1/2), as those of `entropy/gaussian.py`;
        - coding_tables(): `CdfTables` of the symbols y - mean, ROWS rows
          (`entropy.tables.tables_from_pmf` makes them);
        - index(*places): the row of each symbol, int32, from the places of its scales on the scale
          table, Q8 (256 a row of `entropy.tables.SCALE_TABLE`), below 0 and above the table too;
          in integer arithmetic, so that every machine finds the same row.

    Raises:
      ValueError: there is a likelihood of that name, or a part of it is missing.
    """
    parts = ("SCALES", "ROWS", "bits", "coding_tables", "index")
    missing = [part for part in parts if not hasattr(likelihood, part)]
    if missing:
        raise ValueError(f"expected a likelihood with {', '.join(parts)}, found no {missing[0]}")
    _add(LIKELIHOODS, "likelihood", name, likelihood)


def _add(kinds: dict[str, Any], kind: str, name: str, value: Any) -> None:
    if name in kinds:
        raise ValueError(f"expected a new name of a {kind}, found {name!r}, which is taken")
    kinds[name] = value
