"""Seconds to encode and decode of two checkouts, measured in turns in one run.

    python benchmarks/codec_speed.py FORMER NEW --images FOLDER [--rounds 6] [--pictures 4]

Each checkout has a process of its own with its bundled model, which codes the same pictures of one
size at qualities 20 and 60, compiled beforehand. Rounds alternate, so that what else the machine
does meets both. Printed: medians over the rounds, and the median of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

QUALITIES = (20, 60)


def worker(folder, count):
    """Answers each line of standard input by [seconds to encode, seconds to decode] a picture."""
    import numpy as np
    from PIL import Image

    import ycc_jax

    codec, pictures = ycc_jax.load(), []
    for path in sorted(Path(folder).iterdir()):
        picture = np.asarray(Image.open(path).convert("RGB"))
        if len(pictures) < count and (not pictures or picture.shape == pictures[0].shape):
            pictures.append(picture)
    for quality in QUALITIES:
        codec.decode(codec.encode(pictures[0], quality))
    print("ready", flush=True)
    for _ in sys.stdin:
        seconds, n = [0.0, 0.0], len(pictures) * len(QUALITIES)
        for picture in pictures:
            for quality in QUALITIES:
                times = [time.perf_counter()]
                data = codec.encode(picture, quality)
                times.append(time.perf_counter())
                codec.decode(data)
                times.append(time.perf_counter())
                seconds = [s + b - a for s, a, b in zip(seconds, times, times[1:], strict=False)]
        print(json.dumps([s / n for s in seconds]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("former")
    parser.add_argument("new")
    parser.add_argument("--images", required=True)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=4)
    options = parser.parse_args()
    processes = []
    for checkout in (options.former, options.new):
        command = [sys.executable, os.path.abspath(__file__), "worker", options.images]
        process = subprocess.Popen(
            [*command, str(options.pictures)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.path.abspath(checkout)},
        )
        assert process.stdout.readline() == "ready\n"
        processes.append(process)
    rounds = []
    for n in range(options.rounds):
        seconds = {}
        for k in (0, 1) if n % 2 else (1, 0):
            processes[k].stdin.write("go\n")
            processes[k].stdin.flush()
            seconds[k] = json.loads(processes[k].stdout.readline())
        rounds.append((seconds[0], seconds[1]))
    for process in processes:
        process.stdin.close()
    for i, what in enumerate(("encode", "decode")):
        former, new = (statistics.median(r[k][i] for r in rounds) for k in (0, 1))
        ratio = statistics.median(r[1][i] / r[0][i] for r in rounds)
        print(
            f"{what}: former {former:.3f} s, new {new:.3f} s, {new / former:.2f} times; "
            f"median of the rounds' ratios {ratio:.2f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], int(sys.argv[3]))
    else:
        main()
