"""Transforms: shapes, the lapped shortcut's exact inverse and its published coding gain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from ycc_jax.nets.dlec import (
    DlecAnalysis,
    DlecSynthesis,
    depth_to_space,
    space_to_depth,
)
from ycc_jax.nets.hyper import HyperAnalysis, HyperSynthesis
from ycc_jax.nets.joint import JointAnalysis, JointSynthesis
from ycc_jax.nets.lapped import (
    LappedAnalysis,
    LappedSynthesis,
    from_blocks,
    kept_channels,
    prefilter,
    to_blocks,
)
from ycc_jax.pictures.color import downsample_chroma, rgb_to_ycbcr420, ycbcr420_to_rgb


def shapes(module, *inputs):
    out, variables = jax.eval_shape(module.init_with_output, jax.random.PRNGKey(0), *inputs)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    out = tuple(o.shape for o in out) if isinstance(out, tuple) else out.shape
    return out, {"/".join(k.key for k in path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize(
    "analysis, synthesis",
    [
        (DlecAnalysis(6, 10), DlecSynthesis(6)),
        (DlecAnalysis(6, 10, "gdn"), DlecSynthesis(6, "gdn")),
        (DlecAnalysis(6, 10, linear_shortcut=True), DlecSynthesis(6, linear_shortcut=True)),
        (DlecAnalysis(6, 10, layout="six_channel"), DlecSynthesis(6, layout="six_channel")),
        (DlecAnalysis(6, 10, layout="separate"), DlecSynthesis(6, layout="separate")),
    ],
)
def test_stride_is_16_there_and_back(analysis, synthesis):
    planes = (2, 64, 128, 1), (2, 32, 64, 2)
    y, _ = shapes(analysis, *map(jnp.zeros, planes))
    assert y == (2, 4, 8, 10)
    assert shapes(synthesis, jnp.zeros(y))[0] == planes


@pytest.mark.parametrize("first", [1, 2])
def test_joint_stride_follows_the_first_layer(first):
    y, _ = shapes(JointAnalysis(6, 10, first_stride=first), jnp.zeros((1, 64, 96, 3)))
    assert y == (1, 8 // first, 12 // first, 10)
    assert shapes(JointSynthesis(6, last_stride=first), jnp.zeros(y))[0] == (1, 64, 96, 3)


def test_six_channels_are_the_four_phases_of_luma_and_chroma(rng):
    luma = jnp.asarray(rng.normal(size=(2, 8, 12, 1)))
    planes = space_to_depth(luma)
    for k, (i, j) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        np.testing.assert_array_equal(planes[..., k], luma[:, i::2, j::2, 0])
    np.testing.assert_array_equal(depth_to_space(planes), luma)
    module = DlecAnalysis(6, 10, layout="six_channel")
    _, analysis = shapes(module, jnp.zeros((1, 64, 64, 1)), jnp.zeros((1, 32, 32, 2)))
    kernels = {name: shape for name, shape in analysis.items() if name.endswith("kernel")}
    assert kernels == {
        "planes/kernel": (5, 5, 6, 6),
        "Conv_0/kernel": (5, 5, 6, 6),
        "Conv_1/kernel": (5, 5, 6, 6),
        "latent/kernel": (5, 5, 6, 10),
    }


def test_dlec_parameters_are_those_of_the_reference_table():
    """Luma 5x5 at full size, chroma 3x3 at half size, 1x1 merge of 2 N to N, Minnen's trunk."""
    _, analysis = shapes(DlecAnalysis(6, 10), jnp.zeros((1, 64, 64, 1)), jnp.zeros((1, 32, 32, 2)))
    kernels = {name: shape for name, shape in analysis.items() if name.endswith("kernel")}
    assert kernels == {
        "luma/kernel": (5, 5, 1, 6),
        "chroma/kernel": (3, 3, 2, 6),
        "merge/kernel": (1, 1, 12, 6),
        "Conv_0/kernel": (5, 5, 6, 6),
        "Conv_1/kernel": (5, 5, 6, 6),
        "latent/kernel": (5, 5, 6, 10),
    }
    assert [shape for name, shape in analysis.items() if "slope" in name] == [()] * 5


def test_hyper_parameters_are_those_of_the_reference_table():
    """h_a 3x3, 5x5 s2, 5x5 s2; h_s up 5x5 to M and 3 M / 2, then 3x3 to 2 M."""
    z, analysis = shapes(HyperAnalysis(6), jnp.zeros((1, 8, 8, 10)))
    assert z == (1, 2, 2, 6)
    assert analysis["Conv_0/kernel"] == (3, 3, 10, 6)
    assert analysis["Conv_2/kernel"] == (5, 5, 6, 6)
    out, synthesis = shapes(HyperSynthesis((10, 15, 20)), jnp.zeros(z))
    assert out == (1, 8, 8, 20)
    assert synthesis["ConvTranspose_1/kernel"] == (5, 5, 10, 15)
    assert synthesis["Conv_0/kernel"] == (3, 3, 15, 20)


def test_blocks_are_undone(rng):
    luma, chroma = rng.normal(size=(2, 32, 48, 1)), rng.normal(size=(2, 16, 24, 2))
    blocks = to_blocks(jnp.asarray(luma), jnp.asarray(chroma))
    assert blocks.shape == (2, 2, 3, 384)
    np.testing.assert_allclose(
        blocks[0, 1, 2, :256].reshape(16, 16), luma[0, 16:, 32:, 0], rtol=1e-6
    )
    found = from_blocks(blocks)
    np.testing.assert_allclose(found[0], luma, rtol=1e-6)
    np.testing.assert_allclose(found[1], chroma, rtol=1e-6)


@pytest.mark.parametrize("n, expected", [(8, 9.6), (16, 9.9)])
def test_lapped_coding_gain_is_that_of_a_lapped_biorthogonal_transform(n, expected):
    """On AR(1) with correlation 0.95, in dB: 9.6 is published for 8 channels, where the DCT has
    8.83; 16 channels gain 0.45 over the DCT's 9.46."""
    blocks, length = 9, 9 * n
    covariance = 0.95 ** np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    pre = np.eye(length)
    for k in range(1, blocks):
        across = slice(k * n - n // 2, k * n + n // 2)
        pre[across, across] = prefilter(n)
    dct = scipy.fft.dct(np.eye(n), type=2, norm="ortho", axis=0)
    analysis = np.kron(np.eye(blocks), dct) @ pre
    middle = slice(4 * n, 5 * n)
    variance = np.diag(analysis @ covariance @ analysis.T)[middle]
    norms = np.square(np.linalg.inv(analysis)[:, middle]).sum(0)
    gain = -10 * np.mean(np.log10(variance * norms))
    assert abs(gain - expected) < 0.06


def test_lapped_synthesis_inverts_the_analysis_up_to_the_border(rng, key):
    luma = jnp.asarray(rng.uniform(-0.5, 0.5, (1, 48, 64, 1)), jnp.float32)
    chroma = jnp.asarray(rng.uniform(-0.5, 0.5, (1, 24, 32, 2)), jnp.float32)
    y, _ = LappedAnalysis(384).init_with_output(key, luma, chroma)
    found, _ = LappedSynthesis().init_with_output(key, y)
    np.testing.assert_allclose(found[0], luma, atol=3e-6)
    np.testing.assert_allclose(found[1], chroma, atol=3e-6)


@pytest.mark.parametrize("M", [1, 10, 64, 192, 320, 384])
def test_kept_channels_are_distinct_and_low_frequencies_come_first(M):
    keep = kept_channels(M)
    assert len(set(keep)) == M and keep.max() < 384
    assert keep[0] == 0  # the mean of the luma block


def test_shortcut_alone_codes_a_smooth_picture_at_the_start(photo, key):
    """Before any training the whole transform is the lapped one: the network's part starts at 0."""
    x = jnp.asarray(photo[None, :128, :128], jnp.float32) / 255 - 0.5
    luma, chroma = x[..., :1], downsample_chroma(x[..., 1:])
    y, _ = DlecAnalysis(4, 320, linear_shortcut=True).init_with_output(key, luma, chroma)
    found, _ = DlecSynthesis(4, linear_shortcut=True).init_with_output(key, y)
    luma_error = np.mean(np.square(found[0] - luma))
    assert -10 * np.log10(luma_error) > 40


def test_the_shortcut_of_rgb_is_that_of_its_ycbcr(photo, key):
    x = jnp.asarray(photo[None, :64, :128], jnp.float32) / 255
    luma, chroma = rgb_to_ycbcr420(x)

    def start(module, *inputs):
        return jax.jit(module.init_with_output)(key, *inputs)[0]

    dlec = start(DlecAnalysis(4, 32, linear_shortcut=True), luma - 0.5, chroma - 0.5)
    y = start(JointAnalysis(4, 32, linear_shortcut=True), x - 0.5)
    np.testing.assert_allclose(y, dlec, atol=1e-5)
    found = start(JointSynthesis(4, linear_shortcut=True), y)
    planes = start(DlecSynthesis(4, linear_shortcut=True), y)
    expected = ycbcr420_to_rgb(*(plane + 0.5 for plane in planes))
    np.testing.assert_allclose(found + 0.5, expected, atol=1e-5)
    assert -10 * np.log10(np.mean(np.square(found + 0.5 - x))) > 25
