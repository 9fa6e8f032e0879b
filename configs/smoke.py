"""A tiny `dlec_gain` that runs every part: a minute on two CPU cores, most of it compilation.

python -m train.main --config smoke --workdir runs/smoke
"""

from configs.common import default


def get_config():
    config = default()
    config.name = "smoke"
    config.model.N = 8
    config.model.M = 64
    config.model.linear_shortcut = True
    config.model.entropy_width = 16
    config.model.surrogate = "mixed"
    config.loss.balance = 0.5
    config.optim.closed_form_start = True
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 5
    config.data.batch_size = 8
    config.data.crop = 64
    config.train.steps = 30
    config.train.log_every = 5
    config.train.eval_every = 15
    config.train.checkpoint_every = 15
    return config.lock()
