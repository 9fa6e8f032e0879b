"""Training in bfloat16: what is computed in it, what stays in float32, and what that changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import VARIANTS, parameters

from ycc_jax.loss import rate_distortion
from ycc_jax.models import build
from ycc_jax.nets.layers import GDN, Conv, ConvTranspose, Dense, PReLU, computing_in

pytestmark = pytest.mark.slow

VARIANTS = VARIANTS | {
    "gdn_shortcut": dict(levels=2, activation="gdn", linear_shortcut=True, surrogate="mixed")
}


def loss_of(model, photo):
    """(params -> loss, its metrics) on two crops."""
    x = model.picture(jnp.asarray([photo[:64, 64:128], photo[150:214, 200:264]]) / 255.0)
    level = jnp.zeros((2, len(model.grid))) + jnp.arange(2.0)[:, None]
    space = "rgb" if model.color_space == "rgb" else "ycbcr"

    def loss(params):
        out = model.apply({"params": params}, x, level, jax.random.PRNGKey(1))
        lambdas = jnp.array([0.01, 0.05])
        return rate_distortion(out, x, lambdas, space=space, chroma_weight=0.25, balance=0.0)

    return loss


def equations(jaxpr):
    """All equations of a program, those of its parts too."""
    for equation in jaxpr.eqns:
        yield equation
        for part in jax.tree.leaves(list(equation.params.values())):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from equations(part)


@pytest.mark.parametrize("name", VARIANTS)
def test_convolutions_are_bfloat16_and_sums_float32(name, photo):
    model = build(**VARIANTS[name], N=4, M=8)
    params = jax.eval_shape(lambda: parameters(model))
    for dtype in ("float32", "bfloat16"):
        loss = loss_of(model.clone(compute_dtype=dtype), photo)
        program, (values, grads) = jax.make_jaxpr(
            jax.value_and_grad(loss, has_aux=True), return_shape=True
        )(params)
        found = {"conv_general_dilated": set(), "reduce_sum": set()}
        for equation in equations(program.jaxpr):
            if equation.primitive.name in found:
                dtypes = {str(v.aval.dtype) for v in equation.invars}
                found[equation.primitive.name] |= dtypes
        assert found["conv_general_dilated"] == {dtype}
        assert "bfloat16" not in found["reduce_sum"]
        assert {leaf.dtype for leaf in jax.tree.leaves((values, grads))} == {jnp.dtype("float32")}


def test_loss_and_gradients_are_close_to_float32(photo):
    """Measured: loss 0.005 %, bits 0.012 %, PSNR 0.004 %; gradients 0.14 % of their whole norm, of
    each array's norm at most 10 % (but for single slopes, whose sums may cancel)."""
    model = build(levels=2, N=4, M=8)
    params = parameters(model)
    results = []
    for dtype in ("float32", "bfloat16"):
        loss = loss_of(model.clone(compute_dtype=dtype), photo)
        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    ((_, expected), expected_grads), ((_, found), grads) = results
    for name, value in expected.items():
        assert 0 < abs(found[name] / value - 1) < 5e-4, name
    differences = jax.tree.map(lambda a, b: a - b, grads, expected_grads)
    assert norm(differences) < 0.003 * norm(expected_grads)
    for (path, difference), gradient in zip(
        jax.tree_util.tree_leaves_with_path(differences),
        jax.tree.leaves(expected_grads),
        strict=True,
    ):
        if gradient.ndim:
            assert norm(difference) < 0.15 * norm(gradient), jax.tree_util.keystr(path)


def norm(tree):
    """Euclidean norm of all arrays together."""
    return np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize(
    "layer",
    [Conv(3, 5, 2), Conv(3, 1), ConvTranspose(3), Dense(3), GDN(), GDN(inverse=True), PReLU()],
    ids=repr,
)
def test_layers_return_the_dtype_of_their_input(key, rng, layer):
    x = jnp.asarray(rng.normal(size=(2, 6, 8, 4)), jnp.bfloat16)
    params = layer.init(key, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    expected, found = (layer.apply(params, x.astype(d)) for d in ("float32", "bfloat16"))
    assert (expected.dtype, found.dtype) == ("float32", "bfloat16")
    error = np.abs(np.asarray(found, np.float32) - np.asarray(expected))
    assert error.max() < 0.01 * np.abs(expected).max()


def test_only_the_forward_pass_is_in_bfloat16(key, photo):
    """The stages, which a codec calls, are the float32 ones."""
    model = build(levels=2, N=4, M=8)
    params = parameters(model)
    x, level = jnp.asarray(photo[None, :64, :64]) / 255.0, jnp.zeros((1, 1))
    y, other = (
        m.apply({"params": params}, x, level, method=m.analyse)
        for m in (model, model.clone(compute_dtype="bfloat16"))
    )
    np.testing.assert_array_equal(y, other)
    with computing_in("bfloat16"):
        other = model.apply({"params": params}, x, level, method=model.analyse)
    assert other.dtype == "float32" and 0 < np.abs(other - y).max() < 0.02 * np.abs(y).max()


def test_the_dtype_is_no_argument_of_a_codec_model(photo):
    with pytest.raises(ValueError, match=r"unknown model arguments \['compute_dtype'\]"):
        build(compute_dtype="bfloat16")
    model = build(levels=2, N=4, M=8).clone(compute_dtype="float16")
    with pytest.raises(ValueError, match="must be float32 or bfloat16, found 'float16'"):
        jax.eval_shape(loss_of(model, photo), {})
