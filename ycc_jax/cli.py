"""The command line: `ycc encode | decode | verify | info`; the rest is in `model_commands.py` and
`evaluation/commands.py`.

Exit codes: 0 done, 1 the output could not be written, 2 usage or unusable input, 3 corrupt
stream, 4 missing or wrong model, 5 size limit, 130 interrupted (`ycc_jax.errors`).

Only click is imported here. What else a command needs it imports itself, JAX last: help and
refusals take a fraction of the seconds that JAX takes.
"""

import contextlib
import io
import json
import os
import sys
import time
import warnings

import click

from ycc_jax import bitstream, header, model_commands, vocabulary
from ycc_jax.entropy import backends
from ycc_jax.errors import CorruptStreamError, InputError, LimitError, YccError
from ycc_jax.evaluation import commands
from ycc_jax.options import coder_option
from ycc_jax.pictures import files, limits

_max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=0),
    default=vocabulary.DEFAULT_MAX_PIXELS,
    show_default=True,
    metavar="N",
    help="Refuse pictures of more pixels, sides padded to multiples of 64; 0: only memory limits.",
)
_model_option = click.option(
    "-m", "--model", metavar="M", help="Model name or folder; default: the bundled model."
)
_quiet_option = click.option("--quiet", is_flag=True, help="Print only warnings and errors.")


def _parse_region(_context, _parameter, value):
    """ "X,Y,W,H" -> four integers."""
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 11 for part in parts):
        raise click.BadParameter(f"expected X,Y,W,H in pixels, as in 0,0,640,480, found {value!r}")
    return tuple(map(int, parts))


def _print_version(context, _parameter, value):
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("ycc_jax")
        except PackageNotFoundError:
            number = "(not installed)"
        click.echo(f"ycc {number}")
        click.echo(f"coder: {backends.chosen()}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version, and which range coder is used here.",
)
def cli():
    """A learned image codec: photographs to .ycc files and back."""


@cli.command()
@click.argument("source", metavar="IN")
@click.option("-o", "--output", metavar="OUT", help="Default: IN with the ending .ycc.")
@click.option(
    "-q",
    "--quality",
    type=float,
    metavar="Q",
    help="0 (smallest file) to 100 (best picture), fractions allowed; default: 50.",
)
@click.option(
    "--chroma",
    type=float,
    metavar="A",
    help="Weight of chroma against luma, for models with a grid of gains such as the bundled one: "
    "smaller gives chroma less, luma more, and a larger file at the same quality; default: 0.25.",
)
@_model_option
@click.option("--background", metavar="COLOR", help="Colour behind a transparent picture.")
@click.option("--size", metavar="WxH", help="Size of a raw .yuv file, in pixels.")
@click.option(
    "--depth", type=click.Choice(["8", "10"]), help="Bits of a raw .yuv file; default: 8."
)
@click.option("--frame", type=click.IntRange(min=0), metavar="N", help="Frame of a film, from 0.")
@click.option(
    "--range",
    "range_",
    type=click.Choice(vocabulary.RANGES),
    help="Range of a .y4m or .yuv file; default: what it says, else limited.",
)
@click.option(
    "--matrix",
    type=click.Choice(vocabulary.YCBCR_MATRICES),
    help="Matrix of a .y4m or .yuv file; default: bt601.",
)
@click.option(
    "--verify", is_flag=True, help="Decode it again, and write it only if that gives its picture."
)
@click.option(
    "--tile",
    type=click.Choice(["0", *map(str, header.TILES)]),
    help="Side of the tiles in pixels, 0 for none; default: 2048 in pictures of over 4 megapixels.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    default=0,
    show_default=True,
    help="Search for a smaller, better file of this very picture: up to minutes a megapixel.",
)
@coder_option
@_max_pixels_option
@click.option("-v", "--verbose", is_flag=True, help="Also print the header and where time went.")
@_quiet_option
def encode(
    source,
    output,
    quality,
    chroma,
    model,
    background,
    verify,
    tile,
    effort,
    backend,
    max_pixels,
    verbose,
    quiet,
    **planes,
):
    """Encode the picture IN (PNG, JPEG, WebP, TIFF, ...; "-": standard input).

    Of 4:2:0 files, .y4m or raw .yuv (yuv420p, yuv420p10le), the samples are coded as they are.

    An output name that is not given with -o is never the name of an existing file.
    """
    output = _output(source, output, ".ycc")
    if quality is not None:
        quality = header.quantize_quality(quality)
    if chroma is not None:
        header.quantize_chroma(chroma)
    start = time.perf_counter()
    picture = _read(source, background, max_pixels or None, **planes)
    codec = _load(model, backend)
    loaded = time.perf_counter()
    asked = {"quality": quality, "chroma": chroma, "tile": None if tile is None else int(tile)}
    asked |= {"effort": effort, "progress": _Progress(shown=effort and not quiet)}
    if verify:
        data, expected = codec.encode_with_picture(picture, **asked)
        # A codec of its own: nothing that the encoder has compiled or kept.
        _check_same(expected, _load(model, backend).decode(data, max_pixels=None))
    else:
        data = codec.encode(picture, **asked)
    encoded = time.perf_counter()
    files.write_bytes(output, data)
    if not quiet:
        bpp = bitstream.info(data)["bpp"]
        _say(f"{output}: {len(data)} bytes, {bpp:.3f} bpp, {encoded - start:.2f} s")
    if verbose:
        for line in _lines(bitstream.info(data)):
            _say(f"  {line}")
        _say(f"  read and load: {loaded - start:.2f} s, encode: {encoded - loaded:.2f} s")


@cli.command()
@click.argument("source", metavar="IN")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="PNG, TIFF, PPM, BMP or lossless WebP by its ending; of encoded .y4m or .yuv, these too. "
    'Default, also for "-": PNG, or Y4M.',
)
@click.option(
    "--region",
    callback=_parse_region,
    metavar="X,Y,W,H",
    help="Only W x H pixels from column X and row Y on, as the whole picture has them; of a file "
    "in tiles only those around are decoded.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Of a damaged or truncated file what is left: lost tiles are grey, the exit code is 3.",
)
@_model_option
@coder_option
@_max_pixels_option
@_quiet_option
def decode(source, output, region, partial, model, backend, max_pixels, quiet):
    """Decode the .ycc file IN ("-": standard input) to a picture.

    An output name that is not given with -o is never the name of an existing file.
    """
    start = time.perf_counter()
    if region and partial:
        raise InputError("expected --region or --partial, found both")
    data = files.read_bytes(source, limits.max_file_bytes(max_pixels or None))
    # Before the seconds that the next imports and the model take.
    head = bitstream.unpack(data, max_pixels or None, partial, region is not None).header
    if region is None:
        limits.check_memory(source, head.width, head.height, limits.decoding(), head.tile)
    output = _output(source, output, ".y4m" if head.planes else ".png")
    from ycc_jax.pictures import images

    # A pipe or device has no ending to tell the format by, no more than standard output has.
    named = bool(os.path.splitext(output)[1]) or not files.is_stream(output)
    as_planes = head.planes and (files.is_planes_file(output) or not named)
    if not as_planes and files.is_planes_file(output):
        raise InputError(f"{output}: expected a picture's name, for no planes were encoded")
    if not as_planes:
        shape = (region[3], region[2]) if region else (head.height, head.width)
        format = images.output_format(output if named else "-", shape)
    codec, lost = _load(model, backend), 0.0
    if partial:
        picture, lost = codec.decode_partial(data, max_pixels=max_pixels or None)
    else:
        picture = codec.decode(data, max_pixels=max_pixels or None, region=region)
    if head.planes:
        from ycc_jax.pictures import planes, y4m

        if as_planes:
            (y4m.write if named else y4m.write_y4m)(picture, output)
        else:
            images.write(planes.to_rgb(picture), output, format)
    else:
        images.write(picture, output, format)
    if not quiet:
        seconds = time.perf_counter() - start
        width, height = region[2:] if region else (head.width, head.height)
        _say(f"{output}: {width} x {height} pixels, {seconds:.2f} s")
    if lost:
        return _fail(
            f"{source}: expected a whole file, found {100 * lost:.3g} % of the picture lost, which "
            "is grey",
            CorruptStreamError.exit_code,
        )
    return 0


@cli.command()
@click.argument("sources", metavar="FILE...", nargs=-1, required=True)
@_model_option
@coder_option
@_max_pixels_option
@_quiet_option
def verify(sources, model, backend, max_pixels, quiet):
    """Decode each .ycc FILE, write no picture, and say of which that failed.

    What a file is checked for: container, checksums, model, and that this machine reads the symbols
    that were coded. The exit code is that of the first file that failed.
    """
    codec, code = None, 0
    for source in sources:
        try:
            data = files.read_bytes(source, limits.max_file_bytes(max_pixels or None))
            head = bitstream.unpack(data, max_pixels or None).header
            limits.check_memory(source, head.width, head.height, limits.decoding(), head.tile)
            codec = codec or _load(model, backend)
            codec.decode(data, max_pixels=max_pixels or None)
        except YccError as error:
            named = str(error).startswith(f"{source}: ")
            failed = _fail(error if named else f"{source}: {error}", error.exit_code)
            code = code or failed
            continue
        if not quiet:
            _say(f"{source}: {head.width} x {head.height} pixels, whole")
    return code


@cli.command()
@click.argument("source", metavar="IN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Also print which range coder is used here, as coder."
)
def info(source, as_json, verbose):
    """Print what the header of the .ycc file IN says; needs no model."""
    files.check_target("-")
    fields = bitstream.info(files.read_bytes(source))
    if verbose:
        fields["coder"] = backends.chosen()
    click.echo(json.dumps(fields) if as_json else "\n".join(_lines(fields)))


for _command in (*model_commands.COMMANDS, *commands.COMMANDS):
    cli.add_command(_command)


def main(arguments=None) -> int:
    """Run `ycc` with the arguments (default: of the process); the exit code, never a traceback
    for a fault of the input, the model, the disk or the reader of a pipe."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(
            f"ycc: warning: {' '.join(str(message).split())}"
        )
        try:
            code = cli.main(arguments, prog_name="ycc", standalone_mode=False)
            if sys.stdout is not None:  # closed
                sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            return _fail(error.format_message(), error.exit_code)
        except YccError as error:
            return _fail(error, error.exit_code)
        except BrokenPipeError:
            # Whoever read has gone. The interpreter flushes once more at exit: into nothing.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except MemoryError:
            return _fail("expected input that fits the memory, found more", LimitError.exit_code)
        except OSError as error:
            named = error.filename is not None and error.strerror
            return _fail(f"{error.filename}: {error.strerror}" if named else error, 1)
        except (KeyboardInterrupt, click.Abort):
            return 130


class _Progress:
    """One line on a terminal that says how far a search is; nothing elsewhere."""

    def __init__(self, shown: bool):
        self._shown, self._start = shown and sys.stderr.isatty(), time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        if self._shown:
            seconds = time.perf_counter() - self._start
            left = seconds / done * (total - done)
            line = f"searching: {done} of {total}, {seconds:.0f} s, {left:.0f} s left"
            click.echo(f"\r{line:<60}" + "\n" * (done == total), nl=False, err=True)


def _output(source: str, output: str | None, ending: str) -> str:
    """The name to write to, which is never the input and never overwrites unless given."""
    if output is None:
        output = "-" if source == "-" else os.path.splitext(source)[0] + ending
        if os.path.realpath(output) != os.path.realpath(source) and os.path.exists(output):
            # Else `ycc encode a.png` and `ycc decode a.ycc` would replace the original.
            raise InputError(f"{output}: exists; use -o {output} to overwrite it")
    files.check_target(output)
    if source == "-" or output == "-":
        return output
    same = os.path.realpath(source) == os.path.realpath(output)
    with contextlib.suppress(OSError):
        same = same or os.path.samefile(source, output)
    if same:
        raise InputError(f"{output}: expected an output other than the input, found the same file")
    return output


def _check_same(expected, found) -> None:
    """CorruptStreamError unless two pictures, arrays or planes, have the same samples."""
    import numpy as np

    def samples(picture):
        return [picture] if hasattr(picture, "dtype") else [picture.y, picture.cb, picture.cr]

    if not all(map(np.array_equal, samples(expected), samples(found))):
        raise CorruptStreamError("expected the encoder's picture from its file, found another one")


def _load(model: str | None, backend: str):
    from ycc_jax.codec import load
    from ycc_jax.compilation_cache import enable_compilation_cache

    enable_compilation_cache()
    return load(model, backend=backend)


def _read(source, background, max_pixels, *, size, depth, frame, range_, matrix):
    """The picture of a file, as an array, or as planes if that is what the file holds."""
    described = {"matrix": matrix} if matrix else {}
    if range_:
        described["range"] = range_
    # Refused from the header, before the pixels are decoded and the model is loaded.
    memory = {"bytes_per_pixel": limits.encoding()}
    ending = os.path.splitext(source)[1].lower()
    if background is not None and (size is not None or files.is_planes_file(source)):
        raise InputError(f"{source}: expected --background with a picture, found planes")
    if size is not None and ending != ".yuv" and source != "-":
        raise InputError(f"{source}: expected --size with a .yuv file or standard input")
    if size is not None or ending == ".yuv":
        from ycc_jax.pictures import y4m

        width, _, height = (size or "").partition("x")
        if not (width.isdecimal() and height.isdecimal() and len(size) < 20):
            raise InputError(
                f"{source}: expected --size WxH for raw planes, as in 1920x1080, "
                f"found {size or 'none'}"
            )
        dimensions = (int(width), int(height), int(depth or 8))
        return y4m.read_yuv(source, *dimensions, frame, max_pixels, **described, **memory)
    if depth is not None:
        raise InputError("expected --depth with --size only: Y4M and pictures tell their own")
    file = source
    if source == "-":
        # Told from its content, which can be read but once.
        file = io.BytesIO(files.read_bytes(source, limits.max_file_bytes(max_pixels)))
        file.name = "standard input"
    if files.is_planes_file(source) or (source == "-" and file.getvalue()[:9] == b"YUV4MPEG2"):
        from ycc_jax.pictures import y4m

        return y4m.read_y4m(file, frame, max_pixels, **described, **memory)
    if described or frame is not None:
        raise InputError(
            f"{source}: expected --frame, --range and --matrix with .y4m and .yuv files only"
        )
    from ycc_jax.pictures import images

    return images.read(file, background, max_pixels, **memory)


def _lines(fields: dict) -> list[str]:
    return [f"{name}: {value}" for name, value in fields.items()]


def _say(line: str) -> None:
    click.echo(line, err=True)


def _fail(error: object, code: int) -> int:
    _say(f"ycc: error: {' '.join(str(error).split())}")
    return code


if __name__ == "__main__":
    sys.exit(main())
