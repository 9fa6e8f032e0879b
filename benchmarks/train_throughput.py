"""Images per second of one training step: ours against CompressAI's in PyTorch, on this device.

    python benchmarks/train_throughput.py --out throughput.json
    python benchmarks/train_throughput.py --models minnen --batch 16 --rounds 10 --dtypes bfloat16

A step is forward, backward, clipping, Adam and the moving average of the weights, on a batch that
is on the device already (ours also cuts it there, from resident pictures). Ours have the arguments
of `configs/`; the peer is CompressAI's JointAutoregressiveHierarchicalPriors (`mbt2018`) of the
same N and M with its MSE loss, without its second optimiser for the quantiles: eager, and through
torch.compile. Without PyTorch and CompressAI our figures stand alone.

All contestants take turns, one step each, for some rounds; figures are medians over the rounds,
ratios those of each round. `of peak` is the rate of 2 floating-point operations a multiply-add,
three times those of the forward pass, over that of a large matrix product of the same dtype, timed
in the same rounds.
"""

import argparse
import importlib.util
import json
import math
import platform
import statistics
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np

from train.input.resident import pack
from train.optimizer import optimizer
from train.step import init_state, make_train_chunk
from ycc_jax.models import build, init

LAMBDA = 0.013
PEER = "compressai mbt2018"


def main(argv=None):
    args = parse(argv)
    contestants, flops = {}, {}
    for model in args.models:
        for dtype in args.dtypes:
            name = f"{model} {dtype}"
            print(f"compiling {name}", file=sys.stderr, flush=True)
            contestants[name], flops[name] = our_step(model, dtype, args)
    for dtype in args.dtypes:
        contestants[f"matmul {dtype}"], flops[f"matmul {dtype}"] = matmul(dtype, args.matmul)
    if not args.without_peer:
        contestants |= peer_steps(args)

    times = {name: [] for name in contestants}
    for round_ in range(args.rounds):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
        print(f"round {round_ + 1} of {args.rounds}", file=sys.stderr, flush=True)
    record = {"device": jax.devices()[0].device_kind, **versions(), **vars(args)}
    record["results"] = results = summary(times, flops, args)
    for row in results:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if args.out:
        with open(args.out, "w") as file:
            json.dump(record, file, indent=1)
    return record


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_cpu = jax.default_backend() == "cpu"
    dtypes = ["float32"] if on_cpu else ["float32", "bfloat16"]
    parser.add_argument("--models", nargs="+", default=["dlec_gain", "minnen"], help="of configs/")
    parser.add_argument("--dtypes", nargs="+", default=dtypes, help="float32, bfloat16")
    parser.add_argument("-N", type=int, default=128)
    parser.add_argument("-M", type=int, default=192)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1 if on_cpu else 10, help="steps a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--matmul", type=int, default=2048 if on_cpu else 8192, help="its side")
    parser.add_argument("--without-peer", action="store_true", help="ours alone")
    parser.add_argument("--compile", action="store_true", help="the peer by torch.compile, too")
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see every part run")
    args = parser.parse_args(argv)
    if args.smoke:
        args.N, args.M, args.batch, args.crop, args.rounds, args.matmul = 4, 8, 1, 64, 2, 64
    return args


def our_step(name, dtype, args):
    """(a function that takes `args.steps` steps and waits for them, operations of one)."""
    config = importlib.import_module(f"configs.{name}").get_config().unlock()
    config.model.update(N=args.N, M=args.M)
    config.data.update(batch_size=args.batch, crop=args.crop)
    model = build(**config.model.to_dict())
    tx = optimizer(config)
    params = init(model, 0)
    x = model.picture(jnp.zeros((args.batch, args.crop, args.crop, 3)))
    level = jnp.zeros((args.batch, len(model.grid)))
    forward = jax.make_jaxpr(lambda p: model.apply({"params": p}, x, level, jax.random.key(0)))
    operations = 3 * products(forward(params).jaxpr)
    picture = np.random.default_rng(0).integers(0, 256, (2 * args.crop,) * 2 + (3,), np.uint8)
    pictures = jax.device_put(pack([picture], [1]))
    chunk = make_train_chunk(model.clone(compute_dtype=dtype), tx, config, args.steps)
    state = init_state(params, tx)
    chunk = jax.jit(chunk, donate_argnums=0).lower(state, pictures).compile()

    def step():
        nonlocal state
        state, metrics = chunk(state, pictures)
        jax.block_until_ready((state, metrics))

    step()
    return step, operations


def products(jaxpr):
    """Floating-point operations of the convolutions and matrix products of a program."""
    total = 0
    for equation in jaxpr.eqns:
        shapes = [v.aval.shape for v in equation.invars]
        out = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "conv_general_dilated":
            axis = equation.params["dimension_numbers"].rhs_spec[0]
            total += 2 * out * math.prod(shapes[1]) // shapes[1][axis]
        elif equation.primitive.name == "dot_general":
            (axes, _), _ = equation.params["dimension_numbers"]
            total += 2 * out * math.prod(shapes[0][axis] for axis in axes)
        for part in jax.tree.leaves(list(equation.params.values())):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                total += products(part)
    return total


def matmul(dtype, side):
    """(a function that multiplies two square matrices and waits for it, operations)."""
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    multiply = jax.jit(jnp.matmul).lower(matrix, matrix).compile()

    def step():
        multiply(matrix, matrix).block_until_ready()

    step()
    return step, 2 * side**3


def peer_steps(args):
    """Functions like those of `our_step`, by name; none where PyTorch or CompressAI is missing."""
    try:
        import torch

        if importlib.util.find_spec("torchvision") is None:
            # CompressAI's registry of data augmentations asks for it, and nothing here uses that.
            stub = types.ModuleType("torchvision")
            stub.transforms = types.ModuleType("torchvision.transforms")
            sys.modules |= {"torchvision": stub, "torchvision.transforms": stub.transforms}
        from compressai.models import JointAutoregressiveHierarchicalPriors
    except ImportError as error:
        print(f"ours alone: {error}", file=sys.stderr)
        return {}
    gpu = torch.cuda.is_available() and jax.default_backend() == "gpu"
    device = torch.device("cuda" if gpu else "cpu")
    # As XLA does by default.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    x = torch.rand(args.batch, 3, args.crop, args.crop, device=device)

    def make(compiled, dtype):
        net = JointAutoregressiveHierarchicalPriors(args.N, args.M).to(device).train()
        params = [p for name, p in net.named_parameters() if not name.endswith(".quantiles")]
        ema = [p.detach().clone() for p in params]
        adam = torch.optim.Adam(params, lr=1e-4)

        def loss_of(x):
            out = net(x)
            bits = -sum(torch.log2(likelihood).sum() for likelihood in out["likelihoods"].values())
            mse = torch.nn.functional.mse_loss(out["x_hat"], x)
            return LAMBDA * 255**2 * mse + bits / (args.batch * args.crop**2)

        run = torch.compile(loss_of) if compiled else loss_of

        def step():
            for _ in range(args.steps):
                adam.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                    loss = run(x)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                adam.step()
                with torch.no_grad():
                    torch._foreach_lerp_(ema, params, 1e-3)
            loss.item()

        step()
        return step

    steps = {}
    for compiled in (False, True) if args.compile else (False,):
        for dtype in args.dtypes:
            name = f"{PEER} {'compiled' if compiled else 'eager'} {dtype}"
            print(f"preparing {name}", file=sys.stderr, flush=True)
            steps[name] = make(compiled, dtype)
    return steps


def summary(times, flops, args):
    """One row a contestant but for the matrix products."""
    eager = f"{PEER} eager "
    rows = []
    for name, seconds in times.items():
        if name.startswith("matmul"):
            continue
        rate = args.batch * args.steps / statistics.median(seconds)
        row = {"name": name, "images/s": round(rate, 3)}
        dtype = name.split()[-1]
        if name in flops:
            peak = flops[f"matmul {dtype}"] / statistics.median(times[f"matmul {dtype}"])
            ours = flops[name] * args.steps / statistics.median(seconds)
            row |= {"GFLOP a step": round(flops[name] / 1e9, 1), "of peak": round(ours / peak, 3)}
        if eager + dtype in times:
            pairs = zip(times[eager + dtype], seconds, strict=True)
            row["against eager"] = round(statistics.median(a / b for a, b in pairs), 3)
        rows.append(row)
    return rows


def versions():
    found = {"machine": platform.machine(), "jax": jax.__version__}
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].__version__
    return found


if __name__ == "__main__":
    main()
