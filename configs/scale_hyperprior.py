"""Scale hyperprior at a single rate, on RGB (Balle et al. 2018): zero mean, scales from z.

The layers of the published model (CompressAI's bmshj2018-hyperprior): the hyper analysis sees |y|,
its nets have ReLU.

python -m train.main --config scale_hyperprior --workdir runs/scale_hyperprior \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.mean_scale import get_config as mean_scale


def get_config():
    config = mean_scale().unlock()
    config.name = "scale_hyperprior"
    config.model.hyperprior = "scale"
    return config.lock()
