"""The main model: YCbCr through DLEC, gain units, context; one model for every rate, at full size.

Sources: Egilmez et al. 2021 (transform), Cui et al. 2021 (gain units), Minnen et al. 2018 (entropy
model). The entropy-parameter nets see the level, which the papers' do not.
Cost: N=192, M=320, about 230 k multiply-adds a pixel forward; made for a GPU or TPU and days.

python -m train.main --config dlec_gain --workdir runs/dlec_gain \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    return default().lock()
