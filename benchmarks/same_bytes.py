"""Do two checkouts write the same bytes, and decode each other's files to the same pictures?

    python benchmarks/same_bytes.py FORMER NEW

For changes that must not change a file: on one machine, in one environment. Both checkouts encode
the photographs inside scikit-image (odd sizes, grey, 4:2:0 planes of 8 and 10 bits) at several
qualities and chroma weights with the bundled model, and a picture with small random models of every
kind; each decodes the other's files. Exit code 1 if a stream or a picture differs.
"""

import hashlib
import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

# Small models of every kind: config -> arguments over N = 8, M = 12.
RANDOM = {
    "scale_hyperprior": {},
    "mean_scale": {},
    "minnen_gain": {},
    "dlec": {"matrix": "bt709", "color_range": "limited"},
    "dlec_gain_420": {},
    "dlec_gain_chroma": {"likelihood": "asymmetric_gaussian"},
    "dlec_gain": {"layout": "six_channel"},
}
FACTORIZED = {"hyperprior": "none", "context": "none", "levels": 0, "level_aware": False}


def module(*names):
    """The first of these modules that the checkout has: they moved between versions."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(f"expected one of {', '.join(names)}")


def codecs(folder):
    """(name, codec, quality and chroma pairs, planes too)"""
    import jax
    import numpy as np

    import ycc_jax

    export = module("ycc_jax.codec_model", "ycc_jax.checkpoint").export_model
    pairs = [(0, None), (31.7, None), (50, 0.1), (88, 0.025), (100, 1.0)]
    yield "bundled", ycc_jax.load(), pairs
    for name, change in [*RANDOM.items(), ("factorized", FACTORIZED)]:
        config = importlib.import_module(f"configs.{name if name in RANDOM else 'mean_scale'}")
        config = config.get_config().unlock()
        config.model.update(N=8, M=12, **change)
        arguments = config.model.to_dict()
        net = ycc_jax.build(**arguments)
        x = net.picture(np.zeros((1, 64, 64, 3), np.float32))
        level = np.zeros((1, len(net.grid)), np.float32)
        params = jax.jit(net.init)(jax.random.PRNGKey(1), x, level)["params"]
        params = jax.tree.map(lambda p: p * 1.5, params)
        export(Path(folder) / name, name=name, arguments=arguments, params=params)
        yield name, ycc_jax.load(Path(folder) / name), [(70 if net.levels else None, None)]


def pictures():
    import numpy as np
    from skimage import data

    planes = module("ycc_jax.pictures.planes", "ycc_jax.planes")
    photo = data.astronaut()
    yield "odd", photo[50:183, 100:301]
    yield "pixel", photo[:1, :1]
    yield "grey", photo[:70, 200:300, 1]
    yield "chelsea", data.chelsea()
    for depth in (8, 10):
        codes = photo.astype(planes.sample_dtype(depth)) << (depth - 8)
        y, cb, cr = (np.ascontiguousarray(p) for p in np.moveaxis(codes[:90, :122], -1, 0))
        chroma = np.ascontiguousarray(cb[::2, ::2]), np.ascontiguousarray(cr[::2, ::2])
        yield f"planes{depth}", planes.Planes(y, *chroma, depth, "limited", "bt709", "left")


def digest(picture):
    arrays = [picture] if hasattr(picture, "dtype") else [picture.y, picture.cb, picture.cr]
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return sha.hexdigest()


def run(out, streams):
    """Inside a checkout: its streams, and what it decodes of `streams` (or of its own)."""
    made, decoded = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for model, codec, pairs in codecs(folder):
            for name, picture in pictures():
                if name.startswith("planes") and codec.net.transform != "dlec":
                    continue
                if model != "bundled" and name == "chelsea":
                    continue
                for quality, chroma in pairs:
                    key = f"{model} {name} {quality} {chroma}"
                    made[key] = codec.encode(picture, quality, chroma=chroma)
                    decoded[key] = digest(codec.decode(streams.get(key, made[key])))
    Path(out).write_bytes(pickle.dumps((made, decoded)))


def main(former, new):
    results, streams = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for checkout in (former, new):
            # The second decodes what the first wrote.
            Path(folder, "in").write_bytes(pickle.dumps(streams))
            environment = {**os.environ, "PYTHONPATH": str(Path(checkout).resolve())}
            command = [sys.executable, __file__, "--inside", f"{folder}/out", f"{folder}/in"]
            subprocess.run(command, check=True, env=environment, cwd=folder)
            results.append(pickle.loads(Path(folder, "out").read_bytes()))
            streams = results[0][0]
    (old, old_pictures), (now, now_pictures) = results
    different = [key for key in old if old[key] != now.get(key)]
    changed = [key for key in old_pictures if old_pictures[key] != now_pictures.get(key)]
    total = sum(map(len, old.values()))
    summary = {"files": len(old), "bytes": total, "different": different, "pictures": changed}
    print(json.dumps(summary, indent=2))
    return bool(different or changed or set(old) != set(now))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        run(sys.argv[2], pickle.loads(Path(sys.argv[3]).read_bytes()))
    elif len(sys.argv) == 3:
        sys.exit(main(*sys.argv[1:]))
    else:
        sys.exit(__doc__)
