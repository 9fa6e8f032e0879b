"""Writes compressai.npz: what CompressAI computes where our models must agree with it.

CompressAI 1.2.8 needs PyTorch and NumPy 1, hence a file (no PyTorch in our tests):

    python -m venv ca && ca/bin/pip install torch==2.13.0 "numpy<2" scipy einops pandas \\
        matplotlib pytorch-msssim requests aiohttp fsspec jinja2 psutil pyparsing xxhash tqdm
    ca/bin/pip install --no-deps compressai==1.2.8 torch-geometric
    ca/bin/python tests/reference/make_compressai.py

`tests/test_compressai.py` says what is compared. The models are tiny, with random weights that
half precision holds exactly, so that they can be stored in it. Latents are stored (h, w, C).
"""

import copy
import platform
import sys
import types
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

# CompressAI's registry of data augmentations asks for torchvision, and uses nothing of it.
sys.modules["torchvision"] = torchvision = types.ModuleType("torchvision")
sys.modules["torchvision.transforms"] = torchvision.transforms = types.ModuleType("transforms")

from compressai.layers import GDN, MaskedConv2d  # noqa: E402
from compressai.models import google  # noqa: E402

CLASSES = {
    "bmshj2018-factorized": google.FactorizedPrior,
    "bmshj2018-hyperprior": google.ScaleHyperprior,
    "mbt2018-mean": google.MeanScaleHyperprior,
    "mbt2018": google.JointAutoregressiveHierarchicalPriors,
}
# name: (model, N, M); with an M of 7, "M * 10 // 3" and its like round down.
CASES = {
    "factorized": ("bmshj2018-factorized", 4, 6),
    "hyperprior": ("bmshj2018-hyperprior", 4, 6),
    "mean": ("mbt2018-mean", 4, 6),
    "context": ("mbt2018", 4, 9),
    "context_7": ("mbt2018", 5, 7),
}
STEP = 7  # of the rows and columns kept of pictures: it meets nearly every phase of the stride 16
MARGIN = 1e-4  # of every latent from a rounding threshold, so that float32 rounds it alike


def picture(height, width):
    """A smooth picture with an edge and a texture: uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width] / 64
    waves = [np.sin(3 * x + 2 * y), np.cos(4 * x - y), np.sin(9 * x) * np.cos(7 * y)]
    rgb = np.stack(waves, axis=-1) * 0.25 + 0.5
    rgb[(x - 0.9) ** 2 + (y - 0.5) ** 2 < 0.1] *= 0.4
    rgb += 0.1 * np.sin(40 * x * y)[..., None]
    return np.round(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def as_tensor(rgb):
    """uint8 (H, W, 3) -> (1, 3, H, W) in [0, 1], of PyTorch's default dtype."""
    return torch.tensor(rgb.transpose(2, 0, 1)[None] / 255, dtype=torch.get_default_dtype())


def random_model(model, N, M, x, seed):
    """A model whose every parameter is random, and whose every layer has outputs of a known size.

    One pass over x sets the gain of each convolution by the standard deviation that comes out of
    it: 1 within the networks, and such that y, z, means, scales and pictures are about as large as
    in a trained model.
    """
    torch.manual_seed(seed)
    net = CLASSES[model](N, M).eval()
    channels = torch.arange(M)
    # From hardly a symbol in use to many.
    width = 0.1 * 2.2 ** (channels % 6)
    targets = {net.g_a[6]: width, net.g_s[6]: torch.tensor(0.1)}
    centres = {net.g_s[6]: 0.5}
    if hasattr(net, "h_a"):
        targets[net.h_a[4]] = 1 + torch.arange(N) % 3
        last = net.entropy_parameters[4] if model == "mbt2018" else net.h_s[4]
        means = last.out_channels == 2 * M
        targets[last] = torch.cat([width / 4, width / 4])[: last.out_channels]
        centres[last] = torch.cat([width, torch.zeros(M * means)])

    def fill(module, inputs, outputs):
        target = targets.get(module, torch.tensor(1.0)).expand(module.out_channels)
        gain = target / outputs.std(dim=(0, 2, 3))
        axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        module.weight.data *= gain.reshape([-1 if i == axis else 1 for i in range(4)])
        centre = centres.get(module, 0) - outputs.mean(dim=(0, 2, 3)) * gain
        module.bias.data = centre + 0.1 * target * torch.randn(module.out_channels)
        round_to_half(module)
        return outputs * gain[:, None, None] + module.bias[:, None, None]

    hooks = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight)
            nn.init.zeros_(module.bias)
            hooks.append(module.register_forward_hook(fill))
        elif isinstance(module, GDN):
            C = module.beta.numel()
            module.beta.data.uniform_(0.7, 1.3)
            # A few are below the bound, as weight steps in training leave them.
            module.gamma.data = (0.3 * torch.eye(C) + torch.rand(C, C) / C**0.5 - 0.05).abs_()
            module.gamma.data[torch.rand(C, C) < 0.1] *= -1
            round_to_half(module)
    bottleneck = net.entropy_bottleneck
    for name, size in (("matrices", 0.5), ("biases", 0.8), ("factors", 0.7)):
        for p in getattr(bottleneck, name):
            p.data += size * torch.randn(p.shape)
    bottleneck.matrices[0].data += 1.5  # from the width at the start to that of these latents
    round_to_half(bottleneck)
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    for module in net.modules():
        if isinstance(module, MaskedConv2d):
            # What the mask hides is anything in a checkpoint of an unfinished training.
            module.weight.data += (1 - module.mask) * torch.randn(module.weight.shape)
            round_to_half(module)
    bottleneck._update_quantiles()
    round_to_half(bottleneck)
    return net


def round_to_half(module):
    """Rounds the module's parameters to what float16 holds."""
    for p in module.parameters():
        p.data = p.data.half().to(p.dtype)


def forward(net, x):
    """Every quantity on the way of CompressAI's own forward pass, as arrays (B, h, w, C).

    y and z; z_hat; y_coded, the rounded y whose bits are counted; y_hat, which context and
    synthesis see; mean, scale; bits_y and bits_z, elementwise; x_hat. Those that a model has.
    """
    seen = {}

    def bottleneck(module, inputs, outputs):
        latent = "z" if hasattr(net, "h_a") else "y"
        seen[latent] = inputs[0]
        seen["z_hat" if latent == "z" else "y_coded"] = outputs[0]
        seen[f"bits_{latent}"] = -torch.log2(outputs[1])

    def gaussian(module, inputs, keywords, outputs):
        seen["y"], seen["scale"] = inputs
        if "means" in keywords:
            seen["mean"] = keywords["means"]
        seen["y_coded"] = outputs[0]
        seen["bits_y"] = -torch.log2(outputs[1])

    def synthesis(module, inputs, outputs):
        seen["y_hat"], seen["x_hat"] = inputs[0], outputs

    hooks = [
        net.entropy_bottleneck.register_forward_hook(bottleneck),
        net.g_s.register_forward_hook(synthesis),
    ]
    if hasattr(net, "h_a"):
        hooks += [net.gaussian_conditional.register_forward_hook(gaussian, with_kwargs=True)]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return {name: value.permute(0, 2, 3, 1).numpy() for name, value in seen.items()}


def decode(net, x):
    """The picture after CompressAI's real coder and back, in float32 as its users run it.

    Returns uint8 (H, W, 3), and the bytes written.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    net = copy.deepcopy(net).float()
    net.update(force=True)
    with torch.no_grad():
        coded = net.compress(x.float())
        found = net.decompress(coded["strings"], coded["shape"])["x_hat"]
    torch.set_default_dtype(default)
    rgb = found[0].permute(1, 2, 0).double().numpy()
    return np.round(rgb * 255).astype(np.uint8), sum(len(s[0]) for s in coded["strings"])


def case(name, rgb, seed):
    """All of one case, by the names that the file has; None if a latent is too near to a tie."""
    x = as_tensor(rgb)
    model, N, M = CASES[name]
    net = random_model(model, N, M, x, seed)
    state = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    out = forward(net, x)
    median = net.entropy_bottleneck.quantiles[:, 0, 1].detach().numpy()
    centres = {
        "y": [median] if model == "bmshj2018-factorized" else [0.0, out.get("mean", 0.0)],
        "z": [median],
    }
    for latent, means in centres.items():
        for mean in means if latent in out else []:
            distance = (out[latent] - mean) % 1 - 0.5
            if np.abs(distance).min() < MARGIN:
                return None
    decoded, size = decode(net, x)
    net.update(force=True)
    bits = sum(out[b].sum() for b in ("bits_y", "bits_z") if b in out)
    symbols = out["y_coded"] - out.get("mean", 0)
    print(
        f"{name}: {bits / 8:.0f} bytes estimated, {size} coded; y {symbols.min():.0f} to", end=" "
    )
    print(f"{symbols.max():.0f}; x_hat {out['x_hat'].min():.2f} to {out['x_hat'].max():.2f}")
    out["x_hat"] = out["x_hat"][:, ::STEP, ::STEP]
    out["decoded"] = decoded[::STEP, ::STEP]
    out["cdf"] = net.entropy_bottleneck.quantized_cdf.numpy()
    out["cdf_length"] = net.entropy_bottleneck.cdf_length.numpy()
    out["offset"] = net.entropy_bottleneck.offset.numpy()
    for key, value in state.items():
        if name != "context" and key not in dict(net.named_parameters()):
            continue  # the same buffers again
        half = value.astype(np.float16)
        exact = value.dtype == np.float64 and np.array_equal(half, value)
        out[f"state/{key}"] = half if exact else value
    return out


def main():
    torch.set_default_dtype(torch.float64)
    rgb = picture(64, 128)
    arrays = {"picture": rgb, "step": np.asarray(STEP)}
    for name in CASES:
        found = next(filter(None, (case(name, rgb, seed) for seed in range(20))))
        arrays |= {f"{name}/{key}": value for key, value in found.items()}
    versions = ", ".join(f"{p} {version(p)}" for p in ("compressai", "torch", "numpy"))
    command = "python tests/reference/make_compressai.py"
    arrays["origin"] = np.array(f"{command}: {versions}, Python {platform.python_version()}")
    path = Path(__file__).with_name("compressai.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
