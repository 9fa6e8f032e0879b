"""`minnen` with gain units: one training run, a continuous range of rates (Cui et al. 2021).

As in the paper the entropy-parameter nets do not see the level.

python -m train.main --config minnen_gain --workdir runs/minnen_gain \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "minnen_gain"
    config.model.transform = "joint"
    config.model.color_space = "rgb"
    config.model.activation = "gdn"
    config.model.level_aware = False
    config.loss.space = "rgb"
    return config.lock()
