"""A codec from nothing: build, train, count bits, encode, decode. `python docs/tutorial.py`"""

import jax
import jax.numpy as jnp
import optax
from skimage import data

import ycc_jax

arguments = dict(N=8, M=16, levels=3)  # all else as in `dlec_gain`, which is larger
model = ycc_jax.build(**arguments)
params = ycc_jax.init(model, seed=0)
photo = data.astronaut()[64:192, 160:288]
x = jnp.stack([photo[i : i + 64, j : j + 64] for i in (0, 64) for j in (0, 64)]) / 255
lambdas = jnp.array([0.0018, 0.013, 0.0932])  # of each rate level: what distortion counts
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
forward = jax.jit(model.apply, static_argnames="details")


@jax.jit
def step(params, state, key):
    draw, noise = jax.random.split(key)
    level = jax.random.randint(draw, (4, 1), 0, 3)  # each picture of the batch has its own

    def loss(params):
        out = forward({"params": params}, x, level, noise)
        return ycc_jax.rate_distortion(out, x, lambdas[level[:, 0]])

    gradient, metrics = jax.grad(loss, has_aux=True)(params)
    update, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, update), state, metrics


state = optimizer.init(params)
for n in range(5):
    params, state, metrics = step(params, state, jax.random.key(n))
out = forward({"params": params}, x, ycc_jax.level_of(model, quality=50), details=True)
codec = ycc_jax.Codec.from_params(params, arguments, calibration=[photo])
file = codec.encode(photo, quality=50)
print(metrics["loss"], out["element_bits_y"].shape, len(file), codec.decode(file).shape)
