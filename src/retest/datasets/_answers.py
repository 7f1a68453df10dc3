"""Selection frequencies straight from the raw answers, so that they are right whether or not a stage has derived them."""

from __future__ import annotations

from collections.abc import Iterable

from retest.labeling import FrequencyCounter, count_answers
from retest.records import Hit, SelectionFrequency
from retest.store import Tables


def counted(tables: Tables, hits: Iterable[Hit]) -> FrequencyCounter:
    """The answers to these HITs, counted."""
    known = list(hits)
    return count_answers(known, tables.assignments.of_hits([hit.uuid for hit in known]))


def class_frequencies(tables: Tables, wnid: str) -> dict[str, SelectionFrequency]:
    """image id -> its frequency for a class, for every image that HITs of the class show; excluded HITs do not count."""
    counter = counted(tables, tables.hits.of_class(wnid, include_excluded=False))
    return {found.image_id: found for found in counter.frequencies() if found.wnid == wnid}


def all_frequencies(tables: Tables) -> dict[tuple[str, str], SelectionFrequency]:
    """(image id, wnid) -> frequency, over all answers; excluded HITs do not count."""
    counter = count_answers(tables.hits.all(include_excluded=False), tables.assignments.all())
    return {(found.image_id, found.wnid): found for found in counter.frequencies()}
