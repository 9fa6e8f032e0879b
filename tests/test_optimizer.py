"""What Muon moves, how far, and what is left to Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import drawn_parameters
from optax.contrib import MuonDimensionNumbers

from configs.dlec_gain_small import get_config
from train.optimizer import kernels, optimizer
from ycc_jax.models import build


@pytest.fixture(scope="module")
def config():
    config = get_config().unlock()
    config.model.update(N=6, M=16, entropy_width=8)
    config.optim.update(optimizer="muon", learning_rate=0.01, kernel_rate=4.0, warmup_steps=0)
    config.optim.clip_norm = 1e9
    return config


def named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda leaf: leaf is None or isinstance(leaf, MuonDimensionNumbers)
    )
    return {"/".join(p.key for p in path): leaf for path, leaf in leaves}


def test_muon_is_for_the_kernels_inside(config):
    params = drawn_parameters(build(**config.model.to_dict()))
    moved = {name for name, axes in named(kernels(params)).items() if axes is not None}
    assert "analysis/latent/kernel" in moved and "hyper_synthesis/Conv_0/kernel" in moved
    assert all(name.endswith("/kernel") for name in moved)
    for left in ("shortcut", "output", "density", "gain"):
        assert not any(left in name for name in moved)
        assert any(left in name for name in named(params))


def test_a_step_is_orthogonal_and_as_long_as_adams(config):
    """Muon's step against the polar factor by SVD, which Newton-Schulz comes near to; all else
    against Optax's Adam alone."""
    params = drawn_parameters(build(**config.model.to_dict()))
    gradient = drawn_parameters(build(**config.model.to_dict()), seed=1)
    tx = optimizer(config)
    update, _ = tx.update(gradient, tx.init(params), params)
    update, gradient = named(update), named(gradient)
    step = np.asarray(update["analysis/latent/kernel"]).reshape(-1, 16)
    u, values, v = np.linalg.svd(step, full_matrices=False)
    # Root mean square 0.2 a value: a matrix of orthonormal columns times that and sqrt(rows).
    unit = 0.2 * 0.04 * np.sqrt(len(step))
    assert 0.6 < values.min() / unit and values.max() / unit < 1.3
    u, _, v = np.linalg.svd(np.reshape(gradient["analysis/latent/kernel"], step.shape), False)
    polar = u @ v
    cosine = np.vdot(-step, polar) / np.linalg.norm(step) / np.linalg.norm(polar)
    assert cosine > 0.97

    adam = optax.adamw(0.01, weight_decay=0, nesterov=True)
    for name, factor in (("analysis/luma/bias", 1), ("analysis/shortcut/transform", 0.1)):
        (value,) = adam.update([gradient[name]], adam.init([gradient[name]]), [gradient[name]])[0]
        np.testing.assert_allclose(update[name], factor * value, rtol=1e-4, atol=1e-8)


def test_adam_stays_the_default(config):
    config = config.copy_and_resolve_references()
    config.optim.optimizer = "adam"
    tree = {"analysis": {"kernel": jnp.ones((2, 3))}}
    tx = optimizer(config)
    update, _ = tx.update(tree, tx.init(tree), tree)
    np.testing.assert_allclose(update["analysis"]["kernel"], -0.01, rtol=1e-5)
