"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, as an Optax transform.

Vyas et al. 2024, "SOAP: Improving and Stabilizing Shampoo using Adam" (arXiv 2409.11321),
algorithms 3 and 4. Along each axis of a kernel there is a moving average of the gradient's products
with itself (L and R of a matrix). Its eigenvectors change slowly, so they are found again every few
steps only, by a step of power iteration and a QR decomposition; in their basis Adam does the rest.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array


class Kernel(NamedTuple):
    """What is kept of one kernel, whose shape is that of `merged`.

    Attributes:
      mean: Adam's first moment, in the basis.
      square: Adam's second moment, in the basis.
      products: for each of `preconditioned` axes, of n, the mean of G G^T along it, (n, n).
      bases: its eigenvectors in columns, the largest eigenvalue first, (n, n).
    """

    mean: Array
    square: Array
    products: tuple[Array, ...]
    bases: tuple[Array, ...]


class SoapState(NamedTuple):
    """Updates so far, int32 scalar, and a `Kernel` for each parameter."""

    count: Array
    kernels: Any


def soap(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.95,
    b2: float = 0.95,
    eps: float = 1e-8,
    frequency: int = 10,
    max_dim: int = 10_000,
) -> optax.GradientTransformation:
    """SOAP without weight decay; the defaults are the paper's.

    As in the authors' own code the first gradient only starts the bases, by an exact
    eigendecomposition, and moves nothing: else it would be scaled in a basis of its own. At a
    change of basis columns are put in the order of their eigenvalues, and the second moment with
    them. The paper keeps the first moment as it is and turns it in every step; here it is kept
    in the basis and turned when that changes, which is the same and costs a product less.

    The paper has matrices. A convolution's kernel (k, k, in, out) is taken as (k k, in, out), with
    a basis along each of these axes. As a matrix (k k in, out), Muon's form, it would need one of
    8,000 rows in the bundled model, 256 MB and 10^12 operations of a QR decomposition; or, with a
    smaller `max_dim`, no basis for its inputs at all.

    The eigenvectors of eigenvalues that are the same, such as the zeros of a few gradients, are
    whichever rounding gives. So a run is repeated to the bit on the same devices alone; on others
    it goes another way, as with another seed.

    Args:
      learning_rate: of each step, or its schedule.
      b1, b2: of Adam's moments; b2 also of the products.
      eps: added to the root of the second moment.
      frequency: steps between two changes of basis.
      max_dim: axes longer than that have no basis: a matrix is preconditioned on its other side,
        and if both are longer this is Adam from the second gradient on.
    """
    return optax.chain(
        scale_by_soap(b1, b2, eps, frequency, max_dim),
        optax.scale_by_learning_rate(learning_rate),
    )


def scale_by_soap(
    b1: float, b2: float, eps: float, frequency: int, max_dim: int
) -> optax.GradientTransformation:
    """The direction of `soap`, of about 1 a value; uphill, as Optax has it."""

    def start(param: Array) -> Kernel:
        shape = merged(param.shape)
        sides = [shape[axis] for axis in preconditioned(shape, max_dim)]
        return Kernel(
            mean=jnp.zeros(shape, param.dtype),
            square=jnp.zeros(shape, param.dtype),
            products=tuple(jnp.zeros((n, n), param.dtype) for n in sides),
            bases=tuple(jnp.eye(n, dtype=param.dtype) for n in sides),
        )

    def step(gradient: Array, kernel: Kernel, count: Array) -> tuple[Array, Kernel]:
        shape, gradient = gradient.shape, gradient.reshape(kernel.mean.shape)
        axes = preconditioned(gradient.shape, max_dim)
        turned = jnp.where(count > 0, turn(gradient, axes, kernel.bases), 0)
        mean = b1 * kernel.mean + (1 - b1) * turned
        square = b2 * kernel.square + (1 - b2) * turned**2
        # Of the gradients so far but for the first; before, there is nothing to correct.
        n = jnp.maximum(count, 1)
        update = mean / (1 - b1**n) / (jnp.sqrt(square / (1 - b2**n)) + eps)
        products = tuple(
            b2 * product + (1 - b2) * product_along(gradient, axis)
            for axis, product in zip(axes, kernel.products, strict=True)
        )
        update = turn(update, axes, kernel.bases, back=True).reshape(shape)
        return update, Kernel(mean, square, products, kernel.bases)

    def first_bases(kernel: Kernel) -> Kernel:
        vectors = (jnp.linalg.eigh(product)[1] for product in kernel.products)
        return kernel._replace(bases=tuple(v[:, ::-1] for v in vectors))

    def next_bases(kernel: Kernel) -> Kernel:
        axes = preconditioned(kernel.mean.shape, max_dim)
        square, bases = kernel.square, []
        for axis, product, basis in zip(axes, kernel.products, kernel.bases, strict=True):
            power = jnp.matmul(product, basis, precision="highest")
            order = jnp.argsort(-jnp.sum(basis * power, axis=0))
            square = jnp.take(square, order, axis=axis)
            bases.append(jnp.linalg.qr(power[:, order])[0])
        mean = turn(turn(kernel.mean, axes, kernel.bases, back=True), axes, bases)
        return Kernel(mean, square, kernel.products, tuple(bases))

    def init(params: Any) -> SoapState:
        return SoapState(jnp.int32(0), jax.tree.map(start, params))

    def update(updates: Any, state: SoapState, params: Any = None) -> tuple[Any, SoapState]:
        del params
        gradients, structure = jax.tree.flatten(updates)
        kernels = structure.flatten_up_to(state.kernels)
        steps = [step(g, k, state.count) for g, k in zip(gradients, kernels, strict=True)]
        # After the step: no gradient is scaled in a basis that it took part in.
        due = jnp.where(state.count == 0, 1, jnp.where(state.count % frequency == 0, 2, 0))
        kernels = jax.lax.switch(
            due,
            [
                lambda kernels: kernels,
                lambda kernels: [first_bases(kernel) for kernel in kernels],
                lambda kernels: [next_bases(kernel) for kernel in kernels],
            ],
            [kernel for _, kernel in steps],
        )
        count = optax.safe_increment(state.count)
        updates = structure.unflatten([update for update, _ in steps])
        return updates, SoapState(count, structure.unflatten(kernels))

    return optax.GradientTransformation(init, update)


def merged(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A kernel's shape with the axes before (in, out) as one, and without axes of 1."""
    *positions, rows, columns = (1, 1, *shape)
    count = 1
    for n in positions:
        count *= n
    return tuple(n for n in (count, rows, columns) if n > 1) or (1,)


def preconditioned(shape: tuple[int, ...], max_dim: int) -> tuple[int, ...]:
    """The axes of a kernel that have a basis."""
    return tuple(axis for axis, n in enumerate(shape) if n <= max_dim)


def product_along(gradient: Array, axis: int) -> Array:
    """G G^T (n, n), with an axis of n as rows and all others as columns."""
    others = [other for other in range(gradient.ndim) if other != axis]
    return jnp.tensordot(gradient, gradient, (others, others), precision="highest")


def turn(x: Array, axes: tuple[int, ...], bases: Any, back: bool = False) -> Array:
    """Q^T x along each of the axes, into the bases Q; or Q x, `back` out of them."""
    for axis, basis in zip(axes, bases, strict=True):
        product = jnp.tensordot(basis, x, (int(back), axis), precision="highest")
        x = jnp.moveaxis(product, 0, axis)
    return x
