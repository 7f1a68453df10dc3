"""The page on which a labeller of the two passes judges candidates: one file that needs no server and saves a CSV."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from retest.labeling.two_pass import Pass
from retest.stages.two_pass import Waiting
from retest.web.pages import environment, stylesheet

__all__ = ["sheet_page"]


def sheet_page(items: Sequence[Waiting], *, step: Pass, labeller: str) -> str:
    """One self-contained HTML document, images embedded, grouped by class and by the term that found them.

    In the second pass everything begins ticked, since the first labeller said yes to most of it; otherwise nothing does.
    """
    numbered = list(enumerate(items, start=1))
    groups = [
        (title, [{"id": i.candidate.id, "number": n, "picture": _picture(i), "remarks": i.remarks} for n, i in group])
        for title, group in groupby(numbered, key=lambda pair: _title(pair[1]))
    ]
    question = "Does the image show at least one object of the class named above it?"
    return (
        environment()
        .get_template("two_pass.html")
        .render(
            heading=f"{len(items)} images, {step} pass, {labeller}",
            question=question,
            groups=groups,
            record=shlex.join(["--pass", str(step), "--labeller", labeller]),
            ticked=step is Pass.SECOND and all(item.said_yes for item in items),
            file=f"two-pass-{step}-{labeller}.csv",
            style=Markup(stylesheet() + stylesheet("two_pass.css")),  # noqa: S704 own files
        )
    )


def _title(item: Waiting) -> str:
    key = item.candidate.search_key
    return item.class_name if key in (None, "", item.class_name, item.candidate.wnid) else f"{item.class_name}: {key}"


def _picture(item: Waiting) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(item.picture).decode()
