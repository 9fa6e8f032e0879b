"""`dlec_gain` trained for MS-SSIM of RGB instead of MSE; --config.loss.space=ycbcr for YCbCr.

The lambdas are CompressAI's for 1 - MS-SSIM. Crops must be above 160 pixels (of 4:2:0 planes, above
320). A plane that starts far off has no gradient: where the loss stalls, start from a model trained
for MSE (--config.optim.start_from).

python -m train.main --config dlec_gain_ms_ssim --workdir runs/dlec_gain_ms_ssim \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec_gain_ms_ssim"
    config.loss.metric = "ms_ssim"
    config.loss.space = "rgb"
    config.loss.lambdas = (2.40, 4.58, 8.73, 16.64, 31.73, 60.50, 115.37, 220.00)
    return config.lock()
