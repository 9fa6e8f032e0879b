"""Writes tfc.npz: what TensorFlow Compression (TFC) computes where our code must agree with it.

TFC 2.14.1 needs TensorFlow 2.14, beside which no JAX that we support installs; hence a file:

    python -m venv tfc
    tfc/bin/pip install tensorflow-compression==2.14.1
    tfc/bin/python tests/reference/make_tfc.py

`tests/test_tfc_reference.py` says what is compared. All is float64, which tells whether two
formulas are the same; "_f32" is TFC's float32 at the same inputs: what rounding costs.

The range coder's tables of n densities are in TFC one int32 vector of n rows, each -precision, 0,
..., 2**precision, and n offsets, the integers that the first symbols of the rows stand for. Here
they have the tail masses of our tables and are built at integers, not around medians.
"""

import math
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

TABLES = {"compression": True, "range_coder_precision": 16, "bottleneck_dtype": tf.float64}


def gdn(rng):
    """GDN and its inverse with their gradients; some parameters are below their bounds."""
    channels = 6
    x = rng.normal(0, 3, (2, 3, 4, channels))
    weight = rng.normal(size=x.shape)  # the gradients are those of sum(weight * y)
    # Square roots of the parameters, gamma as (in, out).
    beta = rng.uniform(0.3, 1.5, channels)
    beta[2] = 1e-4
    gamma = rng.uniform(-0.2, 0.7, (channels, channels))
    arrays = {"x": x, "weight": weight, "beta": beta, "gamma": gamma}
    for name, inverse in (("gdn", False), ("igdn", True)):
        layer = tfc.GDN(inverse, alpha_parameter=2, epsilon_parameter=0.5, dtype=tf.float64)
        layer.build(x.shape)
        inputs = tf.Variable(x)
        sources = {
            "x": inputs,
            "beta": layer.beta_parameter.variable,
            "gamma": layer.gamma_parameter.variable,
        }
        sources["beta"].assign(beta)
        sources["gamma"].assign(gamma)
        with tf.GradientTape() as tape:
            y = layer(inputs)
            loss = tf.reduce_sum(weight * y)
        arrays[name] = y
        for of, gradient in tape.gradient(loss, sources).items():
            arrays[f"{name}_gradient_{of}"] = gradient
    return arrays


def factorized(rng):
    """NoisyDeepFactorized of 5 channels far from its start: logits, bits, tables, coded bytes."""
    channels, filters = 5, (1, 3, 3, 3, 1)
    # Values that float32 has too, so that "_f32" is of the same density at the same points.
    x = np.round(64 * rng.normal(0, 30, (300, channels))) / 64
    x[:4] = [[-2000.0], [-400.0], [400.0], [2000.0]]
    params = {}
    for k, (r, s) in enumerate(zip(filters[:-1], filters[1:], strict=True)):
        start = math.log(math.expm1(10**-0.25 / s))
        params[f"matrix_{k}"] = start + rng.normal(0, 0.4, (channels, r, s))
        params[f"bias_{k}"] = rng.normal(0, 2, (channels, s))
        if s > 1:
            params[f"factor_{k}"] = rng.normal(0, 0.7, (channels, s))
    params = {name: p.astype(np.float32) for name, p in params.items()}
    arrays = {"x": x, **params}
    for suffix, dtype in (("_f32", tf.float32), ("", tf.float64)):
        prior = tfc.NoisyDeepFactorized(batch_shape=[channels], num_filters=[3, 3, 3], dtype=dtype)
        for variable in prior.base.variables:
            p = params[variable.name.rpartition("/")[2].removesuffix(":0")]
            # TFC's matrices are (channel, out, in), its vectors columns.
            variable.assign(p.swapaxes(1, 2) if p.ndim == 3 else p[..., None])
        arrays["logits" + suffix] = prior.base._logits_cumulative(tf.constant(x, dtype))
        arrays["bits" + suffix] = -prior.log_prob(x) / math.log(2)
    model = tfc.ContinuousBatchedEntropyModel(
        prior, coding_rank=2, tail_mass=1e-6, offset_heuristic=False, **TABLES
    )
    values = np.round(rng.normal(0, 30, (400, channels)))
    far = rng.random(values.shape) < 0.05
    values[far] = np.round(values[far] * np.exp2(rng.uniform(0, 20, far.sum())))
    arrays |= {"cdf": model.cdf, "offset": model.cdf_offset, "values": values.astype(np.int32)}
    return arrays | {"bytes": np.frombuffer(model.compress(values).numpy(), np.uint8)}


def gaussian(rng):
    """NoisyNormal of the 64 scales 0.11 to 256: bits of noisy values, tables, coded bytes."""
    low, step = math.log(0.11), math.log(256 / 0.11) / 63
    model = tfc.ContinuousIndexedEntropyModel(
        tfc.NoisyNormal,
        index_ranges=[64],
        parameter_fns={"loc": tf.zeros_like, "scale": lambda i: tf.exp(low + step * i)},
        coding_rank=1,  # the bits of vectors; of one value each below
        channel_axis=None,
        tail_mass=2**-12,
        prior_dtype=tf.float64,
        **TABLES,
    )
    indexes = np.broadcast_to(np.arange(64)[:, None, None], (64, 24, 1))
    scale = np.exp(low + step * indexes)
    y, bits = model(scale * np.linspace(-6.5, 6.5, 24)[:, None], indexes, training=True)
    prior = tfc.NoisyNormal(loc=0.0, scale=tf.constant(scale, tf.float32))
    bits_f32 = -prior.log_prob(tf.cast(y, tf.float32)) / math.log(2)
    arrays = {"y": y[..., 0], "bits": bits, "bits_f32": bits_f32[..., 0]}
    indexes = rng.integers(0, 64, 3000)
    values = np.round(rng.normal(0, np.exp(low + step * indexes)))
    far = rng.random(values.shape) < 0.05
    sign = rng.choice([-1, 1], far.sum())
    values[far] += np.round(sign * np.exp2(rng.uniform(0, 29.9, far.sum())))
    arrays |= {"cdf": model.cdf, "offset": model.cdf_offset}
    arrays |= {"values": values.astype(np.int32), "indexes": indexes.astype(np.int32)}
    return arrays | {"bytes": np.frombuffer(model.compress(values, indexes).numpy(), np.uint8)}


def main():
    """Writes the file next to this one."""
    rng = np.random.default_rng(0)
    tf.random.set_seed(0)
    packages = ("tensorflow-compression", "tensorflow", "tensorflow-probability", "numpy")
    versions = [f"{package} {version(package)}" for package in packages]
    origin = f"python tests/reference/make_tfc.py; {', '.join(versions)}; {platform.machine()}"
    arrays = {"origin": np.array(origin)}
    for part in (gdn, factorized, gaussian):
        for name, array in part(rng).items():
            arrays[f"{part.__name__}/{name}"] = np.asarray(array)
    np.savez_compressed(Path(__file__).with_name("tfc.npz"), **arrays)


if __name__ == "__main__":
    main()
