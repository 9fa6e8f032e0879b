"""`python -m ycc_jax` is `ycc`."""

import sys

from ycc_jax.cli import main

sys.exit(main())
