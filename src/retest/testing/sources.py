"""The conformance suite of the source seam: subclass :class:`SourceContract` for every source, fakes included.

Under pytest each ``test_*`` method is one test::

    class TestMySource(SourceContract):
        def make_source(self, parameters: SearchParameters) -> Source:
            return MySource(...)         # a fresh client of the same data

        def class_info(self) -> ClassInfo:
            ...                          # a class with at least two photos

        def photo_ids(self) -> list[str]:
            ...                          # ids of all its photos

No test framework is imported; a failed check raises AssertionError.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from retest.errors import RetestError, SourceError
from retest.records import Candidate, ClassInfo
from retest.sources import FetchingSource, FoundPhoto, Page, Query, SearchParameters, Source, identify
from retest.sources.published import DETAIL_COLUMNS
from retest.testing._checks import check, raises

__all__ = ["SourceContract", "all_photos", "walk"]

_MOST_PAGES = 10_000


def walk(source: Source, query: Query, cursor: str | None = None) -> Iterator[tuple[str | None, Page]]:
    """(cursor asked with, its page) from ``cursor`` to the end of the query."""
    for _ in range(_MOST_PAGES):
        page = source.page(query, cursor)
        yield cursor, page
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
    raise AssertionError(f"{query.key}: no end after {_MOST_PAGES} pages")


def all_photos(source: Source, info: ClassInfo) -> list[FoundPhoto]:
    """Every photo of every query of a class, in order, duplicates included."""
    return [photo for query in source.queries(info) for _, page in walk(source, query) for photo in page.photos]


class SourceContract:
    """What every :class:`~retest.sources.Source` promises."""

    def make_source(self, parameters: SearchParameters) -> Source:
        """Return a new client of the same unchanging collection, as another process would make."""
        raise NotImplementedError

    def class_info(self) -> ClassInfo:
        """A class for which the collection has at least two photos."""
        raise NotImplementedError

    def photo_ids(self) -> list[str]:
        """The ids of all photos that the source must find for the class, in any order."""
        raise NotImplementedError

    def parameters(self) -> SearchParameters:
        """Settings of the search under which :meth:`photo_ids` are found."""
        return SearchParameters()

    def request_log(self) -> list[str] | None:
        """What the collection has been asked so far, one line per question, retries left out; None if that is unknown."""
        return None

    @contextmanager
    def _source(self, parameters: SearchParameters | None = None) -> Iterator[Source]:
        source = self.make_source(parameters or self.parameters())
        try:
            yield source
        finally:
            source.close()

    def test_it_is_a_source_with_a_constant_name(self) -> None:
        with self._source() as source, self._source() as other:
            check(isinstance(source, Source), "does not have the methods of a Source")
            check(source.name.isascii() and bool(source.name.strip()), f"the name {source.name!r} is not plain text")
            check(source.name == other.name, "two clients have different names")

    def test_queries_are_stable_and_their_keys_unique(self) -> None:
        info = self.class_info()
        with self._source() as source, self._source() as other:
            queries = list(source.queries(info))
            check(len(queries) > 0, "there is no query for the class")
            check(queries == list(source.queries(info)) == list(other.queries(info)), "asked again, the queries differ")
            check(len({query.key for query in queries}) == len(queries), "two queries share a key")
            for query in queries:
                check(query.wnid == info.wnid, f"{query.key}: belongs to another class")
                check(query.source == source.name, f"{query.key}: belongs to another source")
                check(pickle.loads(pickle.dumps(query)) == query, f"{query.key}: changes in transit")  # noqa: S301 - own bytes

    def test_another_limit_is_another_query(self) -> None:
        info = self.class_info()
        limited = dataclasses.replace(self.parameters(), max_images=1)
        with self._source() as source, self._source(limited) as other:
            shared = {query.key for query in source.queries(info)} & {query.key for query in other.queries(info)}
            check(not shared, f"a limited search would take these finished searches for its own: {sorted(shared)}")

    def test_every_photo_is_found(self) -> None:
        with self._source() as source:
            photos = all_photos(source, self.class_info())
        found = {photo.photo_id for photo in photos}
        check(
            found == set(self.photo_ids()),
            f"missing {sorted(set(self.photo_ids()) - found)}, not expected {sorted(found - set(self.photo_ids()))}",
        )
        for photo in photos:
            check(bool(photo.source) and bool(photo.url), f"{photo.photo_id}: lacks engine or URL")
            for size in (photo.width, photo.height):
                check(size is None or (type(size) is int and size >= 0), f"{photo.photo_id}: {size!r} is no size in pixels")
            strange = sorted(photo.details.keys() - DETAIL_COLUMNS)
            check(not strange, f"{photo.photo_id}: exported and read again as a table, the details {strange} would be lost")

    def test_a_walk_can_be_taken_up_at_every_page_by_a_new_client(self) -> None:
        info = self.class_info()
        with self._source() as source:
            walks = [(query, list(walk(source, query))) for query in source.queries(info)]
        for query, pages in walks:
            # At most a dozen places, the last page among them: the work grows with the square of the number of pages.
            for start in sorted({round(i * (len(pages) - 1) / 11) for i in range(12)}):
                cursor = pages[start][0]
                check(cursor is None or (isinstance(cursor, str) and len(cursor) < 4000), f"{query.key}: the cursor is no short text")
                with self._source() as other:
                    rest = [page.photos for _, page in walk(other, query, cursor)]
                check(rest == [page.photos for _, page in pages[start:]], f"{query.key}: taken up at page {start + 1} it differs")

    def test_no_page_is_asked_twice(self) -> None:
        before = self.request_log()
        if before is None:
            return
        asked = len(before)
        with self._source() as source:
            all_photos(source, self.class_info())
        log = (self.request_log() or [])[asked:]
        again = [line for line, count in Counter(log).items() if count > 1]
        check(bool(log) and not again, f"asked {len(log)} questions, these more than once: {again}")

    def test_the_limit_is_divided_over_the_queries(self) -> None:
        info = self.class_info()
        with self._source() as source:
            terms = len(source.queries(info))
            for most in (0, terms, terms + 1, 2 * terms):
                self._check_limit(info, most, most // terms)

    def _check_limit(self, info: ClassInfo, most: int, share: int) -> None:
        with self._source(dataclasses.replace(self.parameters(), max_images=most)) as limited, self._source() as full:
            for query, whole in zip(limited.queries(info), full.queries(info), strict=True):
                check(query.limit == share, f"max_images = {most} gives a query the limit {query.limit}, not {share}")
                taken = [photo.photo_id for _, page in walk(limited, query) for photo in page.photos]
                everything = [photo.photo_id for _, page in walk(full, whole) for photo in page.photos]
                check(len(taken) <= share, f"{query.key}: {len(taken)} photos where {share} were allowed")
                check(taken == everything[: len(taken)], f"{query.key}: the limited search is no prefix of the full one")

    def test_an_unknown_class_ends(self) -> None:
        info = dataclasses.replace(self.class_info(), wnid="n99999999", synset=("no such thing in any collection",))
        with self._source() as source:
            check(all_photos(source, info) == [], "found photos of a class that does not exist")

    def test_a_foreign_cursor_is_refused(self) -> None:
        with self._source() as source:
            query = source.queries(self.class_info())[0]
            for cursor in ("", "nonsense", "[]", '{"other": 1}', "17"):
                with raises(SourceError, f"the cursor {cursor!r} was accepted"):
                    source.page(query, cursor)

    def test_candidates_can_be_made_of_the_photos(self) -> None:
        with self._source() as source:
            for candidate in self._candidates(source):
                check(len(candidate.id) == 40 and candidate.wnid == self.class_info().wnid, f"{candidate} is no candidate")

    def test_a_fetching_source_hands_over_bytes_and_nothing_else(self) -> None:
        with self._source() as source:
            if not isinstance(source, FetchingSource):
                return
            fetch = source.fetch
            candidate = self._candidates(source)[0]
            check(len(fetch(candidate)) > 0, "no bytes")
            for url in ("../outside.jpg", "/etc/hostname", "a/../../outside.jpg", "no/such/file.jpg", "", "a\0b"):
                stranger = dataclasses.replace(candidate, url=url)
                with raises(RetestError, f"fetched {url!r}"):
                    fetch(stranger)

    def test_closing_twice_is_allowed(self) -> None:
        source = self.make_source(self.parameters())
        source.close()
        source.close()

    def _candidates(self, source: Source) -> list[Candidate]:
        query = source.queries(self.class_info())[0]
        photos = [photo for _, page in walk(source, query) for photo in page.photos]
        return list(identify(photos, query=query, known={}, user="tester", time="2026-01-31T09:00:00+00:00").candidates)
