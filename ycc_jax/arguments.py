"""Which arguments of `models.HyperpriorModel` there are, and which fit together."""

from typing import Any

from ycc_jax.nets.dlec import LAYOUTS
from ycc_jax.nets.grouped import PHASES, check_steps
from ycc_jax.registry import CONTEXTS, LIKELIHOODS, TRANSFORMS
from ycc_jax.vocabulary import RANGES, SUBSAMPLINGS, YCBCR_MATRICES

CHOICES = {
    "layout": LAYOUTS,
    "color_space": ("rgb", "ycbcr"),
    "matrix": YCBCR_MATRICES,
    "color_range": RANGES,
    "activation": ("gdn", "prelu"),
    "subsampling": SUBSAMPLINGS,
    "hyperprior": ("none", "scale", "mean_scale"),
    "surrogate": ("noise", "mixed"),
}


def check(model: Any) -> None:
    """ValueError unless every argument of a `HyperpriorModel` is allowed, and they fit together."""
    registered = {
        "transform": tuple(TRANSFORMS),
        "context": ("none", "autoregressive", *CONTEXTS),
        "likelihood": tuple(LIKELIHOODS),
    }
    for name, allowed in (registered | CHOICES).items():
        if getattr(model, name) not in allowed:
            found = getattr(model, name)
            more = f"; others by ycc_jax.register_{name}" if name in registered else ""
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, found {found!r}{more}")
    direct = model.context == "none" and not model.level_aware
    for broken, message in (
        (min(model.N, model.M) < 1, f"N and M must be at least 1, found {model.N} and {model.M}"),
        (
            min(model.levels, model.entropy_width) < 0,
            "levels and entropy_width must be at least 0, found "
            f"{model.levels} and {model.entropy_width}",
        ),
        (
            model.transform != "dlec" and model.layout != "branched",
            f"a layout is of transform 'dlec', found {model.layout!r} with {model.transform!r}",
        ),
        (model.passes < 1, f"passes must be at least 1, found {model.passes}"),
        (
            model.phases not in PHASES,
            f"phases must be one of {', '.join(map(str, PHASES))}, found {model.phases}",
        ),
        (
            model.context == "grouped"
            and not (min(model.groups, default=1) > 0 and sum(model.groups) < model.M),
            f"groups must be at least 1 and together less than M = {model.M}, found {model.groups}",
        ),
        (model.level_aware and not model.levels, "level_aware expects gain levels, found levels=0"),
        (
            model.chroma_weights and not model.levels,
            "chroma_weights expect gain levels, found levels=0",
        ),
        (
            any(a <= 0 for a in model.chroma_weights)
            or list(model.chroma_weights) != sorted(set(model.chroma_weights)),
            f"chroma_weights must be positive and ascending, found {model.chroma_weights}",
        ),
        (
            model.takes_planes and model.color_space != "ycbcr",
            f"transform {model.transform!r} expects color_space 'ycbcr', "
            f"found {model.color_space!r}",
        ),
        (
            model.subsampling == "420" and not model.takes_planes,
            "subsampling '420' expects a transform of planes, 'dlec' or 'residual', found 'joint'",
        ),
        (
            model.linear_shortcut
            and (model.layout == "separate")
            | (model.transform == "joint" and model.color_space != "rgb"),
            "linear_shortcut expects color_space 'rgb' with transform 'joint', or 'dlec' in a "
            f"layout that mixes luma and chroma, found {model.transform!r}, {model.color_space!r}, "
            f"{model.layout!r}",
        ),
        (
            model.transform == "residual" and (model.N < 2 or not model.linear_shortcut),
            "transform 'residual' expects linear_shortcut and N of at least 2, found "
            f"{model.linear_shortcut} and {model.N}",
        ),
        (
            model.transform == "residual"
            and (len(model.widths) not in (0, 3) or min(model.widths, default=2) < 2),
            f"widths must be three of at least 2 channels, or none, found {model.widths}",
        ),
        (
            any(
                len(blocks) != 2 or min(blocks) < 0
                for blocks in (model.analysis_blocks, model.synthesis_blocks)
            ),
            "analysis_blocks and synthesis_blocks must be two numbers of at least 0 each, found "
            f"{model.analysis_blocks} and {model.synthesis_blocks}",
        ),
        (
            model.level_aware_transform and not (model.levels and model.transform == "residual"),
            "level_aware_transform expects transform 'residual' and gain levels, found "
            f"{model.transform!r} and levels={model.levels}",
        ),
        (
            model.hyperprior == "none" and bool(model.levels or model.context != "none"),
            "hyperprior 'none' expects levels=0 and context 'none', found "
            f"levels={model.levels}, {model.context!r}",
        ),
        (
            model.hyperprior == "none"
            and bool(model.likelihood != "gaussian" or model.entropy_width),
            "hyperprior 'none' has no other likelihood and no entropy_width, found "
            f"{model.likelihood!r} and {model.entropy_width}",
        ),
        (
            model.hyperprior == "scale" and not (direct and model.likelihood == "gaussian"),
            "hyperprior 'scale' expects context 'none', level_aware=False and likelihood "
            f"'gaussian', found {model.context!r}, {model.level_aware}, {model.likelihood!r}",
        ),
    ):
        if broken:
            raise ValueError(message)
    check_steps(model.steps, model.M)
