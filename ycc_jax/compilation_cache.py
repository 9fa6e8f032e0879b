"""Compiled programs, kept from one process to the next."""

import os
from pathlib import Path

import jax


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, for later processes.

    JAX_COMPILATION_CACHE_DIR, if set, stays in force. Does nothing on JAX before 0.10: programs
    that 0.5.3 reads back from its cache crash on the CPU, and those in between are untested.
    """
    if jax.__version_info__ < (0, 10) or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "ycc_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
