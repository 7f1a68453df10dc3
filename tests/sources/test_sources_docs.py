"""docs/collecting.md names every reason, licence and column. (tests/docs runs the page.)"""

from __future__ import annotations

from pathlib import Path

from retest.images import REASONS
from retest.sources.download import FAILURE_REASONS
from retest.sources.licenses import FLICKR_LICENSES
from retest.sources.published import COLUMNS

PAGE = Path(__file__).parents[2] / "docs" / "collecting.md"


def test_the_page_names_every_reason_licence_and_column() -> None:
    text = PAGE.read_text(encoding="utf-8")
    columns = {name for field, names in COLUMNS.items() for name in names if field not in ("found_by", "date_found")}
    published = {"id_search_engine", "search_engine", "id_ours", "url_type", "url_kind", "date_upload_search_engine"}
    for name in {*REASONS, *FAILURE_REASONS, *(columns - published)}:
        assert f"`{name}`" in text or f"{name}," in text, name
    for name in FLICKR_LICENSES.values():
        assert f"`{name}`" in text or name.endswith("-4.0"), name
