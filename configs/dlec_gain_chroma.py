"""`dlec_gain` with gains on a grid, rate x chroma weight (after Ulas & Tekalp 2022).

One model also weighs chroma against luma as told: `ycc encode --chroma 0.05`.

python -m train.main --config dlec_gain_chroma --workdir runs/dlec_gain_chroma \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec_gain_chroma"
    config.model.chroma_weights = (0.025, 0.1, 0.25, 1.0)
    return config.lock()
