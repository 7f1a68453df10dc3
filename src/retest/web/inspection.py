"""One HIT with its answers as a page for the study's owner (and for a notebook: :class:`InspectionView` shows itself)."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from markupsafe import Markup

from retest.errors import NotFoundError
from retest.stages._common import public_blob_key
from retest.stages._keys import current_key_version
from retest.stages.label_judge import HitInspection, inspect_hit
from retest.study import Study
from retest.web.pages import environment, stylesheet

__all__ = ["InspectionView", "inspection_page", "view_hit"]


@dataclass(frozen=True, slots=True, repr=False)
class InspectionView:
    """An inspected HIT that shows itself in a notebook. ``record`` holds the figures."""

    record: HitInspection
    html: str

    def __repr__(self) -> str:
        return f"InspectionView(HIT {self.record.hit.uuid}, {len(self.record.images)} images, {self.record.valid} valid answers)"

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style must not touch the notebook's.
        return f'<iframe srcdoc="{Markup.escape(self.html)}" style="width:100%;height:40rem;border:0" sandbox></iframe>'


def view_hit(study: Study, name: str) -> InspectionView:
    """Look at one HIT, named by its uuid or by the back end's id, in a notebook.

    Raises:
        NotFoundError: the study has no such HIT.
    """
    record = inspect_hit(study, name)
    return InspectionView(record, inspection_page(study, record))


def inspection_page(study: Study, record: HitInspection) -> str:
    """The page as one self-contained HTML document: images are embedded, and there is no script."""
    with study.database.read() as tables:
        names = tables.opaque_names.get((shown.image_id for shown in record.images), current_key_version(tables))
    images = {}
    for shown in record.images:
        try:
            data = study.blobs.get(public_blob_key(names[shown.image_id]))
        except (KeyError, NotFoundError):  # taken down since; the answers remain
            continue
        images[shown.image_id] = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return (
        environment()
        .get_template("inspection.html")
        .render(
            record=record,
            images=images,
            style=Markup(stylesheet() + stylesheet("inspection.css")),  # noqa: S704 own files
        )
    )
