"""The bundled model: a small `dlec_gain` for ordinary CPUs to run, and for one GPU to train.

DLEC, narrow at stride 2 and wider at 4 and 8 with residual blocks that know the level, beside a
lapped linear transform that starts in closed form, so that the first step already starts from a
working transform codec. Its gains are a grid of rates and chroma weights. How the bundled weights
were trained: `benchmarks/timed_training.py`.

python -m train.main --config dlec_gain_small --workdir runs/small \\
    --config.data.source=folder:PHOTOGRAPHS
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "dlec_gain_small"
    config.model.N = 48
    config.model.transform = "residual"
    config.model.widths = (64, 128, 256)
    config.model.analysis_blocks = (3, 5)
    config.model.synthesis_blocks = (2, 3)
    config.model.level_aware_transform = True
    config.model.chroma_weights = (0.025, 0.1, 0.25, 1.0)
    config.model.levels = 10
    config.model.linear_shortcut = True
    config.model.entropy_width = 192
    config.model.surrogate = "mixed"
    # Two rates below those of the literature: from 0.05 bits per pixel on.
    config.loss.lambdas = (0.0004, 0.0009, *config.loss.lambdas)
    config.loss.balance = 0.5
    config.optim.closed_form_start = True
    config.optim.learning_rate = 1e-3
    config.data.batch_size = 8
    config.data.crop = 128
    config.data.late.update(step=6_400, crop=256, batch_size=4)  # the codec meets little border
    config.train.steps = 9_600
    config.train.log_every = 20
    config.train.eval_every = 1000
    config.train.checkpoint_every = 250
    return config.lock()
