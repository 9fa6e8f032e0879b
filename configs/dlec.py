"""DLEC at a single rate: YCbCr through luma and chroma branches (Egilmez et al. 2021).

One training run a rate: choose it by --config.loss.lambdas="(0.0067,)".

python -m train.main --config dlec --workdir runs/dlec \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec"
    config.model.levels = 0
    config.model.level_aware = False
    config.loss.lambdas = (0.0130,)
    return config.lock()
