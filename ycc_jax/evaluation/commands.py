"""`ycc eval | bd-rate | report`: rate and distortion on the command line.

Imported with every `ycc`, so only click is imported here; what else a command needs it imports
itself, JAX last.
"""

import json
import sys

import click

from ycc_jax import vocabulary
from ycc_jax.errors import InputError, require
from ycc_jax.options import coder_option
from ycc_jax.pictures import files


@click.command("eval")
@click.option("-m", "--model", metavar="M", help="Model name or folder; default: the bundled one.")
@click.option(
    "--codec",
    metavar="NAME",
    help="Instead of a model: jpeg-420, jpeg-444, webp, jpeg2000, avif-420, avif-444 or jxl.",
)
@click.option("--images", required=True, metavar="DIR", help="Folder of pictures.")
@click.option(
    "--qualities",
    metavar="Q,Q,...",
    help="Of the model, 0..100, or on the codec's own scale; default: about eight over its range.",
)
@click.option("--chroma", type=float, metavar="A", help="Weight of chroma, as of `ycc encode`.")
@click.option("--effort", type=click.IntRange(0, 9), default=0, help="As of `ycc encode`.")
@coder_option
@click.option("-o", "--output", required=True, metavar="NAME.json", help="RD file to write.")
@click.option("--anchor", multiple=True, metavar="FILE", help="RD file to compare with.")
@click.argument("anchors", nargs=-1, metavar="[FILE...]")
@click.option(
    "--max-pixels",
    type=click.IntRange(min=0),
    default=vocabulary.DEFAULT_MAX_PIXELS,
    show_default=True,
    metavar="N",
    help="Leave out, and report, pictures of more pixels; 0 for no limit.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def evaluate(
    model,
    codec,
    images,
    qualities,
    chroma,
    effort,
    backend,
    output,
    anchor,
    anchors,
    max_pixels,
    quiet,
):
    """Encode and decode every picture of a folder, really, at every quality.

    Writes the means to NAME.json and each picture to NAME.csv, as it goes; the same command
    continues where it was stopped. Prints the means, and the BD-rate against each anchor FILE.
    """
    of_a_model = model is not None or chroma is not None or effort or backend != "auto"
    if codec is not None and of_a_model:
        raise InputError(
            "expected --codec without --model, --chroma, --effort and --coder, found both"
        )
    if not output.endswith(".json"):
        raise InputError(f"{output}: expected a name in .json")
    files.check_target("-")
    require("eval", "tqdm")
    from ycc_jax.evaluation import rd, run

    anchors = [rd.read(path) for path in (*anchor, *anchors)]  # fails now, not hours later
    numbers = None if qualities is None else _numbers(qualities)
    paths = run.list_pictures(images)
    if codec is not None:
        from ycc_jax.evaluation import peers

        subject = peers.get(codec)
    else:
        from ycc_jax.evaluation.subject import load

        subject = load(model, chroma, effort, backend)
    quiet = quiet or sys.stderr is None  # closed
    record = run.evaluate(
        subject, paths, numbers, output, max_pixels=max_pixels or None, quiet=quiet
    )
    for line in run.table(record["results"]):
        click.echo(line)
    for other in anchors:
        for metric in rd.shared_metrics(other, record):
            try:
                line = _line(rd.compare(other, record, metric))
            except InputError as error:
                line = f"no BD-rate: {error}"
            click.echo(line)
    if failed := record["provenance"].get("failed"):
        raise InputError(
            f"{len(failed)} of {len(paths)} pictures could not be measured and are not in the "
            f"means: {', '.join(failed)}"
        )


@click.command("bd-rate")
@click.argument("anchor", metavar="A.json")
@click.argument("test", metavar="B.json")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="KEY",
    help="Key of the results, as psnr-y; again for more. Default: the usual ones that both have.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, an object a metric.")
def bd_rate(anchor, test, metrics, as_json):
    """Rate of B against A at equal quality, in percent: negative, B needs fewer bits.

    Piecewise cubic (PCHIP) over the range of the metric that both curves cover, which is printed
    too; refused where that is less than half of the shorter curve's range.
    """
    files.check_target("-")
    from ycc_jax.evaluation import rd

    a, b = rd.read(anchor), rd.read(test)
    names = metrics or rd.shared_metrics(a, b)
    if not names:
        raise InputError(f"expected a metric that {anchor} and {test} share, found none")
    found, refused = [], []
    for metric in names:
        try:
            found.append(rd.compare(a, b, metric))
        except InputError as error:
            refused.append(str(error))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for result in found:
            click.echo(_line(result))
    if refused:
        raise InputError("; ".join(refused))


@click.command()
@click.argument("results", nargs=-1, required=True, metavar="RESULTS.json...")
@click.option("-o", "--output", required=True, metavar="OUT.html", help="Page to write.")
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="FILE",
    help="RD file of a published curve, again for more; default: the folder anchors beside the "
    "first of the results.",
)
@click.option("--against", metavar="NAME", help="Curve that BD-rates are against at first.")
@click.option(
    "--images", metavar="DIR", help="Pictures to show; default: photographs of scikit-image."
)
@click.option(
    "--pictures",
    type=click.IntRange(min=0),
    default=2,
    metavar="N",
    help="Show the first N; default: 2. Each adds some 5 to 15 MB.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="M",
    help="Model to show, again for more; the slider is the first one's. Default: the bundled one.",
)
@click.option(
    "--codec",
    "codecs",
    multiple=True,
    metavar="NAME",
    help="Classic codec to show, again for more; default: jpeg-420, webp and avif-420.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=2, max=101),
    default=9,
    metavar="N",
    help="Qualities of each picture; default: 9.",
)
@coder_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def report(
    results, output, anchors, against, images, pictures, models, codecs, steps, backend, quiet
):
    """Make one page of RD files: plots, BD-rates, times, and pictures at matched rates.

    The page needs no network. Its pictures are coded now, whatever the RD files hold.
    """
    if not files.is_stream(output) and not output.lower().endswith((".html", ".htm")):
        raise InputError(f"{output}: expected a name in .html")
    files.check_target(output)
    require("report", "matplotlib", "tqdm", *(() if images or not pictures else ("skimage",)))
    from ycc_jax.evaluation.report import build, curves

    found = build.read(results, anchors)
    anchor = curves.check(found, against)
    gallery = None
    quiet = quiet or sys.stderr is None  # closed
    if pictures:
        coding = {"backend": backend, "quiet": quiet}
        gallery = build.exhibit(images, pictures, models, codecs, steps, **coding)
    page = build.build(found, anchor, gallery).encode()
    files.write_bytes(output, page)
    click.echo(f"{output}: {len(page) / 1e6:.1f} MB", err=True)


COMMANDS = (evaluate, bd_rate, report)


def _line(result):
    return (
        f"{result['test']} against {result['anchor']} in {result['metric']}: "
        f"{result['bd_rate']:+.2f} % over {result['low']:.2f} to {result['high']:.2f} dB"
    )


def _numbers(text):
    """ "0,15.5" -> [0.0, 15.5], sorted, none twice."""
    try:
        return sorted({float(number) for number in text.split(",")})
    except ValueError as error:
        raise InputError(f"expected --qualities as in 10,30,50, found {text!r}") from error
