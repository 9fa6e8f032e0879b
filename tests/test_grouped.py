"""The grouped context: its steps, its causality, and that coder and forward pass agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ycc_jax
from ycc_jax.codec_model import export_model
from ycc_jax.models import build
from ycc_jax.nets import grouped
from ycc_jax.nets.closed_form import closed_form

SMALL = dict(N=8, M=16, context="grouped", groups=(6,), entropy_width=8, levels=3)


@pytest.fixture(scope="module")
def model(photo):
    """(net, its parameters, near their start). They are the same for any number of phases."""
    net = build(**SMALL, linear_shortcut=True, surrogate="mixed")
    x, level = jnp.zeros((1, 64, 64, 3)), jnp.zeros(1)
    params = jax.jit(net.init)(jax.random.PRNGKey(1), x, level)["params"]
    # Widths and gains that fit a picture: far outside the tables, bits are not as estimated.
    axes = (0.01, 0.03, 0.1), (0.25,)
    params = closed_form(net, params, axes, photo[None, :256, :256])
    noise = np.random.default_rng(0)
    # The output layers start at 0, where nothing depends on anything.
    return net, jax.tree.map(lambda p: p + 0.02 * noise.normal(size=p.shape), params)


@pytest.mark.parametrize("phases", [1, 2, 4])
def test_steps_cover_every_symbol_once(phases):
    seen = np.zeros((5, 7, 20), int)
    for step in grouped.steps(20, (4, 6), phases):
        seen[step.mask(5, 7), step.start : step.stop] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("phases", [2, 4])
def test_the_second_phase_has_coded_neighbours(phases):
    """Checkerboard: all four. Of four phases the second has its four diagonal ones."""
    masks = [step.mask(6, 6) for step in grouped.steps(8, (), phases)]
    assert not (masks[0] & masks[1]).any()
    row, column = np.argwhere(masks[1])[3]
    around = (
        {(1, 0), (-1, 0), (0, 1), (0, -1)} if phases == 2 else {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    )
    assert all(masks[0][(row + i) % 6, (column + j) % 6] for i, j in around)


@pytest.mark.parametrize("phases", [2, 4])
def test_a_step_sees_what_is_coded_and_nothing_else(model, phases):
    """Where the mean of one symbol has a gradient: earlier groups, earlier phases of its own."""
    net, params = model
    net = net.clone(phases=phases)
    rng = np.random.default_rng(3)
    hyper = jnp.asarray(rng.normal(size=(1, 8, 8, 8)), jnp.float32)
    y_hat = jnp.asarray(rng.normal(size=(1, 8, 8, 16)), jnp.float32)
    coded = np.zeros((8, 8, 16), bool)
    for step in net.steps:
        mask = step.mask(8, 8)
        row, column = np.argwhere(mask)[len(np.argwhere(mask)) // 2]

        def mean(y_hat, step=step, at=(0, row, column)):
            known = jnp.where(coded, y_hat, 0)
            level = jnp.ones(1)
            return net.apply({"params": params}, hyper, known, level, step, method=net.parameters)[
                0
            ][at].sum()

        seen = np.asarray(jax.grad(mean)(y_hat))[0] != 0
        assert not (seen & ~coded).any()
        assert seen[..., : step.start].any() == (step.start > 0)
        assert seen[..., step.start : step.stop].any() == (step.phase > 0)
        coded[mask, step.start : step.stop] = True


def test_the_coder_does_what_the_forward_pass_says(model, photo, tmp_path):
    net, params = model
    arguments = {**SMALL, "linear_shortcut": True}
    export_model(tmp_path / "m", name="grouped", arguments=arguments, params=params)
    codec = ycc_jax.load(tmp_path / "m")
    picture = photo[:256, :320]
    data, expected = codec.encode_with_picture(picture, 100, worth=float("inf"))
    np.testing.assert_array_equal(codec.decode(data), expected)
    x, level = picture[None].astype(np.float32) / 255, np.full(1, 2, np.float32)
    out = jax.jit(codec.net.apply)({"params": codec.model.params}, x, level)
    estimate = float(out["bits_y"][0] + out["bits_z"][0]) / 8
    coded = len(data) - ycc_jax.info(data)["overhead_bytes"]
    assert coded == pytest.approx(estimate, rel=0.01)
    x_hat = np.asarray(out["x_hat"][0]).clip(0, 1) * 255
    assert np.abs(np.rint(x_hat) - expected.astype(int)).mean() < 0.05


@pytest.mark.slow
def test_training_reaches_every_parameter_of_the_groups(model):
    net, params = model
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 64, 64, 3)), jnp.float32)

    def bits(params):
        out = net.apply({"params": params}, x, jnp.arange(2.0), jax.random.PRNGKey(2))
        return (out["bits_y"] + out["bits_z"]).sum() + 1e4 * ((out["x_hat"] - x) ** 2).sum()

    gradients = jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(bits))(params))
    groups = [g for path, g in gradients if path[0].key.startswith("group_parameters")]
    assert len(groups) == 2 * 9 + 2  # nets, spatial context; and channels of the second group
    for gradient in groups:
        assert np.isfinite(gradient).all() and np.any(gradient != 0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"groups": (4, 12)}, "together less than M = 16"),
        ({"groups": (0, 4)}, "at least 1"),
        ({"phases": 3}, "phases must be one of 1, 2, 4"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**{**SMALL, **change})
