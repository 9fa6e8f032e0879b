"""MS-SSIM, the multi-scale structural similarity, as a loss and as a metric.

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image quality
assessment", Asilomar 2003. Where the paper leaves a choice it is that of the PyTorch package
pytorch-msssim, by which learned codecs are compared: windows that lie wholly inside the picture,
the luminance of the coarsest scale inside its mean, and halving by 2x2 means in which an odd height
or width gets a row or column of zeros *at the top or left* that counts like pixels.

Means, variances and covariance are those under an 11x11 Gaussian window. With d = x - x_hat

    l   = (2 mu mu_hat + C1) / (mu^2 + mu_hat^2 + C1)             = 1 - mu_d^2 / (the same)
    c s = (2 sigma_xx_hat + C2) / (sigma^2 + sigma_hat^2 + C2)    = 1 - sigma_d^2 / (the same)

of which the right-hand forms are computed: they need four filtered maps instead of five, and near
x_hat = x they do not lose what is left of the difference.
"""

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # finest scale first; section 3.2
K1, K2 = 0.01, 0.03
RADIUS, SIGMA = 5, 1.5

_WINDOW = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
_WINDOW /= _WINDOW.sum()


def ms_ssim(x, x_hat, data_range=1.0, scales=5):
    """MS-SSIM of each channel of each picture; their mean over channels is a picture's.

    Differentiable in both pictures (in reverse mode), and finite with its gradient everywhere. A
    mean of c s, or at the coarsest scale of l c s, that is not positive counts as 0, which makes
    the result 0; its gradient is then 0 too, not the infinite one of 0 to a power below 1. So a
    channel whose reconstruction is the negative of the picture does not train.

    Args:
      x: floats `(B, H, W, C)` in or about [0, data_range], JAX or NumPy; H and W above 160.
        Below float32 they are converted to it. NumPy arrays, if both are, are measured in NumPy:
        float64 stays float64, and no size waits for compilation.
      x_hat: the reconstruction, of the same shape.
      data_range: the difference of the largest and the smallest possible value, a Python number.
      scales: fewer than 5, for pictures down to 11 pixels: sides above 10 * 2^(scales - 1). The
        first weights are then scaled to a sum of 1, and values compare only at equal `scales`.

    Returns:
      Floats `(B, C)` in [0, 1], 1 for equal channels. pytorch-msssim's `size_average=False` is
      their mean over C.

    Raises:
      ValueError: shapes differ or are not (B, H, W, C), sides too small, `scales` not in 1..5,
        data_range not positive and finite.
      TypeError: not floats.
    """
    _check(x, x_hat, data_range, scales)
    if isinstance(x, np.ndarray) and isinstance(x_hat, np.ndarray):
        return _ms_ssim(x, x_hat, data_range, scales, np)
    return _compiled(x, x_hat, data_range, scales, jnp)


def smallest_side(scales=5):
    """Least height and width: the coarsest scale must hold a window."""
    return 2 * RADIUS * 2 ** (scales - 1) + 1


def decibels(ms_ssim):
    """-10 log10(1 - MS-SSIM) in dB, elementwise; inf at 1. JAX or NumPy arrays, or a number.

    The curves of papers are of the mean MS-SSIM: average first, then convert.
    """
    xp = jnp if isinstance(ms_ssim, jax.Array) else np
    with np.errstate(divide="ignore"):
        # Rounding may have exceeded 1 by an ulp.
        return 10 * xp.log10(1 / xp.maximum(1 - ms_ssim, 0))


def _ms_ssim(x, x_hat, data_range, scales, xp):
    window_means = _filter if xp is np else _filter_with_gradient
    dtype = xp.promote_types(xp.promote_types(x.dtype, np.float32), x_hat.dtype)
    x, x_hat = x.astype(dtype), x_hat.astype(dtype)
    # Python numbers, unlike NumPy's, leave float32 what it is.
    c1, c2 = (K1 * float(data_range)) ** 2, (K2 * float(data_range)) ** 2
    # All five are used as printed, although their sum is 1.0001.
    norm = 1 if scales == len(WEIGHTS) else sum(WEIGHTS[:scales])
    product = 1
    for scale in range(scales):
        if scale > 0:
            x, x_hat = _halve(x, xp), _halve(x_hat, xp)
        d = x - x_hat
        maps = xp.stack([x, x_hat, x**2 + x_hat**2, d**2])
        mu, mu_hat, squares, d_squares = window_means(maps)
        mu_squares, mu_d_squares = mu**2 + mu_hat**2, (mu - mu_hat) ** 2
        loss = (d_squares - mu_d_squares) / (squares - mu_squares + c2)  # 1 - c s
        if scale == scales - 1:
            loss_l = mu_d_squares / (mu_squares + c1)  # 1 - l
            loss = loss + loss_l - loss * loss_l
        # The mean of the loss, which is small, keeps more digits than that of the similarity.
        product = product * _power(1 - loss.mean((1, 2)), WEIGHTS[scale] / norm, xp)
    return product


_compiled = jax.jit(_ms_ssim, static_argnums=(2, 3, 4))


def _power(similarity, weight, xp):
    """max(similarity, 0)^weight, with gradient 0 where it is clipped."""
    clipped = similarity <= 0  # not of NaN, which is to stay
    # Not even the branch that is not taken may be infinite: its gradient times 0 would be NaN.
    return xp.where(clipped, 0, xp.where(clipped, 1, similarity) ** weight)


def _halve(x, xp):
    """2x2 means, `(B, H, W, C)` -> `(B, ceil(H/2), ceil(W/2), C)`; zeros at odd top and left."""
    x = xp.pad(x, [(0, 0), (x.shape[1] % 2, 0), (x.shape[2] % 2, 0), (0, 0)])
    x = x[:, 0::2] + x[:, 1::2]
    return (x[:, :, 0::2] + x[:, :, 1::2]) * 0.25


def _filter(maps):
    """The Gaussian window's weighted means, `(N, B, H, W, C)` -> `(N, B, H - 10, W - 10, C)`.

    Sums of shifted slices: XLA's convolutions take several times as long on a CPU, and matrix
    products may be rounded to fewer bits on accelerators. All maps at once, and rows kept whole
    (the inner loop is then W C long, not C), are faster again.
    """
    n, b, h, w, c = maps.shape
    rows = maps.reshape(n * b, h, w * c)
    h, w = h - 2 * RADIUS, w - 2 * RADIUS
    rows = _symmetric(lambda i: rows[:, i : i + h])
    return _symmetric(lambda i: rows[:, :, i * c : (i + w) * c]).reshape(n, b, h, w, c)


def _symmetric(shifted):
    total = float(_WINDOW[RADIUS]) * shifted(RADIUS)
    for i in range(RADIUS):
        total = total + float(_WINDOW[i]) * (shifted(i) + shifted(2 * RADIUS - i))
    return total


@jax.custom_vjp
def _filter_with_gradient(maps):
    return _filter(maps)


def _filter_backward(_, gradient):
    # The window is symmetric, so the transpose is the filter itself on the zero-padded gradient.
    # Without this XLA adds up eleven padded arrays, which takes several times as long.
    border = (2 * RADIUS, 2 * RADIUS)
    padded = jnp.pad(gradient, [(0, 0), (0, 0), border, border, (0, 0)])
    return (_filter_with_gradient(padded),)


_filter_with_gradient.defvjp(lambda maps: (_filter(maps), None), _filter_backward)


def _check(x, x_hat, data_range, scales):
    if x.ndim != 4 or x.shape != x_hat.shape:
        raise ValueError(
            f"x and x_hat must be of one shape (B, H, W, C), found {x.shape} and {x_hat.shape}"
        )
    for name, picture in (("x", x), ("x_hat", x_hat)):
        if not jnp.issubdtype(picture.dtype, jnp.floating):
            raise TypeError(f"{name} must be floats, found {picture.dtype}")
    if scales not in range(1, len(WEIGHTS) + 1):
        raise ValueError(f"scales must be one of 1 to {len(WEIGHTS)}, found {scales!r}")
    if not 0 < data_range < np.inf:
        raise ValueError(f"data_range must be positive and finite, found {data_range!r}")
    height, width = x.shape[1:3]
    if min(height, width) < smallest_side(scales):
        raise ValueError(
            f"MS-SSIM of {scales} scales needs height and width above {smallest_side(scales) - 1}, "
            f"found {height}x{width}"
        )
