"""Do files that one machine wrote decode on another? Makes the table of docs/portability.md.

    python benchmarks/portability.py ROW                  # this machine, as it is
    python benchmarks/portability.py ROW --decode OTHER   # and the files of another run's folder
    python benchmarks/portability.py TABLE --rows --python PYTHON [PYTHON ...]

A row encodes photographs with the bundled model at several qualities, decodes the files again,
those of the other folder, and the golden streams (tests/golden), and says how many did not decode,
or to other symbols or another y_hat than their encoder's, and how many samples differ from what the
encoder's machine decodes. ROW keeps the files, `files.jsonl` (what was found, file by file; a run
goes on where it stopped) and `row.json`.

With --rows every row of this machine follows the one before it, in TABLE/NAME: each Python given,
the instruction sets that the processor has, threads, precisions, fast math; and the first once
more, so that each row's files are decoded by another. Exit code 1 if anything failed.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("own", "before", "golden")
COLUMNS = ("JAX", "Python", "device", "settings")
COUNTS = (
    "own files",
    "other's",
    "golden",
    "failures",
    "coded alike",
    "samples off by 1",
    "by more",
)
HEADING = f"| row | {' | '.join(COLUMNS + COUNTS)} |\n|{'---|' * 5}{'--:|' * len(COUNTS)}"
FAST_MATH = "--xla_cpu_enable_fast_math=true " + " ".join(
    f"--xla_cpu_fast_math_honor_{what}=false" for what in ("nans", "infs", "division", "functions")
)


def pictures(folder):
    """(name, uint8 RGB) of a folder's photographs, or of those inside scikit-image."""
    import numpy as np
    from PIL import Image

    if folder is None:
        from skimage import data

        for name in ("astronaut", "chelsea", "coffee"):
            yield name, getattr(data, name)()
    else:
        for path in sorted(Path(folder).iterdir()):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".tif", ".bmp"):
                yield path.stem, np.asarray(Image.open(path).convert("RGB"))


class Log:
    """`files.jsonl` of a row: what was found of each file, by its part ("own", "before", "golden")
    and name."""

    def __init__(self, folder):
        self.path = Path(folder) / "files.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.entries = {(e["part"], e["file"]): e for e in map(json.loads, lines)}

    def add(self, part, file, **found):
        entry = {"part": part, "file": file, **found}
        self.entries[part, file] = entry
        with self.path.open("a") as out:
            out.write(json.dumps(entry) + "\n")

    def summary(self, part):
        """Files, failures, and samples that are one step and more than one step off."""
        of_part = [e for e in self.entries.values() if e["part"] == part]
        return {
            "files": len(of_part),
            "failures": [f"{e['file']}: {e['failure']}" for e in of_part if e["failure"]],
            "one_step": sum(e.get("one_step", 0) for e in of_part),
            "more": sum(e.get("more", 0) for e in of_part),
        }

    def alike(self, other):
        """How many files have the symbols that the other row chose for them."""
        return sum(
            part == "own" and entry["symbols"] == other.entries.get((part, file), {}).get("symbols")
            for (part, file), entry in self.entries.items()
        )


def check(codec, data, expected, reference):
    """Decodes a stream: (what to log of it, the picture or None).

    Args:
      expected: hashes "symbols" and "y_hat".
      reference: the picture that the encoder's machine decodes; None: none is known.
    """
    from golden.streams import distances, observed

    from ycc_jax.errors import YccError

    codec, stages = observed(codec)
    try:
        picture = codec.decode(data)
    except YccError as error:
        return {"failure": str(error)}, None
    differing = [name for name, value in stages.hashes().items() if value != expected[name]]
    failure = f"expected the encoder's {' and '.join(differing)}" if differing else None
    steps = Counter() if reference is None else Counter(distances([picture], [reference]).tolist())
    more = sum(count for distance, count in steps.items() if distance > 1)
    return {"failure": failure, "one_step": steps[1], "more": more}, picture


def own(codec, folder, log, images, qualities):
    """Encodes the photographs, and decodes them."""
    from golden.streams import observed
    from PIL import Image

    for name, picture in pictures(images):
        for quality in qualities:
            file = f"{name}-{quality:g}.ycc"
            if ("own", file) in log.entries:
                continue
            encoder, stages = observed(codec)
            data, hashes = encoder.encode(picture, quality), stages.hashes()
            found, decoded = check(codec, data, hashes, None)
            (folder / file).write_bytes(data)
            if decoded is not None:
                Image.fromarray(decoded).save(folder / f"{file}.png", compress_level=1)
            log.add("own", file, **hashes, **found)


def before(codec, folder, log, qualities):
    """Decodes the files of another row."""
    import numpy as np
    from PIL import Image

    for (part, file), entry in Log(folder).entries.items():
        if part != "own" or ("before", file) in log.entries:
            continue
        if float(file.removesuffix(".ycc").rpartition("-")[2]) not in qualities:
            continue
        reference = Path(folder, f"{file}.png")
        reference = np.asarray(Image.open(reference)) if reference.exists() else None
        found, _ = check(codec, Path(folder, file).read_bytes(), entry, reference)
        log.add("before", file, **found)


def golden(log):
    """Decodes the golden streams."""
    from golden.streams import FOLDER, golden_codec, listed

    codecs = {}
    for file, entry in listed().items():
        if ("golden", file) not in log.entries:
            model = entry["model"]
            codecs = {model: codecs.get(model) or golden_codec(model)}
            found, _ = check(codecs[model], (FOLDER / file).read_bytes(), entry, None)
            log.add("golden", file, **found)


def machine():
    """What the row ran on."""
    import jax
    import jaxlib
    import numpy

    import ycc_jax

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), None)
    return {
        "ycc_jax": ycc_jax.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "processor": f"{platform.machine()} {model or platform.processor()}",
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": os.environ.get("JAX_DEFAULT_MATMUL_PRECISION", "default"),
    }


def row(arguments):
    """One row; how many of its files failed."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import ycc_jax

    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    log, codec = Log(folder), ycc_jax.load()
    if arguments.decode:
        before(codec, arguments.decode, log, arguments.qualities)
    own(codec, folder, log, arguments.images, arguments.qualities)
    if not arguments.no_golden:
        golden(log)
    found = machine() | {part: log.summary(part) for part in PARTS}
    if arguments.decode:
        found["alike"] = log.alike(Log(arguments.decode))
    (folder / "row.json").write_text(json.dumps(found, indent=2) + "\n")
    print(line(folder.name, found), flush=True)
    return sum(len(found[part]["failures"]) for part in PARTS)


def line(name, found):
    """The row in Markdown, under HEADING."""
    flags = found["XLA_FLAGS"].replace(FAST_MATH, "fast_math").replace("--xla_cpu_", "")
    settings = [
        f"threads={found['threads']}",
        *flags.split(),
    ]
    if found["matmul_precision"] != "default":
        settings.append(found["matmul_precision"])
    counts = [str(found[part]["files"]) for part in PARTS]
    failures = sum(len(found[part]["failures"]) for part in PARTS)
    off = [f"{found['before'][key]:,}" for key in ("one_step", "more")]
    cells = [name, found["jax"], found["python"], found["device"], ", ".join(settings)]
    cells += [*counts, str(failures), str(found.get("alike", "-")), *off]
    return f"| {' | '.join(cells)} |"


def variants(pythons):
    """(name, Python, environment, processors) of every row, the oldest Python and newest first."""
    flags = Path("/proc/cpuinfo").read_text().split() if os.path.exists("/proc/cpuinfo") else []
    named = [("sse4_2", "SSE4_2"), ("avx", "AVX"), ("avx2", "AVX2"), ("avx512f", "AVX512")]
    sets = [name for flag, name in named if flag in flags]
    several = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    for n, python in enumerate(pythons):
        yield f"python{n}", python, {}, several
    changes = [(name, {"XLA_FLAGS": f"--xla_cpu_max_isa={name}"}, several) for name in sets]
    if several:
        changes.append(("1_thread", {}, several[:1]))
    for precision in ("bfloat16", "tensorfloat32"):
        changes.append((precision, {"JAX_DEFAULT_MATMUL_PRECISION": precision}, several))
    changes.append(("fast_math", {"XLA_FLAGS": FAST_MATH}, several))
    for name, environment, processors in changes:
        for n in sorted({0, len(pythons) - 1}):
            yield f"python{n}-{name}", pythons[n], environment, processors
    yield "again", pythons[0], {}, several


def table(arguments):
    """All rows, each in a process of its own; 1 if anything failed."""
    failed, former = 0, None
    print(HEADING, flush=True)
    options = ["--qualities", *map(str, arguments.qualities)]
    options += ["--images", arguments.images] if arguments.images else []
    options += ["--no-golden"] if arguments.no_golden else []
    for name, python, environment, processors in variants(arguments.python):
        folder = Path(arguments.folder) / name
        command = [python, __file__, str(folder), *options]
        command += ["--decode", str(former)] if former else []
        if processors:
            command = ["taskset", "-c", ",".join(map(str, processors)), *command]
        failed |= subprocess.run(command, env={**os.environ, **environment}).returncode
        former = folder
    return failed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="of the row, or with --rows of the table")
    parser.add_argument("--images", help="folder of photographs; default: scikit-image's")
    parser.add_argument("--qualities", type=float, nargs="+", default=[10, 35, 60, 90])
    parser.add_argument("--decode", help="folder of another row")
    parser.add_argument("--no-golden", action="store_true", help="leave out the golden streams")
    parser.add_argument("--rows", action="store_true", help="all rows of this machine")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="for --rows")
    arguments = parser.parse_args()
    return bool(table(arguments) if arguments.rows else row(arguments))


if __name__ == "__main__":
    sys.exit(main())
