"""Lists for reviewers: where a page ends, and what is refused by name."""

import pytest

from retest.errors import NotFoundError, UsageError
from retest.stages import review, review_candidates, review_classes, review_people, review_revisions
from retest.stages._common import Stamp
from retest.stages._review_memo import Memo
from retest.stages.review import DecisionFilter
from retest.stages.review_candidates import CandidateFilter


def test_the_last_page_of_the_history_says_that_it_is_the_last(study):
    for day in range(1, 5):
        review_people.give_token(study, f"R{day}", review_people.Role.REVIEWER, stamp=Stamp("owner", f"2026-01-0{day}"))
    first = review.history(study, DecisionFilter(), limit=2)
    assert [one.item for one in first.decisions] == ["R4", "R3"]
    last = review.history(study, DecisionFilter(), before=first.next, limit=2)
    assert [one.item for one in last.decisions] == ["R2", "R1"]
    assert last.next is None
    assert review.history(study, DecisionFilter(), limit=1000).next is None
    assert review.history(study, DecisionFilter(user="nobody")) == review.HistoryPage((), None)


def test_a_revision_that_there_is_not_is_an_error_and_no_empty_page(complete):
    wanted = CandidateFilter(revision="none-1")
    with pytest.raises(NotFoundError, match=r"none-1: the study has no revision of this name.* Revisions: none yet: run retest sample"):
        review_candidates.list_candidates(complete, Memo(), "cat", wanted)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda study: review_classes.list_classes(study, Memo(), sort="size"), r"sort: 'size' is not known.* wnid, name, candidates"),
        (lambda study: review_classes.list_classes(study, Memo(), only="some"), r"only: 'some' is not known.* all, missing, complete"),
        (lambda study: review_classes.list_classes(study, Memo(), limit=0), r"limit: must be 1 to 1000, is 0"),
        (lambda study: review_revisions.list_classes(study, Memo(), "a", only="x"), r"only: 'x' is not known.* all, open, bad"),
        (lambda study: review_revisions.list_classes(study, Memo(), "a", part=3, parts=2), r"part: is 3 of 2\. Split"),
        (lambda study: review_revisions.list_classes(study, Memo(), "a", part=1, parts=101), r"part: is 1 of 101\. Split"),
    ],
)
def test_arguments_out_of_range_are_named(study, ask, message):
    with pytest.raises(UsageError, match=message):
        ask(study)
