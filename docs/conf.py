"""Sphinx settings: ``make site`` builds the documentation into build/site; warnings are errors."""

import re
from pathlib import Path

from retest import __version__

DOCS = Path(__file__).parent

project = "retest"
author = "The retest authors"
copyright = "The retest authors, MIT licence"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"retest {__version__}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
pygments_style = "friendly"
pygments_dark_style = "monokai"


def _listed_elsewhere() -> set[str]:
    return set(re.findall(r"^([a-z][a-z/-]*)$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))


def _prepare(_app: object, name: str, source: list[str]) -> None:
    """Pages that the index does not list join the how-to guides; links that lead out of docs/ become plain text."""
    if name == "index":
        further = sorted({path.stem for path in DOCS.glob("*.md")} - _listed_elsewhere() - {"index"})
        source[0] = source[0].replace("% further guides", "\n".join(further))
    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)]+)\)", r"\1 (\2 in the repository)", source[0])


def setup(app: object) -> None:  # noqa: D103 the name is Sphinx's
    app.connect("source-read", _prepare)  # type: ignore[attr-defined]
