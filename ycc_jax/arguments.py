"""Which arguments of `models.HyperpriorModel` there are, and which fit together."""

from typing import Any

from ycc_jax.prior import LIKELIHOODS
from ycc_jax.transforms.dlec import LAYOUTS

CHOICES = {
    "transform": ("joint", "dlec"),
    "layout": LAYOUTS,
    "color_space": ("rgb", "ycbcr"),
    "subsampling": ("444", "420"),
    "hyperprior": ("none", "scale", "mean_scale"),
    "context": ("none", "autoregressive"),
    "likelihood": tuple(LIKELIHOODS),
    "surrogate": ("noise", "mixed"),
}


def check(model: Any) -> None:
    """ValueError unless every argument of a `HyperpriorModel` is allowed, and they fit together."""
    for name, allowed in CHOICES.items():
        if getattr(model, name) not in allowed:
            found = getattr(model, name)
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, found {found!r}")
    direct = model.context == "none" and not model.level_aware
    for broken, message in (
        (model.level_aware and not model.levels, "level_aware expects gain levels, found levels=0"),
        (model.alphas and not model.levels, "alphas expect gain levels, found levels=0"),
        (
            any(a <= 0 for a in model.alphas) or list(model.alphas) != sorted(set(model.alphas)),
            f"alphas must be positive and ascending, found {model.alphas}",
        ),
        (
            model.transform == "dlec" and model.color_space != "ycbcr",
            f"transform 'dlec' expects color_space 'ycbcr', found {model.color_space!r}",
        ),
        (
            model.subsampling == "420" and model.transform != "dlec",
            "subsampling '420' expects transform 'dlec', found 'joint'",
        ),
        (
            model.linear_shortcut and (model.transform != "dlec" or model.layout == "separate"),
            "linear_shortcut expects transform 'dlec' in a layout that mixes luma and chroma, "
            f"found {model.transform!r}, {model.layout!r}",
        ),
        (
            model.hyperprior == "none" and bool(model.levels or model.context != "none"),
            "hyperprior 'none' expects levels=0 and context 'none', found "
            f"levels={model.levels}, {model.context!r}",
        ),
        (
            model.hyperprior == "scale" and not (direct and model.likelihood == "gaussian"),
            "hyperprior 'scale' expects context 'none', level_aware=False and likelihood "
            f"'gaussian', found {model.context!r}, {model.level_aware}, {model.likelihood!r}",
        ),
    ):
        if broken:
            raise ValueError(message)
