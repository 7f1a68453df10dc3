"""Lists for reviewers: where a page ends, and what is refused by name."""

import pytest
import stage_studies as tiny

from retest.errors import NotFoundError, UsageError
from retest.records import Revision
from retest.stages import review, review_candidates, review_classes, review_people, review_revisions, revisions
from retest.stages._common import Stamp
from retest.stages._review_memo import Memo
from retest.stages.review import DecisionFilter
from retest.stages.review_candidates import CandidateFilter

STAMP = Stamp("owner", "2026-01-01T00:00:00+00:00")


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


def test_reviews_carried_over_by_command_can_be_taken_back(complete):
    images = tuple(sorted((one.id, one.wnid) for one in tiny.candidates_of(complete).values()))
    with complete.database.write() as tables:
        for name in ("a-1", "a-2"):
            tables.revisions.add(Revision(name, "sample_best", images, is_valid=True, seed=0))
    revisions.review_classes(complete, "a-1", ["cat", "dog"], reviewed=True, stamp=STAMP)
    assert revisions.carry_over(complete, "a-1", "a-2", stamp=STAMP).changed == ("cat", "dog")
    assert revisions.carry_over(complete, "a-1", "a-2", stamp=STAMP).changed == ()
    (note,) = review.history(complete, DecisionFilter(kind="carry_over")).decisions
    assert (note.item, note.after) == ("a-2", {"from": "a-1", "classes": 2})
    (dog,) = review.history(complete, DecisionFilter(item="a-2/dog")).decisions
    review.take_back(complete, [dog.no], stamp=STAMP)
    with complete.database.read() as tables:
        assert {wnid for wnid, one in tables.revisions.reviews("a-2").items() if one.reviewed} == {"cat"}


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
