"""Sphinx settings: ``make site`` builds the documentation into build/site; warnings are errors."""

import dataclasses
import re
from pathlib import Path

from docutils import nodes

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
smartquotes_action = "qe"  # two hyphens begin an option: no dash is made of them

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
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


def _literal_examples(_app: object, _context: object, lines: list[str]) -> None:
    """Examples of a command are to be copied: a block of code, not lines of text whose quotation marks are made curly.

    Raises:
        ValueError: sphinx-click marks these lines in another way than the one known here.
    """
    if any("Examples:" in line for line in lines):
        place = lines.index("| Examples:")
        end = next(number for number in range(place, len(lines)) if not lines[number])
        block = [f"   $ {line.removeprefix('|').strip()}" for line in lines[place + 1 : end]]
        lines[place:end] = ["Examples:", "", ".. code-block:: console", "", *block]


def _fields(_app: object, kind: str, _name: str, found: object, _options: object, lines: list[str]) -> None:
    """What the fields of a record of settings mean, as study.toml and the options of commands say it."""
    if kind == "class" and dataclasses.is_dataclass(found):
        told = {field.name: field.metadata["help"] for field in dataclasses.fields(found) if "help" in field.metadata}
        lines += ["", *(f":param {name}: {words}" for name, words in told.items())]


def _dashes(_app: object, page: nodes.document) -> None:
    """Between a field and its words Sphinx counts on the dashes that are not made of hyphens here."""
    for text in [text for text in page.findall(nodes.Text) if text == " -- "]:
        text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: object) -> None:  # noqa: D103 the name is Sphinx's
    app.connect("source-read", _prepare)  # type: ignore[attr-defined]
    app.connect("sphinx-click-process-description", _literal_examples)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", _fields)  # type: ignore[attr-defined]
    app.connect("doctree-read", _dashes)  # type: ignore[attr-defined]
