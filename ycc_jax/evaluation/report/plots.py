"""Rate-distortion and time plots as SVG that takes its colours and its font from the page.

Matplotlib draws them: they print, need no script to be seen, and are small (a library that draws
in the browser is megabytes). A curve is a group with the attribute `data-curve`, whose `<use>`
elements are its points in order, so that the page's script can name, fade and hide it.
"""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from ycc_jax.errors import MissingBackendError

MARKERS = "osD^vph"
NUM_COLOURS = 10
"""Colours of the page, CSS variables --c0 to --c9, that curves take in turn."""

# Stand-ins for CSS variables in what Matplotlib draws: they are looked for in its output.
_INK, _GRID, _PAPER = "#010101", "#010102", "#010103"
_COLOURS = {f"#0200{i:02x}": f"var(--c{i})" for i in range(NUM_COLOURS)}
_PAGE = {_INK: "var(--muted)", _GRID: "var(--line)", _PAPER: "var(--paper)", **_COLOURS}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may have dollar signs
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
}


def rd_plot(title: str, unit: str, curves: Sequence[dict], max_rate: float) -> str:
    """A rate-distortion plot.

    Args:
      title: for readers that do not see it.
      unit: label of the ordinate.
      curves: dicts of "id", an int that gives colour and marker; "rate", bits per pixel, ascending;
        "value", finite; "published", whether it is an anchor (thin, dashed, hollow markers).
      max_rate: where the abscissa ends.

    Returns:
      An `<svg>` element without width and height.
    """
    shown = [value for c in curves for _, value in points(c, max_rate)]
    margin = 0.05 * (max(shown) - min(shown)) or 1.0

    def paint(axes):
        axes.set(xlim=(0, max_rate), ylim=(min(shown) - margin, max(shown) + margin))
        axes.set(xlabel="bits per pixel", ylabel=unit)
        # Anchors first: what was measured lies on top.
        for curve in sorted(curves, key=lambda c: not c["published"]):
            id, colour, published = curve["id"], _colour(curve["id"]), curve["published"]
            line = {"linewidth": 1.0, "dashes": (4, 2)} if published else {"linewidth": 1.8}
            axes.plot(curve["rate"], curve["value"], color=colour, gid=f"line-{id}", **line)
            face = _PAPER if published else colour
            pairs = zip(*points(curve, max_rate), strict=True)
            axes.plot(*pairs, **_marks(id, 4), markerfacecolor=face)

    return _svg(title, paint)


def points(curve: dict, max_rate: float) -> list[tuple[float, float]]:
    """The (rate, value) that `rd_plot` marks, in its order: of more than 20 every second, third,
    ..., lest the markers cover each other."""
    pairs = zip(curve["rate"], curve["value"], strict=True)
    inside = [(rate, value) for rate, value in pairs if rate <= max_rate]
    return inside[:: -(-len(inside) // 20)]


def time_plot(title: str, unit: str, curves: Sequence[dict]) -> str:
    """Seconds, logarithmic, against BD-rate.

    Args:
      title, unit: as of `rd_plot`.
      curves: dicts of "id", "name", "encode" and "decode" in seconds, and "percent", the BD-rate.

    Returns:
      An `<svg>` element without width and height: a full marker for encoding, a hollow one for
      decoding, joined.
    """
    seconds = [s for c in curves for s in (c["encode"], c["decode"])]
    percents = [c["percent"] for c in curves]
    margin = 0.15 * (max(percents) - min(percents)) or 5.0

    def paint(axes):
        # A decade at least, and room for the names.
        right = max(max(seconds) * 3, min(seconds) * 10)
        axes.set(xlabel="seconds per picture", ylabel=unit, xscale="log")
        axes.set(xlim=(min(seconds) / 2, right))
        axes.set(ylim=(min(percents) - margin, max(percents) + 1.5 * margin))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        for curve in curves:
            id, colour, percent = curve["id"], _colour(curve["id"]), curve["percent"]
            pair = (curve["encode"], curve["decode"])
            axes.plot(pair, [percent] * 2, color=colour, linewidth=1.0, gid=f"line-{id}")
            for second, face in zip(pair, (colour, _PAPER), strict=True):
                axes.plot([second], [percent], **_marks(id, 6), markerfacecolor=face)
            place = {"xytext": (0, 7), "textcoords": "offset points"}
            axes.annotate(curve["name"], (min(pair), percent), color=colour, **place)

    return _svg(title, paint)


def swatch(id: int, published: bool) -> str:
    """The line and marker of a curve, an `<svg>` for legends."""
    _matplotlib()
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(MARKERS[id % len(MARKERS)])
    outline = style.get_path().transformed(style.get_transform())
    polygon: Any = outline.to_polygons(closed_only=False)[0]
    corners = " ".join(f"{14 + 8 * x:.2f},{6 - 8 * y:.2f}" for x, y in polygon)
    colour = f"var(--c{id % NUM_COLOURS})"
    dashes = ' stroke-dasharray="4 2"' if published else ""
    return (
        '<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true">'
        f'<path d="M0 6H28" stroke="{colour}" stroke-width="{1.2 if published else 2.2}"{dashes}/>'
        f'<polygon points="{corners}" stroke="{colour}" stroke-width="1.2" '
        f'fill="{"var(--paper)" if published else colour}"/></svg>'
    )


def _colour(id: int) -> str:
    return f"#0200{id % NUM_COLOURS:02x}"


def _marks(id: int, size: float) -> dict[str, Any]:
    """What `axes.plot` takes for a curve's points alone."""
    style = {"marker": MARKERS[id % len(MARKERS)], "markersize": size, "markeredgewidth": 1.0}
    return {"linestyle": "none", "color": _colour(id), "gid": f"curve-{id}", **style}


def _matplotlib():
    try:
        import matplotlib
    except ImportError as error:
        raise MissingBackendError(
            "expected Matplotlib to draw the plots, found none: pip install 'ycc-jax[report]'"
        ) from error
    return matplotlib


def _svg(title: str, paint: Callable[[Any], None]) -> str:
    """What `paint` draws on axes of 4.4 by 3.3 inches, which keeps text legible on a phone."""
    # The salt keeps the identifiers of clip paths and markers apart on one page.
    with _matplotlib().rc_context({**_STYLE, "svg.hashsalt": title}):
        from matplotlib.figure import Figure

        figure, out = Figure(figsize=(4.4, 3.3), layout="constrained"), io.StringIO()
        paint(figure.add_subplot())
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    view_box = re.findall(r'viewBox="[^"]*"', svg)[0]
    # Past a style sheet, which would be the whole page's.
    body = svg[svg.index("</defs>") + len("</defs>") : svg.rindex("</svg>")]
    # Matplotlib's names of groups repeat from plot to plot; of them only curves are of use.
    body = re.sub(r'<g id="(curve|line)-(\d+)">', r'<g data-\1="\2">', body)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r"font-family: [^;]*; ", "", body)
    body = re.sub("|".join(_PAGE), lambda colour: _PAGE[colour.group()], body)
    return f'<svg {view_box} role="img" aria-label="{escape(title)}">{body}</svg>'
