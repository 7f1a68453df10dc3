"""What sampling, and the checks of a revision, know of every candidate is derived from raw records: kept up to date here."""

from __future__ import annotations

from retest.stages._duplicates import refresh_resolution
from retest.stages._frequencies import refresh_frequencies
from retest.store import Tables
from retest.study import Study


def refresh(study: Study, tables: Tables) -> None:
    """Bring everything that facts are made of up to date; nothing is done where nothing has changed."""
    refresh_frequencies(tables)
    refresh_resolution(study, tables)
