"""The report: RD files, and pictures coded at matched rates, as one page that needs no network.

`page/` has the page's frame, style and script, `sections.py` fills it. All text that comes from
files is escaped, and a policy in the page lets nothing run but its own script and nothing be
fetched.
"""

import base64
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import date
from html import escape
from string import Template

from tqdm import tqdm

import ycc_jax
from ycc_jax.codec import load
from ycc_jax.compilation_cache import enable_compilation_cache
from ycc_jax.evaluation import peers, rd
from ycc_jax.evaluation.report import gallery, sections
from ycc_jax.evaluation.report.curves import Curve
from ycc_jax.evaluation.run import list_pictures, read_picture

CODECS = ("jpeg-420", "webp", "avif-420")
"""Classic codecs of the gallery, if none are named."""
TITLE = "Rate and distortion of image codecs"


def read(results: Sequence[str], anchors: Sequence[str]) -> list[Curve]:
    """The curves of RD files: measured ones, then published ones.

    Without anchors named, those of a folder "anchors" beside the first of the results are taken,
    but for names that the results have.

    Raises:
      InputError: a file that is not an RD file.
    """
    measured = [Curve(rd.read(path), published=False) for path in results]
    if anchors:
        return measured + [Curve(rd.read(path), published=True) for path in anchors]
    folder, names = os.path.join(os.path.dirname(results[0]), "anchors"), {c.name for c in measured}
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in found if name.endswith(".json")]
    published = [Curve(rd.read(path), published=True) for path in paths]
    return measured + [curve for curve in published if curve.name not in names]


def exhibit(
    folder: str | None,
    count: int,
    models: Sequence[str],
    codecs: Sequence[str],
    steps: int,
    *,
    backend: str = "auto",
    quiet: bool = False,
) -> gallery.Gallery:
    """The gallery of a folder's first pictures, or of sample photographs.

    Args:
      folder: None for the samples.
      count: of pictures at most.
      models: as `ycc_jax.load` takes them; none are the bundled one.
      codecs: names of `peers.PEERS`; none are `CODECS`.
      steps: as of `gallery.exhibit`.
      backend: of the models' range coder, as of `ycc_jax.load`.
      quiet: no progress bar.

    Raises:
      YccError: no such folder, picture, model or codec.
    """
    # All that can be wrong fails before the first picture is coded.
    paths = [] if folder is None else list_pictures(folder)[:count]
    pictures = [(os.path.basename(path), read_picture(path)) for path in paths]
    classic = [gallery.of_peer(peers.get(name)) for name in codecs or CODECS]
    enable_compilation_cache()
    found = [load(model, backend=backend) for model in models or (None,)]
    subjects = [*map(gallery.of_model, found), *classic]
    pictures = pictures or list(gallery.samples(count))
    total = len(pictures) * len(subjects)
    with tqdm(total=total, unit="ladder", disable=quiet, file=sys.stderr) as bar:
        return gallery.exhibit(subjects, pictures, steps, lambda _: bar.update())


def build(curves: Sequence[Curve], anchor: int, shown: gallery.Gallery | None = None) -> str:
    """The page, in HTML.

    Args:
      curves: at least one, as `curves.check` wants them.
      anchor: index of the curve that BD-rates are given against at first.
      shown: the pictures, if any.
    """
    # What the script needs: each section adds its part.
    data: dict = {
        "curves": [{"name": curve.name} for curve in curves],
        "plots": {},
        "gallery": None,
    }
    possible = [
        sections.rate_distortion(curves, data),
        sections.bd_rates(curves, anchor, data) if len(curves) > 1 else None,
        sections.times(curves, anchor, data),
        sections.pictures(shown, curves, data) if shown else None,
        sections.sources(curves, shown),
    ]
    made = [section for section in possible if section]
    links = "".join(f'<a href="#{s.id}">{s.title}</a>' for s in made)
    parts = (f'<section id="{s.id}"><h2>{s.title}</h2>{s.html}</section>' for s in made)
    texts = (
        f'<script type="text/plain" id="{key}">{text}</script>'
        for key, text in (shown.images if shown else {}).items()
    )
    script = sections.page_file("page.js")
    # No "<" in it: nothing in a string can end the element.
    record = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(sections.page_file("template.html")).substitute(
        title=TITLE,
        summary=escape(_summary(curves, shown)),
        navigation=links,
        sections="\n".join(parts),
        style=sections.page_file("page.css"),
        data=record,
        images="\n".join(texts),
        script=script,
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _summary(curves, shown):
    measured = sum(not curve.published for curve in curves)
    counts = [
        _count(measured, "measured curve"),
        _count(len(curves) - measured, "anchor"),
    ]
    if shown:
        counts.append(_count(len(shown.pictures), "picture"))
    return f"{', '.join(counts)}. Made by ycc_jax {ycc_jax.__version__} on {date.today()}."


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"
