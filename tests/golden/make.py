"""The golden streams: small files of every kind, which every later version must decode.

    python tests/golden/make.py            # decodes them all, and says what differs
    python tests/golden/make.py --write    # writes models and files that are not there yet

A file that is there is never written again: it decodes for ever, or the format has a new version.
Only those of the bundled model (BUNDLED below) go when that model does: delete them, then
`--write`. Beside the files are `golden.json`, the model of each and the hashes of its symbols and
y_hat (`streams.Fingerprint`), and `pixels.npz`, the samples that were decoded when it was written.
Models are tiny, of random parameters, or of the CompressAI weights that `tests/reference` has.
"""

import argparse
import functools
import importlib
import json
import sys
import tempfile
from unittest import mock

import jax
import numpy as np
from streams import (
    FOLDER,
    distances,
    golden_codec,
    listed,
    observed,
    samples,
    stored_pixels,
    stored_samples,
)

from ycc_jax.codec_model import BUNDLED_DEFAULT, export_model
from ycc_jax.compressai import import_checkpoint
from ycc_jax.entropy.tables import TOTAL, CdfTables
from ycc_jax.header import Chunk, Header
from ycc_jax.models import HyperpriorModel, build
from ycc_jax.pictures.color import rgb_to_ycbcr420
from ycc_jax.pictures.planes import Planes
from ycc_jax.registry import LIKELIHOODS

ONE = dict(levels=0, level_aware=False)
RGB = dict(ONE, transform="joint", color_space="rgb", activation="gdn")
GRID = dict(levels=3, chroma_weights=(0.025, 0.25, 1.0))
GROUPED = dict(context="grouped", groups=(2,))
MODELS = {
    "factorized": dict(RGB, hyperprior="none", context="none"),
    "scale": dict(RGB, hyperprior="scale", context="none"),
    "mean_scale": dict(RGB, context="none", density_filters=(3, 3, 3, 3), density_offset=True),
    "minnen_gain": dict(RGB, levels=4, input_offset=0.0),
    "dlec_gain": dict(levels=4, entropy_width=8),
    "grouped": dict(GROUPED, levels=4, entropy_width=8),
    "four_phases": dict(
        ONE,
        context="grouped",
        groups=(),
        phases=4,
        entropy_width=8,
        matrix="bt709",
        color_range="limited",
    ),
    "asymmetric": dict(levels=4, likelihood="asymmetric_gaussian", entropy_width=8),
    "asymmetric_one_rate": dict(ONE, likelihood="asymmetric_gaussian", layout="six_channel"),
    "chroma_grid": dict(GRID, context="none", entropy_width=8),
    "chroma_420": dict(GRID, **GROUPED, subsampling="420", phases=1, entropy_width=8),
}
RANGE = 10
"""Symbols beyond +-10 are escapes in these models, whose tables would be large otherwise."""

# Name of the file -> model, picture, arguments of `encode`.
FILES = {
    "factorized": ("factorized", "rgb", {}),
    "factorized-grey": ("factorized", "grey", {}),
    "factorized-tiles": ("factorized", "wide", dict(tile=128)),
    "scale": ("scale", "rgb", {}),
    "scale-tiles": ("scale", "wide", dict(tile=64)),
    "mean_scale": ("mean_scale", "rgb", {}),
    "mean_scale-grey": ("mean_scale", "grey", {}),
    "minnen_gain-q0": ("minnen_gain", "rgb", dict(quality=0)),
    "minnen_gain-q100": ("minnen_gain", "rgb", dict(quality=100)),
    "minnen_gain-1x1": ("minnen_gain", "pixel", dict(quality=50)),
    "dlec_gain-q0": ("dlec_gain", "rgb", dict(quality=0)),
    "dlec_gain-q100": ("dlec_gain", "rgb", dict(quality=100)),
    "dlec_gain-planes8": ("dlec_gain", "planes8", dict(quality=71.9)),
    "dlec_gain-tiles": ("dlec_gain", "wide", dict(quality=61.8, tile=64)),
    "grouped-chunk": ("grouped", "rgb", dict(quality=50)),
    "grouped-tiles": ("grouped", "wide", dict(quality=12.34, tile=64)),
    "grouped-plain": ("grouped", "grey", dict(quality=100, worth=float("inf"))),
    "four_phases": ("four_phases", "rgb", {}),
    "four_phases-1x1": ("four_phases", "pixel-grey", {}),
    "asymmetric": ("asymmetric", "rgb", dict(quality=33.3)),
    "asymmetric_one_rate": ("asymmetric_one_rate", "grey", {}),
    "chroma_grid-least": ("chroma_grid", "rgb", dict(quality=0, chroma=0.025)),
    "chroma_grid-most": ("chroma_grid", "rgb", dict(quality=100, chroma=1.0)),
    "chroma_grid-planes10": ("chroma_grid", "planes10", dict(quality=80)),
    "chroma_420-planes8": ("chroma_420", "planes8", dict(quality=77.7, chroma=0.3)),
    "chroma_420-planes10": ("chroma_420", "planes10", dict(quality=5)),
    "compressai": ("compressai", "rgb", {}),
    "compressai-grey": ("compressai", "grey", {}),
}
BUNDLED = {
    "bundled": (BUNDLED_DEFAULT, "rgb", dict(quality=50)),
    "bundled-grey": (BUNDLED_DEFAULT, "grey", dict(quality=93.7, chroma=0.05)),
    "bundled-planes10": (BUNDLED_DEFAULT, "planes10", dict(quality=20)),
}
CHUNKED = {"grouped-chunk": (Chunk("eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0"), Chunk("teSt", b""))}


def parameters(net: HyperpriorModel) -> dict:
    """Random parameters, all of them, such that symbols, means and scales spread."""
    rng = np.random.default_rng(20)
    x = jax.eval_shape(net.picture, jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32))
    level = jax.ShapeDtypeStruct((1, len(net.grid)), np.float32)
    shapes = jax.eval_shape(net.init, jax.random.PRNGKey(0), x, level)["params"]
    scales = LIKELIHOODS[net.likelihood].SCALES
    head = "output" if net.has_nets else "hyper_synthesis/Conv_0"

    def value(path, leaf):
        name = "/".join(key.key for key in path)
        noise = rng.normal(size=leaf.shape)
        if name.endswith("kernel"):
            gain = 1.4 if "analysis" in name else 3.0 if name.endswith(head + "/kernel") else 1.0
            return gain * noise / np.sqrt(np.prod(leaf.shape[:-1]))
        if "density" in name and "offset" not in name:
            return 0.1 - 0.5 * ("matrix" in name) + 0.1 * noise  # a few symbols wide
        if name.endswith("beta") or name.endswith("gamma"):
            return np.sqrt(0.2 + 0.05 * rng.random(leaf.shape))
        if name.startswith("gain"):
            rates = np.arange(net.levels).reshape(-1, *[1] * (leaf.ndim - 1)) - 0.5
            return rates * (1 if name.endswith("log_gain") else -1) + 0.2 * noise
        if name.endswith(head + "/bias") and not net.level_aware:
            means = 0 if net.hyperprior == "scale" else leaf.size // (1 + scales)
            noise[: leaf.size - means] += 30  # scales about 3
        return 0.25 if name.endswith("slope") else 0.1 * noise + (name == "log_std")

    params = jax.tree_util.tree_map_with_path(lambda p, x: np.float32(value(p, x)), shapes)
    for name, factor in (("latent", 12), ("Conv_3", 1.75)):
        if name in params["analysis"]:
            layer = params["analysis"][name]
            layer.update({key: factor * array for key, array in layer.items()})
    return params


def cut(table: CdfTables) -> CdfTables:
    """The table with a support of at most +-RANGE; the rest is left to the escape."""
    cdf, lengths, offsets = [], [], []
    for row, length, offset in zip(table.cdf, table.length, table.offset, strict=True):
        first = min(max(-RANGE - offset, 0), length - 2)
        last = max(min(RANGE + 1 - offset, length - 2), first)
        kept = [*(row[first : last + 1] - row[first]), TOTAL]
        cdf.append(kept + [TOTAL] * (2 * RANGE + 3 - len(kept)))
        lengths.append(len(kept))
        offsets.append(offset + first)
    return CdfTables(*(np.array(array, np.int32) for array in (cdf, lengths, offsets)))


def write_models() -> None:
    """Those that are not there."""
    whole = HyperpriorModel.coding_tables

    def cut_tables(net, params):
        return {latent: cut(table) for latent, table in whole(net, params).items()}

    with mock.patch.object(HyperpriorModel, "coding_tables", cut_tables):
        for name in MODELS:
            if not (FOLDER / "models" / name).exists():
                # As a config in JSON holds them: tuples are lists.
                arguments = json.loads(json.dumps(dict(MODELS[name], N=4, M=6)))
                params = parameters(build(**arguments))
                export_model(
                    FOLDER / "models" / name, name=name, arguments=arguments, params=params
                )
        imported = FOLDER / "models" / "compressai"
        if not imported.exists():
            with np.load(FOLDER.parent / "reference" / "compressai.npz") as file:
                prefix = "hyperprior/state/"
                state = {k.removeprefix(prefix): file[k] for k in file if k.startswith(prefix)}
            with tempfile.TemporaryDirectory() as folder:
                np.savez(f"{folder}/weights.npz", **state)
                import_checkpoint(f"{folder}/weights.npz", "bmshj2018-hyperprior", imported)


def picture(kind: str) -> np.ndarray | Planes:
    """Part of a photograph; what is not "wide" is padded to 64x64."""
    photo = importlib.import_module("skimage.data").astronaut()
    sizes = {"wide": (70, 141), "pixel": (1, 1)}
    height, width = sizes.get(kind.partition("-")[0], (41, 53))
    rgb = photo[90 : 90 + height, 190 : 190 + width]
    if "grey" in kind:
        return rgb[..., 1]
    if not kind.startswith("planes"):
        return rgb
    depth = int(kind.removeprefix("planes"))
    dtype = np.uint8 if depth == 8 else np.uint16
    luma, chroma = rgb_to_ycbcr420(np.float32(rgb) / 255, range="limited")
    y, c = (np.rint(np.asarray(p) * 255 * 2 ** (depth - 8)).astype(dtype) for p in (luma, chroma))
    return Planes(y[..., 0], c[..., 0], c[..., 1], depth, "limited", "bt709", "left")


def write_files() -> None:
    """Those that are not there, with their entries and samples."""
    entries, pixels, codecs = listed(), stored_pixels(), {}
    for name, (model, kind, options) in {**FILES, **BUNDLED}.items():
        file = FOLDER / f"{name}.ycc"
        if file.exists():
            continue
        codecs = {model: codecs.get(model) or golden_codec(model)}
        codec, stages = observed(codecs[model])
        # No argument of `encode` gives chunks.
        header = functools.partial(Header, chunks=CHUNKED.get(name, ()))
        with mock.patch("ycc_jax.codec.Header", header):
            data, decoded = codec.encode_with_picture(picture(kind), **options)
        entries[file.name] = {"model": model, **stages.hashes()}
        pixels |= {f"{file.name}/{n}": plane for n, plane in enumerate(samples(decoded))}
        file.write_bytes(data)
        text = json.dumps({key: entries[key] for key in sorted(entries)}, indent=2)
        (FOLDER / "golden.json").write_text(text + "\n")
        np.savez_compressed(FOLDER / "pixels.npz", **pixels)
        print(f"{file.name}: {len(data)} bytes")


def compare() -> int:
    """Decodes every file; how many differ from what is stored."""
    failed, codecs = 0, {}
    for file, entry in listed().items():
        model = entry["model"]
        codecs = {model: codecs.get(model) or golden_codec(model)}
        codec, stages = observed(codecs[model])
        decoded = codec.decode((FOLDER / file).read_bytes())
        differing = [name for name, value in stages.hashes().items() if value != entry[name]]
        largest = distances(samples(decoded), stored_samples(file)).max()
        failed += bool(differing or largest > 1)
        print(f"{file}: {' and '.join(differing) or 'nothing'} differs, samples by {largest}")
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write what is not there")
    if parser.parse_args().write:
        write_models()
        write_files()
    else:
        sys.exit(bool(compare()))
