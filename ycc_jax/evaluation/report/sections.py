"""The sections of the report, in HTML; each adds to `data` what the page's script needs of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from ycc_jax.evaluation.provenance import describe
from ycc_jax.evaluation.report import plots
from ycc_jax.evaluation.report.curves import LUMA, MARK, METRICS, Curve, bd_cell
from ycc_jax.evaluation.report.gallery import Gallery

USUAL_RATE = 2.0  # bpp: plots end there if every curve has a point below


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    html: str


def page_file(name: str) -> str:
    """The text of a file in `page/`."""
    page = resources.files("ycc_jax.evaluation.report") / "page"
    return page.joinpath(name).read_text("utf-8").strip()


def rate_distortion(curves: Sequence[Curve], data: dict) -> Section:
    """A plot a metric, under one legend for all."""
    figures = []
    for number, metric in enumerate(METRICS):
        found = {i: curve.points(metric) for i, curve in enumerate(curves)}
        found = {i: points for i, points in found.items() if points}
        if not found:
            continue
        usual = all(points[0][0] <= USUAL_RATE for points in found.values())
        farthest = max(points[-1][0] for points in found.values()) * 1.03
        limit = min(farthest, USUAL_RATE) if usual else farthest
        drawn, tips, others = [], {}, []
        for i, points in found.items():
            mark = "" if curves[i].key(metric) == metric.keys[0] else f" {MARK}"
            others += [curves[i].name] if mark else []
            rate, value = zip(*points, strict=True)
            curve = {"id": i, "rate": rate, "value": value, "published": curves[i].published}
            drawn.append(curve)
            texts = (f"{r:.3f} bpp, {v:.2f} dB{mark}" for r, v in plots.points(curve, limit))
            tips[str(i)] = list(texts)
        data["plots"][f"plot-{number}"] = tips
        label = f"{metric.title}, against bits per pixel"
        who = (
            ", ".join(others) if len(others) < 7 else f"{len(others)} curves, told at their points"
        )
        note = f"{MARK} {who}: {metric.substitute}" if others else ""
        svg = plots.rd_plot(label, metric.unit, drawn, limit)
        figures.append(_figure(f"plot-{number}", metric.title, svg, note))
    note = (
        "Mean over pictures of each picture’s value, on decoded 8-bit pictures. Full lines were "
        "measured with this library, dashed ones are anchors from their sources. Point at a marker "
        "for its values; press a name to hide its curve."
    )
    legend = "".join(
        f"<div><span>{title}</span>{''.join(_legend(i, curves[i]) for i in ids)}</div>"
        for title, published in (("Measured", False), ("Anchors", True))
        if (ids := [i for i, curve in enumerate(curves) if curve.published == published])
    )
    html = (
        f'<p class="note">{note}</p><div class="legend">{legend}</div>'
        f'<div class="plots">{"".join(figures)}</div>'
    )
    return Section("rd", "Rate–distortion", html)


def bd_rates(curves: Sequence[Curve], anchor: int, data: dict) -> Section:
    """A table that the script fills, for any anchor."""
    data["bd"] = [
        [[bd_cell(a, b, metric) for metric in METRICS] if a is not b else [] for b in curves]
        for a in curves
    ]
    data["order"] = METRICS.index(LUMA)
    options = _options(enumerate(curve.name for curve in curves), anchor)
    heads = "".join(f'<th scope="col" class="number">{m.column}</th>' for m in METRICS)
    html = (
        '<p class="note">Rate at equal quality against the anchor: negative needs fewer bits. '
        "PCHIP on the logarithm of the rate over the range that both curves cover, which the cell "
        "tells when pointed at, as a dash does why there is no figure. "
        f"{MARK} compared in PSNR_RGB of the MSE over the three channels.</p>"
        '<div class="controls"><label>Anchor<select id="anchor">'
        f'{options}</select></label></div><div class="scroll"><table><thead><tr><th scope="col">'
        f'Codec</th>{heads}</tr></thead><tbody id="bd-rows"></tbody></table></div>'
    )
    return Section("bd", "BD-rate", html)


def times(curves: Sequence[Curve], anchor: int, data: dict) -> Section | None:
    """Seconds against BD-rate, of curves measured with a record of where; None without any."""
    drawn, machines = [], dict[str, list[str]]()
    for i, curve in enumerate(curves):
        cell = {"percent": 0.0} if i == anchor else bd_cell(curves[anchor], curve, LUMA)
        if (seconds := curve.seconds()) and "percent" in cell:
            encode, decode = seconds
            drawn.append({"id": i, "name": curve.name, "encode": encode, "decode": decode, **cell})
            machines.setdefault(curve.machine(), []).append(curve.name)
    if not drawn:
        return None
    data["plots"]["plot-time"] = {
        str(c["id"]): [
            f"{verb} {c[key]:.3g} s, BD-rate {c['percent']:+.1f} %"
            for key, verb in (("encode", "encodes in"), ("decode", "decodes in"))
        ]
        for c in drawn
    }
    name = curves[anchor].name
    svg = plots.time_plot(f"BD-rate against {name}, over time", "BD-rate in PSNR_Y / %", drawn)
    where = "; ".join(f"{', '.join(names)}: {machine}" for machine, names in machines.items())
    html = (
        f'<p class="note">BD-rate in PSNR_Y against {escape(name)}, over the seconds to encode '
        "(full marker) and to decode (hollow) a picture; mean over qualities of the median over "
        "pictures. Lower and further left is better. Only curves measured with a record of the "
        f"machine: {escape(where)}.</p>"
        f'<div class="plots">{_figure("plot-time", "Time and BD-rate", svg)}</div>'
    )
    return Section("time", "Time", html)


def pictures(gallery: Gallery, curves: Sequence[Curve], data: dict) -> Section:
    """The viewer."""
    names = [curve.name for curve in curves]
    spare = iter(range(len(names), len(names) + len(gallery.subjects)))
    ids = [names.index(s.name) if s.name in names else next(spare) for s in gallery.subjects]
    data["gallery"] = {
        "codecs": [
            {"name": s.name, "colour": f"var(--c{i % plots.NUM_COLOURS})"}
            for s, i in zip(gallery.subjects, ids, strict=True)
        ],
        "pictures": gallery.pictures,
    }
    model, steps = gallery.subjects[0].name, max(len(p["codecs"][0]) for p in gallery.pictures)
    left = 1 if len(gallery.subjects) > 1 else -1
    codecs = [(-1, "original"), *((i, s.name) for i, s in enumerate(gallery.subjects))]
    shown = enumerate(picture["name"] for picture in gallery.pictures)
    html = Template(page_file("viewer.html")).substitute(
        model=escape(model),
        pictures=_options(shown, 0),
        left=_options(codecs, left),
        right=_options(codecs, 0),
        hidden="hidden" if steps == 1 else "",
        last=steps - 1,
        start=(steps - 1) // 3,
    )
    return Section("pictures", "Pictures", html)


def sources(curves: Sequence[Curve], gallery: Gallery | None) -> Section:
    """Where each curve comes from, and its figures."""
    rows, figures = [], []
    for i, curve in enumerate(curves):
        record = curve.record
        kind = "anchor" if curve.published else "measured"
        origin = "; ".join(_origin(record))
        cells = (kind, str(record.get("description", "–")), origin or "–")
        rows.append(
            f'<tr><th scope="row">{plots.swatch(i, curve.published)} {escape(curve.name)}</th>'
            f"<td>{cells[0]}</td>"
            + "".join(f'<td class="long">{escape(cell)}</td>' for cell in cells[1:])
            + "</tr>"
        )
        figures.append(_figures(curve))
    html = (
        '<div class="scroll"><table class="origins"><thead><tr><th scope="col">Curve</th>'
        '<th scope="col">Kind</th><th scope="col">What</th><th scope="col">From where</th>'
        "</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    if gallery:
        items = "".join(
            f"<li>{escape(s.name)}: {escape(describe(s.settings)) or '–'}</li>"
            for s in gallery.subjects
        )
        html += f'<p class="note">Codecs of the pictures:</p><ul class="note">{items}</ul>'
    return Section("sources", "Sources", f"{html}<h3>Figures</h3>{''.join(figures)}")


def _figures(curve):
    results = curve.record["results"]
    heads = "".join(f'<th scope="col" class="number">{escape(key)}</th>' for key in results)
    rows = "".join(
        "<tr>" + "".join(f'<td class="number">{escape(_number(v))}</td>' for v in values) + "</tr>"
        for values in zip(*results.values(), strict=True)
    )
    return (
        f'<details><summary>{escape(curve.name)}</summary><div class="scroll"><table><thead><tr>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _number(value):
    return (
        f"{value:.5g}" if isinstance(value, int | float) else "–" if value is None else str(value)
    )


def _origin(record):
    if "source" in record:
        yield str(record["source"])
    if isinstance(record.get("provenance"), dict):
        yield describe(record["provenance"])


def _figure(id, title, svg, note=""):
    caption = f"<figcaption>{escape(note)}</figcaption>" if note else ""
    return f'<figure id="{id}"><h3>{escape(title)}</h3>{svg}{caption}</figure>'


def _legend(i, curve):
    return (
        f'<button type="button" data-toggle="{i}" aria-pressed="true">'
        f"{plots.swatch(i, curve.published)}{escape(curve.name)}</button>"
    )


def _options(choices, chosen):
    return "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{escape(name)}</option>'
        for value, name in choices
    )
