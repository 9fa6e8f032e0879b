"""Compares our models with CompressAI's at the published sizes: the same weights, stage by stage.

Needs both libraries in one environment, which NumPy 1 and hence JAX below 0.6 make possible:

    python -m venv both && both/bin/pip install torch==2.13.0 "numpy<2" "jax<0.6" ".[test]" \\
        scipy einops pandas matplotlib pytorch-msssim requests aiohttp fsspec jinja2 psutil \\
        pyparsing xxhash tqdm
    both/bin/pip install --no-deps compressai==1.2.8 torch-geometric
    both/bin/python tests/reference/check_compressai.py

CompressAI runs in float64, we in float64 and in float32. Every stage has CompressAI's own inputs,
so that a latent near a rounding threshold does not decide the result. A deviation is the largest
error over the root mean square of what is expected; that of the bits is of their total. Exit code
1 if one is above its type's tolerance.
"""

import sys
from pathlib import Path

import jax
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from reference.make_compressai import CLASSES, as_tensor, forward, picture, random_model
from test_compressai import stages

from ycc_jax.compressai import convert

SIZES = ((128, 192), (192, 320))
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-4}


def deviations(found, expected):
    """Name -> deviation, of all the quantities that `stages` gives."""
    out = {}
    for name, value in found.items():
        want = expected[name]
        if name.startswith("bits"):
            out[name] = abs(value.sum() / want.sum() - 1)
        else:
            out[name] = np.abs(value - want).max() / np.sqrt(np.mean(want**2))
    return out


def main():
    torch.set_default_dtype(torch.float64)
    rgb = picture(192, 256)
    names = ("y", "z", "mean", "scale", "x_hat", "bits_y", "bits_z")
    print(f"{'model':22}{'N':>4}{'M':>5} {'precision':10}" + "".join(f"{n:>10}" for n in names))
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for model in CLASSES:
        for N, M in SIZES:
            x = as_tensor(rgb)
            net = random_model(model, N, M, x, seed=0)
            state = {key: value.numpy() for key, value in net.state_dict().items()}
            expected = forward(net, x)
            expected["scale"] = np.clip(expected.get("scale", 1.0), 0.11, 256)
            arguments, params = convert(state, model)
            assert (arguments["N"], arguments["M"]) == (N, M)
            for dtype in TOLERANCE:
                jax.config.update("jax_enable_x64", dtype == np.float64)
                found = deviations(stages(arguments, params, rgb, expected, dtype), expected)
                cells = "".join(f"{found[n]:10.1e}" if n in found else f"{'-':>10}" for n in names)
                print(f"{model:22}{N:4}{M:5} {np.dtype(dtype).name:10}{cells}", flush=True)
                # Not max(), which a NaN passes unnoticed.
                worst[dtype] = np.max([worst[dtype], *found.values()])
    for dtype, allowed in TOLERANCE.items():
        print(f"{dtype.__name__}: largest deviation {worst[dtype]:.1e}, allowed {allowed:.0e}")
    return 0 if all(worst[dtype] <= TOLERANCE[dtype] for dtype in TOLERANCE) else 1


if __name__ == "__main__":
    sys.exit(main())
