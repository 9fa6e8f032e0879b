"""`dlec_gain` with the grouped context: ten parallel steps in place of W + 3 (H - 1) waves.

Groups of channels that grow from the lowest frequencies on, each in two phases of a checkerboard
(Minnen & Singh 2020; He et al. 2021, 2022).

python -m train.main --config configs/dlec_gain_grouped.py --workdir runs/dlec_gain_grouped \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec_gain_grouped"
    config.model.context = "grouped"
    config.model.groups = (16, 16, 32, 64)  # the last group has the rest
    config.model.phases = 2
    return config.lock()
