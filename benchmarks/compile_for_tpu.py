"""Compiles training steps for TPUs that are not there: whether it can be done, and in what memory.

    pip install 'jax[tpu]'
    python benchmarks/compile_for_tpu.py --config dlec_gain --topology v5e:2x4 --batch 64 --crop 256

The compiler is libtpu's, the machine any; the program is that of `train/loop.py` on all chips of
the topology, data parallel, in bfloat16, as a loop of steps. It is compiled, not run.
"""

import argparse
import importlib
import os
import time

import numpy as np

# What libtpu otherwise asks the machine's cloud for.
HERE = dict(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_ID="0")
HERE |= dict(TPU_ACCELERATOR_TYPE="v5litepod-8", TPU_WORKER_HOSTNAMES="localhost")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dlec_gain")
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10, help="of one call of the program")
    arguments = parser.parse_args()
    os.environ.update(HERE)

    import jax
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from train.optimizer import optimizer
    from train.step import blank_state, make_train_chunk
    from ycc_jax import build

    config = importlib.import_module(f"configs.{arguments.config}").get_config()
    model = build(**config.model.to_dict()).clone(compute_dtype="bfloat16")
    tx = optimizer(config)
    topology = topologies.get_topology_desc(topology_name=arguments.topology, platform="tpu")
    mesh = Mesh(np.array(topology.devices), ("data",))
    replicated = NamedSharding(mesh, PartitionSpec())
    by_picture = NamedSharding(mesh, PartitionSpec(None, "data"))
    program = jax.jit(
        make_train_chunk(model, tx, config, arguments.steps, unroll=False),
        in_shardings=(replicated, by_picture),
        out_shardings=replicated,
        donate_argnums=0,
    )
    state = jax.eval_shape(lambda: blank_state(model, tx))
    shape = (arguments.steps, arguments.batch, arguments.crop, arguments.crop, 3)
    traced = program.trace(state, jax.ShapeDtypeStruct(shape, np.uint8))
    start = time.perf_counter()
    compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    memory = compiled.memory_analysis()
    print(f"{arguments.config} for {len(mesh.devices)} x {mesh.devices[0].device_kind}")
    print(f"compiled in {time.perf_counter() - start:.0f} s")
    print(f"on each chip: state and batches {memory.argument_size_in_bytes / 1e9:.2f} GB, ", end="")
    print(f"temporary {memory.temp_size_in_bytes / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
