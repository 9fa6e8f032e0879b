"""The systems of the reference comparison at equal size, start and budget: `comparison:SYSTEM`.

  dlec_gain     YCbCr, luma and chroma branches, PReLU, gain units: one model for every rate
  minnen_gain   RGB, one stack, GDN, gain units, trained for the MSE of RGB
  dlec-LAMBDA   `dlec_gain` at a single rate, as in dlec-0.0130

All start as the lapped transform with gains in closed form, for a budget of this size says nothing
about networks that start from nothing; and all have entropy nets that see the level.

python -m train.main --config comparison:minnen_gain --workdir runs/minnen_gain \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default
from configs.dlec_gain_small import get_config as small
from ycc_jax.errors import InputError


def get_config(system="dlec_gain"):
    config = small().unlock()
    config.name = f"comparison_{system}"
    config.model.update(
        transform="dlec",
        widths=(),
        level_aware_transform=False,
        chroma_weights=(),
        entropy_width=160,
    )
    config.model.levels, config.loss.lambdas = 8, default().loss.lambdas
    config.data.late.step = 0
    config.train.steps = 1200
    name, _, lmbda = system.partition("-")
    if name == "minnen_gain":
        config.model.update(transform="joint", color_space="rgb", activation="gdn")
        config.loss.space = "rgb"
    elif name == "dlec":
        config.model.levels = 1
        try:
            config.loss.lambdas = (float(lmbda),)
        except ValueError as error:
            raise InputError(
                f"expected dlec-LAMBDA, as in dlec-0.0130, found {system!r}"
            ) from error
    elif name != "dlec_gain":
        raise InputError(f"expected dlec_gain, minnen_gain or dlec-LAMBDA, found {system!r}")
    return config.lock()
