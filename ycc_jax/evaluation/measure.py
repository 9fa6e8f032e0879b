"""One picture there and back: bytes, distortion, seconds."""

import time

import numpy as np

from ycc_jax.evaluation import rows
from ycc_jax.metrics import ms_ssim, psnr


def measure(codec, rgb: np.ndarray, quality: float | None) -> dict[str, float | None]:
    """The numbers of a picture's line in the CSV (`rows.py`); None of what it does not have.

    Args:
      codec: a `peers.Peer` or `subject.Model`.
      rgb: uint8 (H, W, 3).
      quality: on the codec's scale.
    """
    data, encoding = _timed(codec, "encoding", codec.encode, rgb, quality)
    decoded, decoding = _timed(codec, "decoding", codec.decode, data)
    height, width = rgb.shape[:2]
    size = {"width": width, "height": height, "bytes": len(data)}
    distortion = {**psnr.psnr(rgb, decoded), **similarity(rgb, decoded)}
    return {**size, "bpp": 8 * len(data) / (height * width), **distortion, **encoding, **decoding}


def similarity(reference: np.ndarray, decoded: np.ndarray) -> dict[str, float | None]:
    """MS-SSIM (`ms_ssim.py`), of five scales, of uint8 RGB pictures (H, W, 3).

    Returns:
      "ms-ssim-rgb": mean over the channels; "ms-ssim-y": of luma, as `metrics/psnr.py` has it. None
      where a side is below 161 pixels: fewer scales would give a number, but of another scale.
    """
    if min(reference.shape[:2]) < ms_ssim.smallest_side():
        return {"ms-ssim-rgb": None, "ms-ssim-y": None}
    import jax.numpy as jnp  # an eighth of the time that NumPy takes

    def channels(rgb):
        return jnp.asarray(np.dstack([rgb, psnr.luma(rgb)])[None], jnp.float32)

    values = np.asarray(ms_ssim.ms_ssim(channels(reference), channels(decoded), 255))[0]
    return {"ms-ssim-rgb": float(values[:3].mean()), "ms-ssim-y": float(values[3])}


def _timed(codec, direction, call, *arguments):
    """What the call returns, and its seconds: all but compilation, and the parts if known."""
    start = time.perf_counter()
    result = call(*arguments)
    total = time.perf_counter() - start
    parts = codec.parts()
    total -= parts.get("compile", 0)
    if parts:
        parts["entropy"] = total - parts["transform"]
    times = {f"{direction}_{part}_time": parts.get(part) for part in rows.PARTS}
    return result, {f"{direction}_time": total, **times}
