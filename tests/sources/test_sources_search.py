"""Search terms, dates and limits (method, section 1 and Settled details)."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import ConfigError
from retest.records import ClassInfo
from retest.sources import SearchParameters, class_queries, class_terms
from retest.sources.search import date_bound

SHARK = ClassInfo("n01484850", 2, ("great white shark", "white shark", "man-eater"), "a shark", parent_terms=("mackerel shark", "shark"))


def test_each_synonym_is_a_term() -> None:
    assert class_terms(SHARK) == ("great white shark", "white shark", "man-eater")


def test_the_first_parent_term_is_appended_and_then_joined() -> None:
    suffixed = class_terms(SHARK, parameters=SearchParameters(parent_term=True))
    assert suffixed == ("great white shark mackerel shark", "white shark mackerel shark", "man-eater mackerel shark")
    joined = class_terms(SHARK, parameters=SearchParameters(join_compounds=True))
    assert joined == ("greatwhiteshark", "whiteshark", "man-eater")
    both = class_terms(SHARK, parameters=SearchParameters(join_compounds=True, parent_term=True))
    assert both[0] == "greatwhitesharkmackerelshark"


def test_hand_selected_terms_replace_all_terms_of_the_class_only() -> None:
    hand = {"n01484850": ["jaws", "carcharodon"], "n01440764": ["fish"]}
    assert class_terms(SHARK, hand_terms=hand) == ("jaws", "carcharodon")
    assert class_terms(ClassInfo("n01443537", 1, ("goldfish",)), hand_terms=hand) == ("goldfish",)


def test_terms_that_become_equal_are_asked_once() -> None:
    info = ClassInfo("n1", 0, ("web site", "website", "web  site"))
    assert class_terms(info) == ("web site", "website")
    assert class_terms(info, parameters=SearchParameters(join_compounds=True)) == ("website",)


def test_a_class_without_terms_or_parent_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^n1: the class has no search terms\. Give it a synset"):
        class_terms(ClassInfo("n1", 0))
    with pytest.raises(ConfigError, match=r"^n1: the class has no parent term\. "):
        class_terms(ClassInfo("n1", 0, ("a",)), parameters=SearchParameters(parent_term=True))
    with pytest.raises(ConfigError, match="no search terms"):
        class_terms(SHARK, hand_terms={SHARK.wnid: [" "]})


@pytest.mark.parametrize(("most", "each"), [(None, None), (0, 0), (2, 0), (3, 1), (200, 66), (201, 67)])
def test_the_limit_is_divided_over_the_terms_and_rounded_down(most: int | None, each: int | None) -> None:
    queries = class_queries(SHARK, source="flickr", parameters=SearchParameters(max_images=most))
    assert [query.limit for query in queries] == [each] * 3


def test_the_published_window_is_the_default() -> None:
    assert SearchParameters() == SearchParameters(
        min_date_taken="2012-07-11",
        max_date_taken="2013-07-11",
        min_date_uploaded="2012-07-11",
        max_date_uploaded="2013-07-11",
        sort="date-posted-asc",
        max_images=None,
    )


def test_queries_record_the_search_under_the_published_names() -> None:
    query = class_queries(SHARK, source="flickr", parameters=SearchParameters(max_images=30, min_date_taken=""))[0]
    assert query.parameters == {
        "max_images": 30,
        "min_taken_date": None,
        "max_taken_date": "2013-07-11",
        "min_uploaded_date": "2012-07-11",
        "max_uploaded_date": "2013-07-11",
        "search_sort": "date-posted-asc",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"max_images": 9},
        {"min_date_taken": "2012-07-12"},
        {"max_date_uploaded": ""},
        {"sort": "relevance"},
        {"licenses": ("cc0-1.0",)},
        {"safe_search": False},
        {"parent_term": True},
        {"join_compounds": True},
    ],
)
def test_any_setting_that_can_change_the_answer_changes_the_key(change: dict) -> None:
    def keys(parameters: SearchParameters) -> set[str]:
        return {query.key for query in class_queries(SHARK, source="flickr", parameters=parameters)}

    assert keys(SearchParameters()) != keys(SearchParameters(**change))
    if "join_compounds" not in change:  # which leaves "man-eater" as it is
        assert keys(SearchParameters()).isdisjoint(keys(SearchParameters(**change)))


def test_second_candidates_do_not_change_the_search() -> None:
    assert class_queries(SHARK, source="flickr", parameters=SearchParameters(second_candidates=False)) == class_queries(
        SHARK, source="flickr", parameters=SearchParameters()
    )


def test_bounds_are_inclusive_days() -> None:
    utc = datetime.UTC
    assert date_bound("2013-07-11", item="x") == datetime.datetime(2013, 7, 11, tzinfo=utc)
    assert date_bound("2013-07-11", item="x", last=True) == datetime.datetime(2013, 7, 11, 23, 59, 59, tzinfo=utc)
    assert date_bound("2013-07-11 12:00:01", item="x", last=True) == datetime.datetime(2013, 7, 11, 12, 0, 1, tzinfo=utc)
    assert date_bound("", item="x") is None


@given(st.dates())
def test_every_day_holds_exactly_its_seconds(day: datetime.date) -> None:
    first, last = date_bound(day.isoformat(), item="x"), date_bound(day.isoformat(), item="x", last=True)
    assert first is not None
    assert last is not None
    assert (last - first).total_seconds() == 86_399


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_images": -1}, "max_images: must be a whole number of at least 0, not -1. Leave it out for no limit"),
        ({"max_images": 2.5}, "max_images: must be a whole number of at least 0, not 2.5"),
        ({"sort": "newest"}, "sort: must be one of date-posted-asc, "),
        ({"safe_search": "no"}, "safe_search: must be true or false, not 'no'"),
        ({"min_date_taken": "11.07.2012"}, "min_date_taken: '11.07.2012' is not a date"),
        ({"max_date_taken": "2013-02-30"}, "max_date_taken: '2013-02-30' is not a date"),
        ({"min_date_uploaded": "20120711"}, "min_date_uploaded: '20120711' is not a date"),
        ({"min_date_uploaded": "2014-01-01"}, "min_date_uploaded: 2014-01-01 is after max_date_uploaded = 2013-07-11"),
        ({"licenses": ("CC BY",)}, "licenses: "),
    ],
)
def test_wrong_settings_are_refused_with_their_name(change: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SearchParameters(**change)
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


@pytest.mark.parametrize("last", ["2013-01-01 00:00:00", "2013-01-01"])
def test_a_window_of_one_second_is_allowed_and_none_that_ends_before_it_begins(last: str) -> None:
    assert SearchParameters(min_date_taken="2013-01-01 00:00:00", max_date_taken=last).max_date_taken == last
    with pytest.raises(ConfigError, match="is after max_date_taken"):
        SearchParameters(min_date_taken="2013-01-02 00:00:00", max_date_taken=last)
