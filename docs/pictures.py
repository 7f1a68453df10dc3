"""Draws the pictures of docs/architecture.md: python docs/pictures.py. Rows of rooms are those of the contract in pyproject.toml."""

from __future__ import annotations

import textwrap
import tomllib
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"

ROOMS = {
    "cli": "parse, call a stage, print",
    "demo": "the whole main job on embedded data",
    "testing": "fakes and conformance suites",
    "web": "pages of annotators and reviewers, the requesters' protocol, images",
    "stages": "one module per stage: read the store, call pure rooms, write the store",
    "datasets": "what one asks in a notebook: small classes over a study, the released test sets",
    "study": "study.toml → validated settings; the open study folder; executors",
    "store": "database and blobs",
    "sources": "where candidates come from",
    "crowd": "where answers come from",
    "benchmarks": "published formats and files",
    "models": "classifiers, featurisers, predictions",
    "report": "tables, figures, one HTML page",
    "labeling": "HITs, frequencies, quality",
    "neighbors": "distances, exact search",
    "duplicates": "review queue, components",
    "sampling": "eligibility, strategies",
    "analysis": "intervals, fits, bias",
    "images": "decode any image safely → upright RGB → variants",
    "records": "the frozen dataclasses that flow through the house",
    "settings": "what parameter dataclasses share: checks, plain numbers",
    "files": "written whole or not at all, listed without missing one",
    "errors": "one tree of errors: what is wrong, with which item, the remedy",
}
# (what happens, the room that does it, what is left of the candidate in the store)
WALK = (
    ("search", "sources → stages", "Candidate, or occurrence"),
    ("download", "images → store", "three JPEGs, or Exclusion"),
    ("publish", "stages → store", "OpaqueName and its copy"),
    ("label", "labeling, crowd", "Hit, Assignments, frequency"),
    ("neighbors", "neighbors", "30 Neighbors per metric"),
    ("duplicates", "duplicates, people", "NeighborReview, Resolution"),
    ("sample", "sampling", "a place in a Revision"),
    ("export, evaluate", "models, analysis", "file, Predictions, report"),
)
WIDTH, MARGIN, GAP = 960, 16, 10
COLOURS = ("#e8eefc", "#e5f4ec", "#fdf3e1", "#fbe9e7", "#f0eafa")
INK, QUIET, LINE = "#1c2330", "#4d5766", "#8a94a6"


def layers() -> list[list[str]]:
    """Rows of rooms, uppermost first, from the import contract."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[room.strip() for room in row.split("|")] for row in contract["layers"]]


def rooms_picture() -> str:
    """Every room as a box; a room imports from rows below its own."""
    parts, y = [], MARGIN
    for number, row in enumerate(layers()):
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        lines = [textwrap.wrap(ROOMS[room], max(12, int(width / 6.4))) for room in row]
        height = 34 + 15 * max(map(len, lines))
        for place, (room, text) in enumerate(zip(row, lines, strict=True)):
            x = MARGIN + place * (width + GAP)
            colour = COLOURS[number % len(COLOURS)]
            parts.append(_box(x, y, width, height, colour))
            parts.append(_text(x + width / 2, y + 20, room, bold=True))
            parts += [_text(x + width / 2, y + 37 + 15 * n, line, size=12, colour=QUIET) for n, line in enumerate(text)]
        y += height + GAP
    note = "A room imports from rows below its own, never from its neighbours in a row."
    parts.append(_text(WIDTH / 2, y + 12, note, size=12, colour=QUIET))
    return _picture(parts, y + 28, "The rooms of retest, uppermost first")


def walk_picture() -> str:
    """The stages that one candidate passes, two rows of four, and what each leaves in the store."""
    width, height, parts = (WIDTH - 2 * MARGIN - 3 * 34) / 4, 84, []
    for number, (what, room, left) in enumerate(WALK):
        row, place = divmod(number, 4)
        x, y = MARGIN + place * (width + 34), MARGIN + row * (height + 44)
        parts.append(_box(x, y, width, height, COLOURS[number % len(COLOURS)]))
        parts.append(_text(x + width / 2, y + 22, f"{number + 1}. {what}", bold=True))
        parts.append(_text(x + width / 2, y + 44, room, size=12, colour=QUIET))
        parts.append(_text(x + width / 2, y + 66, left, size=12))
        if place < 3:
            parts.append(_arrow(x + width + 4, y + height / 2, x + width + 28, y + height / 2))
        elif row == 0:
            middle = y + height + 22
            parts.append(
                f'<path d="M{x + width / 2:g} {y + height + 4} V{middle} H{MARGIN + width / 2:g} V{y + height + 38}" '
                f'fill="none" stroke="{LINE}" stroke-width="2" marker-end="url(#tip)"/>'
            )
    return _picture(parts, 2 * MARGIN + 2 * height + 44, "The walk of one candidate through the stages")


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{colour}" stroke="{LINE}"/>'


def _text(x: float, y: float, text: str, *, size: int = 15, colour: str = INK, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" text-anchor="middle"{weight}>{escape(text)}</text>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{LINE}" stroke-width="2" marker-end="url(#tip)"/>'


def _picture(parts: list[str], height: float, title: str) -> str:
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker>'
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" role="img" '
            'font-family="DejaVu Sans, Verdana, sans-serif">',
            f"<title>{escape(title)}</title><defs>{tip}</defs>",
            f'<rect width="{WIDTH}" height="{height:g}" rx="10" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        )
    )


PICTURES = {"rooms.svg": rooms_picture, "walk.svg": walk_picture}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")
