"""Joint autoregressive and hierarchical priors at a single rate, on RGB (Minnen et al. 2018).

Four strided convolutions with GDN, mean-scale hyperprior, masked 5x5 context; the layers and sizes
of the published model. One training run a rate: choose it by --config.loss.lambdas="(0.0067,)".

python -m train.main --config minnen --workdir runs/minnen \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "minnen"
    config.model.transform = "joint"
    config.model.color_space = "rgb"
    config.model.activation = "gdn"
    config.model.levels = 0
    config.model.level_aware = False
    config.loss.space = "rgb"
    config.loss.lambdas = (0.0130,)
    return config.lock()
