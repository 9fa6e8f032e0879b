"""`dlec_gain` on native 4:2:0 planes (Egilmez et al. 2021): the model resizes no chroma plane.

Photographs are converted in training, chroma as 2x2 means; the loss is measured on the planes. The
codec takes Y4M and raw planar files, and RGB by the same filter.

python -m train.main --config dlec_gain_420 --workdir runs/dlec_gain_420 \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec_gain_420"
    config.model.subsampling = "420"
    return config.lock()
