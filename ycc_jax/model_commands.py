"""`ycc models | freeze | import-compressai`: codec models on the command line.

Imported with every `ycc`, so only click is imported here; what else a command needs it imports
itself, JAX last.
"""

import json
import sys

import click

from ycc_jax.errors import InputError

_images_option = click.option(
    "--images",
    metavar="DIR",
    help="Photographs to calibrate the integers with, up to 64 of them, none that you evaluate on; "
    "default: drawn pictures, which do where the model is of common sizes.",
)
_MOST_PICTURES = 64


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def models(as_json):
    """List the bundled models: rates, size, and what they save on the Kodak pictures.

    A BD-rate is how many more bytes a model needs than another codec at equal PSNR of luma;
    negative is better.
    """
    from ycc_jax.model_folder import bundled_models

    found = bundled_models()
    if as_json:
        click.echo(json.dumps(found))
        return
    for model in found:
        default = " (default)" * model["default"]
        least, most = model["bpp"]
        click.echo(
            f"{model['name']}{default}: hash {model['hash'][:8]}, {model['bytes'] / 1e6:.1f} MB"
        )
        click.echo(
            f"  {least:.3f} to {most:.3f} bits per pixel on Kodak; BD-rate in PSNR_Y against"
        )
        rates = (f"{name} {rate:+.1f} %" for name, rate in model["bd_rate_psnr_y"].items())
        click.echo("  " + ", ".join(rates))


@click.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="Folder to write; default: MODEL itself, if it was exported before models were frozen.",
)
@_images_option
def freeze(model, output, images):
    """Turn the prior of the codec model MODEL into integers, so that its files decode everywhere.

    Training and import do so themselves; this is for models exported earlier, or to calibrate with
    other photographs (files then need that very model).
    """
    from ycc_jax.codec_model import find_model, freeze_model

    digest = _written(output or model, freeze_model, find_model(model), output, _pictures(images))
    print(f"{output or model}: codec model {digest[:8]}", file=sys.stderr)


@click.command("import-compressai")
@click.argument("checkpoint")
@click.option(
    "--model",
    required=True,
    type=click.Choice(["mbt2018", "mbt2018-mean", "bmshj2018-hyperprior", "bmshj2018-factorized"]),
    help="Which of CompressAI's models it holds.",
)
@click.option("-o", "--output", required=True, metavar="MODEL", help="Folder to write.")
@_images_option
def import_compressai(checkpoint, model, output, images):
    """Make a codec model of CompressAI's weights, for --model of the other commands.

    CHECKPOINT is a PyTorch file (which needs PyTorch to be read) or an .npz of its arrays.
    """
    if output in ("", "-"):
        raise InputError(f"expected a folder to write, found {output!r}")
    from ycc_jax.compressai import import_checkpoint

    calibration = _pictures(images)
    digest = _written(output, import_checkpoint, checkpoint, model, output, calibration=calibration)
    print(f"{output}: codec model {digest[:8]}", file=sys.stderr)


def _written(output, write, *arguments, **named) -> str:
    """The hash that `write` gives; what it raises names the output, not the folder made first."""
    try:
        return write(*arguments, **named)
    except OSError as error:
        error.filename, error.filename2 = output, None
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


def _pictures(folder):
    """RGB arrays of the pictures of a folder, spread over it; [] of None."""
    if folder is None:
        return []
    from ycc_jax.evaluation.run import list_pictures, read_picture

    paths = list_pictures(folder)
    return [read_picture(path) for path in paths[:: -(-len(paths) // _MOST_PICTURES)]]


COMMANDS = (models, freeze, import_compressai)
