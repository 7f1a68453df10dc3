"""Addresses of pages: what is asked for comes back as it was, and another page gets what it can be asked; how pages say things."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.web.review import _pages
from retest.web.review.answering import _values
from retest.web.review.pages_audit import _in_words
from retest.web.review.pages_browser import FilterQuery
from retest.web.review.pages_hits import HitQuery, HitsQuery
from retest.web.review.pages_predictions import ListQuery, PlaceQuery
from retest.web.review.visit import _moment

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
shares = st.none() | st.floats(0, 1)


def read(model, address):
    """The query that a server reads from an address."""
    return model.model_validate(_values(model, parse_qsl(urlsplit(address).query, keep_blank_values=True)))


@given(
    st.builds(
        HitsQuery,
        wnid=texts,
        worker=texts,
        state=st.sampled_from(["any", "open"]),
        min_controls=shares,
        max_agreement=shares,
        descending=st.booleans(),
        after=texts,
        limit=st.integers(1, 1000),
    )
)
def test_an_address_asks_what_was_asked(query):
    assert read(HitsQuery, query.address("/hits")) == query
    one = read(HitQuery, query.address("/hit", of=HitQuery, uuid="u"))
    assert (one.uuid, one.filter(), one.descending) == ("u", query.filter(), query.descending)
    assert read(HitsQuery, one.address("/hits", of=HitsQuery)) == query.model_copy(update={"after": "", "limit": 100})


@given(st.builds(FilterQuery, wnid=texts.filter(bool), bin=st.lists(st.integers(0, 9)), only_targets=st.booleans(), max_frequency=shares))
def test_lists_and_numbers_are_in_the_address(query):
    assert read(FilterQuery, query.address("/class")) == query


def test_what_is_as_usual_is_not_in_the_address():
    assert HitsQuery().address("/hits") == "/review/hits"
    assert HitsQuery(wnid="a", limit=5, descending=True).address("/hits", wnid=None, after="") == "/review/hits?descending=true&limit=5"
    assert HitQuery(uuid="a", worker="shown").address("/hit", order="shown") == "/review/hit?worker=shown&uuid=a"
    place = ListQuery(dataset="a/b", folder="c", limit=9, after="x").address("/predictions/image", of=PlaceQuery, image="é&", folder=None)
    assert place == "/review/predictions/image?dataset=a%2Fb&image=%C3%A9%26"


def test_what_a_page_cannot_be_asked_is_a_mistake():
    with pytest.raises(KeyError):
        HitsQuery().address("/hits", colour="red")


def test_every_page_belongs_to_one_of_the_navigation():
    pages = [page for page in _pages() if page.method == "GET"]
    reached = {page.path for page in pages if page.nav}
    assert len(reached) == len(pages) - 9
    assert [page.path for page in pages if not page.nav and page.within not in reached] == []


def test_the_navigation_shows_where_one_is(server):
    with server.browser_client("Rex") as rex:
        for path, current in (("/classes", "page"), ("/class?wnid=apple", "true")):
            assert f'<a href="/review/classes" aria-current="{current}">' in rex.get(f"/review{path}").text
            assert rex.get(f"/review{path}").text.count("aria-current") == 1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        ("a rehearsal", "a rehearsal"),
        ({"reviewed": True, "problematic": False}, "reviewed: yes, problematic: no"),
        ({"reason": "blurred", "detail": ""}, "reason: blurred"),
        ({"detail": ""}, "yes"),
        ({"references": ["é"]}, '{"references": ["é"]}'),
    ],
)
def test_states_of_the_audit_log_are_words(state, words):
    assert _in_words(state) == words


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-01-01T00:30:05+01:00", "2025-12-31 23:30:05"),
        ("2026-01-01T00:30:05.123456+00:00", "2026-01-01 00:30:05"),
        ("2026-01-01T00:30:05", "2026-01-01 00:30:05"),
        ("2026-01-01", "2026-01-01 00:00:00"),
        ("some day", "some day"),
    ],
)
def test_times_are_shown_in_one_form(time, shown):
    assert _moment(time) == shown
