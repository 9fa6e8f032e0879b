"""Writes ms_ssim.json: what pytorch-msssim computes where our MS-SSIM must agree with it.

    python -m venv torch && torch/bin/pip install torch==2.13.0 "numpy<2" pytorch-msssim==1.0.0
    torch/bin/python tests/reference/make_ms_ssim.py

The pictures are not stored but made by `cases`, with NumPy alone, here and in
`tests/test_ms_ssim.py`. All is float64, but pytorch-msssim rounds its Gaussian window to float32;
"values" are therefore with a float64 window through its argument `win`, "default_window" without.
Both are of single channels, `(B, C)`; "pictures", `(B,)`, are what it returns for all channels at
once with the float64 window and `size_average=False`.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def cases():
    """Name -> (x, x_hat, data_range, scales), pictures float64 `(B, H, W, C)`."""
    rng = np.random.default_rng(0)
    odd, wide, grey = picture(255, 193, 3), picture(161, 240, 3), picture(201, 184, 1)
    smallest = picture(161, 161, 1)
    negative_green = odd.copy()
    negative_green[..., 1] = 1 - odd[..., 1]
    noise = np.concatenate([grey + s * rng.standard_normal(grey.shape) for s in (0.02, 0.3)])
    return {
        "noise": (np.concatenate([grey, grey]), noise, 1.0, 5),
        "blur": (odd, blurred(odd, 8), 1.0, 5),
        "quantised, 0..255": (255 * wide, np.rint(6 * wide) * 42.5, 255.0, 5),
        "brighter, less contrast": (wide, 0.3 + 0.6 * wide, 1.0, 5),
        "almost equal": (smallest, smallest + 1e-4 * rng.standard_normal(smallest.shape), 1.0, 5),
        # The contrast term is negative, and clipped: on all scales; in one channel; on fine scales.
        "negative": (smallest, 1 - smallest, 1.0, 5),
        "negative green": (odd, blurred(negative_green, 2), 1.0, 5),
        "negative detail": (grey, 2 * blurred(grey, 8) - grey, 1.0, 5),
        "three scales": (wide, wide + 0.1 * rng.standard_normal(wide.shape), 1.0, 3),
        "one scale": (wide, blurred(wide, 2), 1.0, 1),
    }


def picture(height, width, channels):
    """Waves, a disc and grain, other ones in each channel: float64 `(1, height, width, C)`."""
    rng = np.random.default_rng([height, width])
    v, u = np.mgrid[:height, :width, :1][:2]
    values = 0.1 * rng.standard_normal((height, width, channels))
    for period in (150, 60, 25, 9, 4):
        angle, phase = rng.uniform(0, 2 * np.pi, (2, channels))
        values += np.cos(2 * np.pi / period * (u * np.cos(angle) + v * np.sin(angle)) + phase) / 3
    values += np.hypot(u - width * rng.random(channels), v - height / 2) < height / 4
    values -= values.min()
    return (values / values.max())[None]


def blurred(x, times):
    """The binomial filter 1 2 1 along both axes, several times, edges wrapped."""
    for axis in (1, 2) * times:
        x = (np.roll(x, 1, axis) + 2 * x + np.roll(x, -1, axis)) / 4
    return x


def main():
    import torch
    from pytorch_msssim import ms_ssim

    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = torch.tensor(window / window.sum()).reshape(1, 1, 1, 11)
    reference = {
        "made_by": "tests/reference/make_ms_ssim.py",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "torch", "pytorch-msssim")},
        },
        "cases": {},
    }
    for name, (x, x_hat, data_range, scales) in cases().items():
        a, b = (torch.tensor(np.moveaxis(v, -1, 1)) for v in (x, x_hat))
        channels = a.shape[1]
        weights = np.array(WEIGHTS[:scales])
        arguments = {
            "data_range": data_range,
            "size_average": False,
            "weights": (weights if scales == 5 else weights / weights.sum()).tolist(),
        }

        def of_channels(a=a, b=b, **arguments):
            singles = [ms_ssim(a[:, [c]], b[:, [c]], **arguments) for c in range(a.shape[1])]
            return torch.stack(singles, dim=1).tolist()

        reference["cases"][name] = {
            "values": of_channels(**arguments, win=window),
            "default_window": of_channels(**arguments),
            "pictures": ms_ssim(a, b, **arguments, win=window.repeat(channels, 1, 1, 1)).tolist(),
        }
    path = Path(__file__).with_name("ms_ssim.json")
    path.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
