"""python -m train.main --config configs/dlec_gain.py --workdir DIR [--config.train.steps=1000 ...]

Only flags live here; `loop.train_and_evaluate` is what Colab and the tests call.
"""

import logging

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from train.loop import train_and_evaluate

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Configuration file.", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, the exported model.")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags, found {' '.join(argv[1:])!r}")
    # Only this package's progress: orbax and jax log every file and device at INFO.
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("train").setLevel(logging.INFO)
    train_and_evaluate(FLAGS.config, FLAGS.workdir)


if __name__ == "__main__":
    app.run(main)
