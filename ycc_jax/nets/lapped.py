"""A linear x <-> y beside the network: a lapped transform of 16x16 blocks, learned from there.

A small network spends most of a small training budget on rediscovering a linear transform; given
one to start from, it learns what is left. The lapped transform is the time-domain form of Tran,
Liang & Tu ("Lapped transform via time-domain pre- and post-filtering", IEEE TSP 2003): a pre-filter
on blocks shifted by half a block decorrelates across block borders, then a DCT works inside the
blocks; the synthesis undoes both, which removes blocking. Each of the four steps is one matrix
product on blocks, with entries free to move in training. A mirrored border makes the pre-filter
the identity there.

Blocks hold 256 luma samples and 2 x 64 samples of half-size chroma: 384 values, luma first.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
import scipy.linalg

Array = jax.Array
BLOCK = 16
VALUES = BLOCK * BLOCK + 2 * (BLOCK // 2) ** 2


def to_blocks(luma: Array, chroma: Array) -> Array:
    """Planes (B, H, W, 1) and (B, H/2, W/2, 2) -> blocks (B, H/16, W/16, 384)."""

    def split(x: Array, n: int) -> Array:
        b, h, w, c = x.shape
        x = x.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 5, 2, 4)
        return x.reshape(b, h // n, w // n, c * n * n)

    return jnp.concatenate([split(luma, BLOCK), split(chroma, BLOCK // 2)], axis=-1)


def from_blocks(blocks: Array) -> tuple[Array, Array]:
    """The inverse of `to_blocks`."""

    def join(x: Array, n: int, c: int) -> Array:
        b, h, w, _ = x.shape
        x = x.reshape(b, h, w, c, n, n).transpose(0, 1, 4, 2, 5, 3)
        return x.reshape(b, h * n, w * n, c)

    luma, chroma = jnp.split(blocks, [BLOCK * BLOCK], axis=-1)
    return join(luma, BLOCK, 1), join(chroma, BLOCK // 2, 2)


def _across_borders(planes: tuple[Array, Array], kernel: Array) -> tuple[Array, Array]:
    """Applies a (384, 384) matrix to the blocks that straddle four neighbours."""
    half = (BLOCK // 2, BLOCK // 4)
    # Picture by picture: JAX 0.5 mirrors no array with a symbolic batch size (`jax.export`).
    padded = [
        jax.vmap(lambda x, n=n: jnp.pad(x, ((n, n), (n, n), (0, 0)), mode="symmetric"))(x)
        for x, n in zip(planes, half, strict=True)
    ]
    luma, chroma = from_blocks(to_blocks(*padded) @ kernel)
    n, m = half
    return luma[:, n:-n, n:-n], chroma[:, m:-m, m:-m]


def _dct(n: int, kind: int) -> np.ndarray:
    """Orthonormal DCT matrix of type 2 or 4, one basis function a row."""
    return scipy.fft.dct(np.eye(n), type=kind, norm="ortho", axis=0)


def prefilter(n: int) -> np.ndarray:
    """Pre-filter (n, n) of the lapped biorthogonal transform with blocks of n (Tran 2003)."""
    half, flip = n // 2, np.eye(n // 2)[::-1]
    # 8/5 on the first sine: the published choice, which turns the orthogonal lapped transform into
    # the biorthogonal one and raises its coding gain.
    stretch = np.diag([1.6] + [1.0] * (half - 1))
    rotation = flip @ _dct(half, 2).T @ stretch @ _dct(half, 4) @ flip
    butterfly = np.block([[np.eye(half), flip], [flip, -np.eye(half)]])
    middle = np.block([[np.eye(half), np.zeros((half, half))], [np.zeros((half, half)), rotation]])
    return 0.5 * butterfly @ middle @ butterfly


def _on_blocks(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """1-D operators (16, 16) and (8, 8) -> the (384, 384) matrix that acts on blocks."""
    two_d = [np.kron(luma, luma)] + [np.kron(chroma, chroma)] * 2
    return scipy.linalg.block_diag(*two_d).T


def kept_channels(M: int) -> np.ndarray:
    """The M of 384 DCT coefficients that the latent keeps, lowest frequencies first.

    A fifth of them chroma (shared by Cb and Cr), luma at most its 256.
    """
    chroma = max(M // 5 // 2 * 2, M - BLOCK * BLOCK)

    def order(n: int) -> np.ndarray:
        u, v = np.indices((n, n))
        return np.argsort((u * u + v * v).ravel(), kind="stable")

    luma_kept = order(BLOCK)[: M - chroma]
    small = order(BLOCK // 2)[: (chroma + 1) // 2]
    chroma_kept = np.concatenate([256 + small, 320 + small])[:chroma]
    return np.concatenate([luma_kept, chroma_kept])


def in_shortcut(params: Any) -> Any:
    """Whether each parameter of a model is of the lapped shortcut; a tree of the same structure."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(p.key == "shortcut" for p in path), params
    )


class LappedAnalysis(nn.Module):
    """Luma (B, H, W, 1), chroma (B, H/2, W/2, 2) -> y (B, H/16, W/16, M), M <= 384."""

    M: int

    @nn.compact
    def __call__(self, luma: Array, chroma: Array) -> Array:
        filters = _on_blocks(prefilter(BLOCK), prefilter(BLOCK // 2))
        kept = _on_blocks(_dct(BLOCK, 2), _dct(BLOCK // 2, 2))[:, kept_channels(self.M)]
        pre = self.param("prefilter", lambda _: jnp.asarray(filters, jnp.float32))
        dct = self.param("transform", lambda _: jnp.asarray(kept, jnp.float32))
        return to_blocks(*_across_borders((luma, chroma), pre)) @ dct


class LappedSynthesis(nn.Module):
    """y_hat (B, h, w, M) -> luma (B, 16 h, 16 w, 1) and half-size chroma (B, 8 h, 8 w, 2)."""

    @nn.compact
    def __call__(self, y: Array) -> tuple[Array, Array]:
        keep = kept_channels(y.shape[-1])
        kept = _on_blocks(_dct(BLOCK, 2), _dct(BLOCK // 2, 2))[:, keep].T
        filters = np.linalg.inv(_on_blocks(prefilter(BLOCK), prefilter(BLOCK // 2)))
        dct = self.param("transform", lambda _: jnp.asarray(kept, jnp.float32))
        post = self.param("postfilter", lambda _: jnp.asarray(filters, jnp.float32))
        return _across_borders(from_blocks(y @ dct), post)
