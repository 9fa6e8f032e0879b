"""python -m train.main --config configs/dlec_gain.py --workdir DIR [--config.train.steps=1000 ...]

Of several hosts each runs the same command with `--coordinator`, which makes them one run:

    --coordinator=HOST:PORT --num_processes=4 --process_id=0    HOST is where process 0 runs
    --coordinator=auto                                          as Slurm, Open MPI or a TPU pod say

The exit code is 0 at the end of the run, and 143 or 130 if SIGTERM or Ctrl-C stopped it before:
then the same command continues it. Only flags live here; `loop.train_and_evaluate` is what Colab
and the tests call.
"""

import logging
import sys

try:
    import jax
    from absl import app, flags
    from absl import logging as absl_logging
    from ml_collections import config_flags

    from train.hosts import is_first
    from train.loop import train_and_evaluate
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    print(
        f"error: expected {error.name} to be installed, found none: pip install 'ycc-jax[train]'",
        file=sys.stderr,
    )
    sys.exit(2)

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Configuration file.", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, the exported model.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of a run of several, or auto.")
flags.DEFINE_integer("num_processes", None, "How many processes the run has.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"expected only flags, found {' '.join(argv[1:])!r}")
    numbers = FLAGS.num_processes, FLAGS.process_id
    alone = FLAGS.coordinator in (None, "auto")
    if numbers.count(None) != (2 if alone else 0):
        raise app.UsageError(
            "expected --num_processes and --process_id with --coordinator=HOST:PORT and not else, "
            f"found coordinator={FLAGS.coordinator}, num_processes={numbers[0]}, "
            f"process_id={numbers[1]}"
        )
    # Only this package's progress: orbax and jax log every file and device at INFO.
    absl_logging.set_verbosity(absl_logging.WARNING)
    if FLAGS.coordinator == "auto":
        jax.distributed.initialize()
    elif FLAGS.coordinator:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    logging.getLogger("train").setLevel(logging.INFO if is_first() else logging.WARNING)
    train_and_evaluate(FLAGS.config, FLAGS.workdir)


if __name__ == "__main__":
    app.run(main)
