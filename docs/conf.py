"""The documentation site: `nox -s docs`, or where `[docs]` is installed `sphinx-build docs site`.

It is read without a network: no fonts, scripts or styles of other hosts.
"""

import re

from pygments.lexers.special import TextLexer

import ycc_jax

project = "ycc_jax"
author = copyright = "ycc_jax contributors"
version = release = ycc_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
# Fields of one name in several classes, as width: where they are described, none is a link.
suppress_warnings = ["ref.python"]
myst_heading_anchors = 3  # links to sections, as code hosts make them

# Docstrings are Markdown's in one thing: `name` is code.
default_role = "code"
highlight_language = "none"  # drawings, formats; code says what it is
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # it knows "N, M: channels of ..."
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"ycc_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):$")


def plain_text(app, what, name, obj, options, lines):
    """Docstrings are written to be read as they stand: tells Sphinx what it would not see.

    What is indented before the first section is a drawing or code, line by line. A star is one, as
    in `(*grid, C)`.
    """
    found, drawing, head = [], False, True
    for line in lines:
        head = head and not SECTION.match(line)
        indented = head and line.startswith("  ")
        if line.strip() and indented != drawing:
            found += ["", "::", ""] if indented else [""]
            drawing = indented
        found.append(line if drawing else re.sub(r"(`[^`]*`)|\*", lambda m: m[1] or r"\*", line))
    lines[:] = found


def without_flax(app, what, name, obj, options, signature, returned):
    """The signature of a Flax module without the two fields that Flax adds to each."""
    return signature and re.sub(r"(, )?parent: .*", ")", signature), returned


def setup(app):
    app.add_lexer("hex", TextLexer)
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", without_flax)
