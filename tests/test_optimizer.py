"""What Muon and SOAP move, how far, and what is left to Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import drawn_parameters
from optax.contrib import MuonDimensionNumbers

from configs.dlec_gain_small import get_config
from configs.minnen_gain import get_config as minnen_gain
from train.checkpoints import Checkpoints
from train.optimizer import kernels, optimizer
from train.soap import soap
from train.step import blank_state, init_state, make_train_step
from ycc_jax.models import build


@pytest.fixture(scope="module")
def config():
    config = get_config().unlock()
    config.model.update(N=6, M=16, entropy_width=8)
    config.optim.update(optimizer="muon", learning_rate=0.01, kernel_rate=4.0, warmup_steps=0)
    config.optim.clip_norm = 1e9
    return config


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


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


def published_soap(gradients, max_dim=10_000, bases=None, beta=0.95, eps=1e-8, frequency=10):
    """Algorithms 3 and 4 of Vyas et al. 2024 in float64, with the authors' start and order.

    The first moment is kept in the space of the parameters and turned in every step, as published.

    Args:
      gradients: of one kernel, (a, b) or (a, b, c) each, where a longer axis than `max_dim` has the
        identity for a basis.
      bases: of the first step; None for the eigenvectors of its products.

    Returns:
      the directions N, one a gradient.
    """
    momentum = square = np.zeros(gradients[0].shape)
    axes = [axis for axis, n in enumerate(momentum.shape) if n <= max_dim]
    products = {axis: 0.0 for axis in axes}
    turns = {axis: np.eye(n) for axis, n in enumerate(momentum.shape)}
    directions = []

    def turned(x, transposed):  # Q^T x or Q x along each axis; of a matrix Q_L^T x Q_R, Q_L x Q_R^T
        for axis, q in turns.items():
            x = np.moveaxis(np.moveaxis(x, axis, -1) @ (q if transposed else q.T), -1, axis)
        return x

    for t, g in enumerate(gradients):
        if t == 0:
            directions.append(np.zeros_like(g))
        else:
            g_turned = turned(g, True)
            momentum = beta * momentum + (1 - beta) * g
            square = beta * square + (1 - beta) * g_turned * g_turned
            unbiased = turned(momentum, True) / (1 - beta**t)
            n = unbiased / (np.sqrt(square / (1 - beta**t)) + eps)
            directions.append(turned(n, False))
        for axis in axes:
            rows = np.moveaxis(g, axis, 0).reshape(g.shape[axis], -1)
            products[axis] = beta * products[axis] + (1 - beta) * rows @ rows.T
            if t == 0:
                turns[axis] = np.linalg.eigh(products[axis])[1][:, ::-1]
                if bases is not None:
                    turns[axis] = np.asarray(bases[axis], np.float64)
            elif t % frequency == 0:
                s = products[axis] @ turns[axis]
                order = np.argsort(-np.diag(turns[axis].T @ s))
                square = np.take(square, order, axis)
                turns[axis] = np.linalg.qr(s[:, order])[0]
    return directions


def run_soap(gradients, **arguments):
    """(directions, states) of `soap` for a list of gradients of one kernel."""
    tx = soap(-1.0, **arguments)
    state, update = tx.init(gradients[0]), jax.jit(tx.update)
    directions, states = [], []
    for gradient in gradients:
        direction, state = update(gradient, state)
        directions.append(np.asarray(direction))
        states.append(state[0].kernels)
    return directions, states


def correlated(rng, shape, dtype, count=25):
    """Gradients whose axes are mixed, so that there is something for a basis to find."""
    mix = [np.eye(n) + rng.standard_normal((n, n)) for n in shape]
    for _ in range(count):
        x = rng.standard_normal(shape)
        for axis, m in enumerate(mix):
            x = np.moveaxis(np.moveaxis(x, axis, -1) @ m, -1, axis)
        yield x.astype(dtype)


@pytest.mark.parametrize(
    "shape, max_dim",
    [((6, 6), 10_000), ((9, 5), 6), ((5, 9), 6), ((2, 3, 4, 5), 10_000)],
    ids=["both sides", "right side", "left side", "convolution"],
)
def test_soap_is_the_published_algorithm(shape, max_dim, rng, x64):
    """In float64: over 25 steps and two changes of basis nothing but rounding differs, found 2e-13
    at most. Without the second change it is 0.1, with columns in no order 0.2."""
    gradients = list(correlated(rng, shape, np.float64))
    found, _ = run_soap(gradients, max_dim=max_dim)
    matrices = [g.reshape(-1, *shape[-2:]) if len(shape) == 4 else g for g in gradients]
    expected = [n.reshape(shape) for n in published_soap(matrices, max_dim)]
    assert not found[0].any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    assert 0.1 < np.abs(found[-1]).mean() < 1


def test_soap_in_float32_and_where_a_side_has_no_gradient_yet(rng):
    """The first G G^T of more rows than columns has eigenvalues of 0, whose eigenvectors any
    routine may choose: the reference starts from those that were chosen here."""
    gradients = list(correlated(rng, (6, 4), np.float32))
    found, states = run_soap(gradients)
    for product, basis in zip(states[0].products, states[0].bases, strict=True):
        np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-5)
        turned = basis.T @ product @ basis / np.abs(product).max()
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-5)
    expected = published_soap([g.astype(np.float64) for g in gradients], bases=states[0].bases)
    # Values of about 1, products of six and a float32 of 6e-8: found 7e-7; more where eigenvalues
    # are near each other. Without the second change of basis 0.1.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_soap_without_bases_is_adam_from_the_second_gradient_on(rng):
    gradients = list(correlated(rng, (5, 4), np.float32, count=12))
    found, states = run_soap(gradients, max_dim=3)
    assert states[-1].bases == ()
    adam = optax.adam(-1.0, b1=0.95, b2=0.95)
    state = adam.init(gradients[0])
    for gradient, direction in zip(gradients[1:], found[1:], strict=True):
        expected, state = adam.update(gradient, state)
        np.testing.assert_allclose(direction, expected, rtol=1e-5, atol=1e-6)


def test_soap_in_the_trainers_step(photo, tmp_path):
    """In bfloat16: kernels wait for the second step, all else is Adam's; checkpoints restore."""
    config = minnen_gain().unlock()
    config.model.update(N=4, M=8, activation="prelu", context="none", levels=2)
    config.loss.lambdas = (0.01, 0.1)
    config.optim.update(optimizer="soap", learning_rate=0.01, kernel_rate=2.0, warmup_steps=0)
    model, tx = build(**config.model.to_dict()), optimizer(config)
    step = jax.jit(  # without optimisation it compiles in half the time
        make_train_step(model.clone(compute_dtype="bfloat16"), tx, config),
        compiler_options={
            "xla_backend_optimization_level": 0,
            "xla_llvm_disable_expensive_passes": True,
        },
    )
    states, batch = [init_state(drawn_parameters(model), tx)], photo[None, :64, :64]
    for _ in range(2):
        states.append(step(states[-1], batch)[0])
    params = [named(state["params"]) for state in states]
    kernel = [p["synthesis/ConvTranspose_0/kernel"] for p in params]
    bias = [p["synthesis/ConvTranspose_0/bias"] for p in params]
    np.testing.assert_array_equal(kernel[1], kernel[0])
    assert np.abs(bias[1] - bias[0]).max() == pytest.approx(0.01, rel=1e-3)
    # With one gradient in its moments a step is a sign for each value in the basis, 0 where the
    # gradient has no part; turning keeps its length.
    assert 0.95 < np.sqrt(np.mean((kernel[2] - kernel[1]) ** 2)) / 0.02 < 1.001
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(states[-1])
        checkpoints.manager.wait_until_finished()
        restored = checkpoints.restore(blank_state(model, tx))
    jax.tree.map(np.testing.assert_array_equal, restored, states[-1])
