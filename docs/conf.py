"""Sphinx settings. ``./dev docs`` builds the site; a warning is an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lambdamap import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lambdamap"
copyright = "the lambdamap authors"  # noqa: A001  # Sphinx's name
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"lambdamap {__version__}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings are numpydoc; what stands in single backquotes there is a name of this package.
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"show-inheritance": True}


def setup(app: Sphinx) -> None:
    app.connect("source-read", _list_every_page)


def _list_every_page(app: Sphinx, page: str, source: list[str]) -> None:
    """A new page is in the index by being there."""
    if page == "index":
        named = {"index", *re.findall(r"^[\w-]+$", source[0], re.MULTILINE)}
        others = sorted(path.stem for path in Path(app.srcdir).glob("*.md"))
        text = "\n".join(name for name in others if name not in named)
        source[0] = source[0].replace("(every other page)", text)
