"""What JAX does with functions, done with the model: vmap, grad, a mesh, export for other devices.

The code of two pages runs as it stands in a process of eight devices, with a small model in place
of theirs; what follows it there compares.
"""

import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from conftest import on_devices
from jax import export
from test_survival import QUICKLY_COMPILED

import ycc_jax

TESTS = Path(__file__).parent
SMALL = dict(N=4, M=8, levels=3, entropy_width=4)
START = f"""
import re
import sys
from types import SimpleNamespace
import numpy as np
import ycc_jax
sys.path.append({str(TESTS)!r})
from conftest import drawn_parameters

small = ycc_jax.build(**MODEL)
given = drawn_parameters(small)
ycc_jax.build = lambda **_: small
ycc_jax.init = lambda model, seed: given
ycc_jax.load = lambda: SimpleNamespace(net=small, model=SimpleNamespace(params=given))

def same(found, expected, bound):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < bound, error
"""


def run(page, model, comparison, folder):
    """The Python of a page, with another model, and what follows, in a folder."""
    text = (TESTS.parent / "docs" / page).read_text()
    code = re.findall(r"^```python\n(.*?)```", text, re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([f"MODEL = {model}", START, *code, comparison])],
        cwd=folder,
        env=on_devices(8, QUICKLY_COMPILED),
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr


def test_vmap_grad_and_exported_programs(tmp_path):
    """One picture at three levels against a batch of it; what was read back against the stages."""
    comparison = """
three = jnp.tile(x, (3, 1, 1, 1))

def of_batch(level):
    out = net.apply({"params": params}, three, level)
    bpp = (out["bits_y"] + out["bits_z"]) / 64**2
    return bpp.sum(), bpp

gradient, expected = jax.jit(jax.grad(of_batch, has_aux=True))(levels)
same(rates, expected, 1e-5)  # measured 2e-7, as of the slopes
same(slopes, gradient, 1e-5)
assert len(set(np.asarray(rates))) == 3

for picture in (three, jnp.asarray(np.random.default_rng(0).random((2, 48, 80, 3), np.float32))):
    level = levels[: len(picture)]
    latent = jax.jit(analysis)(picture, level)
    same(analyse(picture, level), latent, 1e-6)  # measured 0
    same(synthesise(latent, level), jax.jit(synthesis)(latent, level), 1e-6)
text = exported.mlir_module()
products = re.findall(r"stablehlo.(?:convolution|dynamic_conv|dot_general).*", text)
assert len(products) > 5 and all("HIGHEST" in product for product in products)
assert y.shape == (3, 4, 4, 8) and x_hat.shape == three.shape
"""
    run("transformations.md", SMALL | dict(linear_shortcut=True), comparison, tmp_path)


@pytest.mark.slow
def test_a_mesh_of_eight_is_one_device(tmp_path):
    """Parameters and metrics after two steps; measured 1e-7 of the largest of each array."""
    comparison = """
assert len(x.sharding.device_set) == 8 and x.addressable_shards[0].data.shape == (1, 64, 64, 3)
assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params))
alone, first = jax.jit(step.__wrapped__), jax.devices()[0]
found = params, metrics
params, opt = jax.device_put((given, tx.init(given)), first)
x, level = jax.device_put((np.asarray(x), np.asarray(level)), first)
for number in range(2):
    params, opt, metrics = alone(params, opt, x, level, jax.random.key(number))
assert metrics["loss"].sharding.device_set == {first}
changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), params, given)
assert min(jax.tree.leaves(changes)) > 1e-5
jax.tree.map(lambda a, b: same(np.asarray(a), np.asarray(b), 1e-5), found, (params, metrics))
"""
    run("training.md", SMALL | dict(context="none"), comparison, tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(transform="residual", chroma_weights=(0.1, 1.0), linear_shortcut=True),
        dict(transform="joint", activation="gdn", context="grouped", groups=(4,)),
    ],
    ids=lambda arguments: arguments["transform"],
)
def test_the_whole_pass_and_its_gradient_are_lowered_for_other_devices(arguments):
    """Tells of operations that only CPUs have, and of code that looks for a device."""
    model = ycc_jax.build(**SMALL, **arguments).clone(compute_dtype="bfloat16")
    params = jax.eval_shape(lambda: ycc_jax.init(model))

    def loss(params, x, level, key):
        out = model.apply({"params": params}, x, level, key)
        rounded = model.apply({"params": params}, x, level)
        lmbda = jnp.full(x.shape[0], 0.01)
        return ycc_jax.rate_distortion(out, x, lmbda)[0] + rounded["metrics"]["bpp"]

    shapes = (2, 64, 64, 3), (2, len(model.grid))
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    key = jax.eval_shape(lambda: jax.random.PRNGKey(0))
    platforms = ("tpu", "cuda")
    program = export.export(jax.jit(jax.value_and_grad(loss)), platforms=platforms)
    exported = program(params, *inputs, key)
    assert exported.platforms == platforms
    assert len(exported.out_avals) == 1 + len(jax.tree.leaves(params))
    assert "bf16" in exported.mlir_module()
