"""python -m train.main --config dlec_gain --workdir DIR [--config.train.steps=1000 ...]

`--config` is one of the names in `configs/`, or the path of a file of your own; what follows a
colon is for the config, as in `comparison:dlec-0.0067`. Any of its fields is a flag.

Of several hosts each runs the same command with `--coordinator`, which makes them one run:

    --coordinator=HOST:PORT --num_processes=4 --process_id=0    HOST is where process 0 runs
    --coordinator=auto                                          as Slurm, Open MPI or a TPU pod say

Exit codes: 0 the end of the run; 1 a loss that is not finite, or files that could not be written; 2
a flag, config, folder, data set, model or missing package that no run can start with; 143 or 130
SIGTERM or Ctrl-C: then the same command continues. Each but 0 with one sentence; a traceback is an
error of the program. Only flags live here; `loop.train_and_evaluate` is what Colab and the tests
call.
"""

import importlib
import importlib.util
import inspect
import logging
import os
import pkgutil
import re
import sys
from typing import Any

from ycc_jax.errors import InputError, YccError

try:
    from absl import app, flags
    from absl import logging as absl_logging
    from ml_collections import ConfigDict, config_flags
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    sentence = f"expected {missing.name} to be installed, found none: pip install 'ycc-jax[train]'"
    print(f"train: error: {sentence}", file=sys.stderr)
    sys.exit(2)

FLAGS = flags.FLAGS
flags.DEFINE_string("config", None, "Name or file of a config, with any :ARGUMENT of it.")
flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, logs, the exported model.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of a run of several, or auto.")
flags.DEFINE_integer("num_processes", None, "How many processes the run has.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.", lower_bound=0)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> int:
    """Runs the command line; its exit code."""
    try:
        train(parse(argv))
    except (YccError, flags.Error) as error:
        return fail(error, 2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("train", "configs", "ycc_jax"):
            raise
        needed = f"expected {error.name} to be installed, found none"
        return fail(f"{needed}: pip install 'ycc-jax[train]'", 2)
    except FloatingPointError as error:
        return fail(error, 1)
    except OSError as error:
        named = error.filename is not None and error.strerror
        return fail(f"{error.filename}: {error.strerror}" if named else error, 1)
    except KeyboardInterrupt:
        return 130
    return 0


def parse(argv: list[str]) -> Any:
    """The config of a command line, its fields as the flags say; other flags go to `FLAGS`.

    Raises:
      InputError: no such config or field, or a value that it cannot have.
      flags.Error: the same of the other flags.
    """
    app.define_help_flags()
    FLAGS.set_gnu_getopt(True)  # fields of the config may stand between the flags
    rest = FLAGS(argv, known_only=True)
    config = load_config(FLAGS.config)
    for field in re.findall(r"^--?(?:no)?config\.([\w.]+)", "\n".join(rest), re.MULTILINE):
        check_field(config, field)
    fields = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, flag_values=fields, sys_argv=rest)
    positional = fields(rest)[1:]
    if positional:
        raise InputError(f"expected only flags, found {' '.join(positional)!r}")
    numbers = FLAGS.num_processes, FLAGS.process_id
    alone = FLAGS.coordinator in (None, "auto")
    if numbers.count(None) != (2 if alone else 0):
        raise InputError(
            "expected --num_processes and --process_id with --coordinator=HOST:PORT and not else, "
            f"found coordinator={FLAGS.coordinator}, num_processes={numbers[0]}, "
            f"process_id={numbers[1]}"
        )
    return config


def check_field(config: Any, field: str) -> None:
    """InputError unless a config has the field, as in "train.steps"."""
    for name in field.split("."):
        known = list(config) if isinstance(config, ConfigDict) else []
        if name not in known:
            expected = f"one of {', '.join(known)}" if known else "no field there"
            raise InputError(f"--config.{field}: expected {expected}, found {name!r}")
        config = config[name]


def load_config(text: str) -> Any:
    """The config "NAME[:ARGUMENT]" of `configs/`, or "FILE.py[:ARGUMENT]".

    `configs/NAME.py` is a file if it exists, else the name.

    Raises:
      InputError: no such config, or it takes no argument, or not this one.
    """
    import configs

    path, colon, argument = text.partition(":")
    names = {module.name for module in pkgutil.iter_modules(configs.__path__)} - {"common"}
    name = path.removeprefix("configs/").removesuffix(".py")
    if path not in names and os.path.isfile(path):
        spec = importlib.util.spec_from_file_location(f"config_{name}", path)
        if spec is None:
            raise InputError(f"config {path}: expected a Python file, found another ending")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name in names:
        module = importlib.import_module(f"configs.{name}")
    else:
        raise InputError(
            f"expected the path of a config file or one of {', '.join(sorted(names))}, "
            f"found {path!r}"
        )
    if not hasattr(module, "get_config"):
        raise InputError(f"config {path}: expected a function get_config in it, found none")
    arguments = [argument] if colon else []
    try:
        inspect.signature(module.get_config).bind(*arguments)
    except TypeError as error:
        raise InputError(f"config {path}: {error}, found {text!r}") from error
    return module.get_config(*arguments)


def train(config: Any) -> None:
    """Runs a config as the other flags say."""
    import jax

    from train.hosts import is_first
    from train.loop import train_and_evaluate

    # Only this package's progress: orbax and jax log every file and device at INFO.
    absl_logging.use_absl_handler()
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        if FLAGS.coordinator == "auto":
            jax.distributed.initialize()
        elif FLAGS.coordinator:
            jax.distributed.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"--coordinator={FLAGS.coordinator}: {error}") from error
    logging.getLogger("train").setLevel(logging.INFO if is_first() else logging.WARNING)
    train_and_evaluate(config, FLAGS.workdir)


def fail(error: object, code: int) -> int:
    """Says why, in a line; the exit code."""
    print(f"train: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
