"""Coverage-guided fuzzing of all that reads a file: container, range coder, whole decoder.

    pip install '.[test]' atheris   # atheris 3.0 has wheels for Linux, Python 3.11 to 3.13
    python tests/fuzz.py container CORPUS -runs=1000000
    python tests/fuzz.py networks CORPUS -max_total_time=3600
    python tests/fuzz.py symbols CORPUS -max_total_time=3600

CORPUS is a folder that the fuzzer reads and adds to; an empty one is filled with small files first.
The other arguments are libFuzzer's. What an input must not do ends the run, and libFuzzer writes
the input to `crash-*`, `timeout-*` or `oom-*`: it goes into `tests/fuzz_corpus/TARGET/`, which
`tests/test_fuzz_corpus.py` replays. Outcomes so far are printed every 5000 inputs.
`python tests/fuzz.py container SMALL LARGE -merge=1` keeps of a corpus what adds coverage.

Targets:
  container (`fuzz_container.py`): `unpack`, whole and partial, `info`, and the range decoder, on
    the bytes as they are and with their checksums repaired. What is accepted must pack to the same
    bytes.
  networks (`fuzz_networks.py`): all checksums of bytes, and the weights hash, are repaired, so that
    every input whose head and index can be read reaches small random models: `decode`,
    `decode_partial` or a region, of 6 * 64 * 64 pixels at most. Only a picture that was encoded may
    come out.
  symbols: the same, and the checksum of symbols passes, too. Any picture may come out, but whole,
    partial and region must agree, in shape and samples.

Anything but a picture or a `YccError` is a finding, so are more than `-timeout` seconds (of the
clock: on a busy machine look again) or `-rss_limit_mb` of memory. Coverage is of Python alone: of
the loops that numba compiles, of NumPy and XLA atheris sees nothing, and bytes of sections are
found by mutation, not by coverage.
"""

import importlib
import sys
import tempfile
from pathlib import Path

import atheris

# Not what numba or JAX compile: the one cannot read instrumented code, the other runs it once.
COMPILED = ("entropy.range_kernels", "exact", "models", "nets", "pictures.color")


def main() -> None:
    """The command of the module's docstring."""
    target, corpus, *flags = sys.argv[1:]
    module = "fuzz_container" if target == "container" else "fuzz_networks"
    with atheris.instrument_imports(["ycc_jax"], [f"ycc_jax.{name}" for name in COMPILED]):
        targets = importlib.import_module(module)
    from fuzz_container import OUTCOMES

    run, files = getattr(targets, target)(Path(tempfile.mkdtemp()))
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        for number, data in enumerate(files):
            (folder / f"{number}.ycc").write_bytes(data)

    def counted(data: bytes) -> None:
        OUTCOMES["inputs"] += 1
        run(data)
        if OUTCOMES["inputs"] % 5000 == 0:
            print(dict(OUTCOMES), file=sys.stderr, flush=True)

    limits = ["-max_len=4096", "-timeout=60", "-rss_limit_mb=3000"]
    atheris.Setup([sys.argv[0], *limits, corpus, *flags], counted)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
