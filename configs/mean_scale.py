"""Mean-scale hyperprior at a single rate, on RGB: Minnen et al. 2018 without the context model.

The layers and sizes of the published model (CompressAI's mbt2018-mean). Coding is parallel: no
serial part.

python -m train.main --config mean_scale --workdir runs/mean_scale \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.minnen import get_config as minnen


def get_config():
    config = minnen().unlock()
    config.name = "mean_scale"
    config.model.context = "none"
    return config.lock()
