"""Who may review: names that are allowed, what is said of others, tokens one after another."""

import pytest

from retest.errors import UsageError
from retest.stages import review_people
from retest.stages._common import Stamp

STAMP = Stamp("owner", "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize("name", ["Ada", "2nd reviewer", "ada_", "Ada L.", "é"])
def test_names_that_the_words_allow(study, name):
    given = review_people.give_token(study, name, review_people.Role.REVIEWER, stamp=STAMP)
    assert given.person == review_people.by_name(study, name) == review_people.by_token(study, given.token)


@pytest.mark.parametrize("name", ["", "_ada", "-ada", "ada-", "ada@", "a/b", "a" * 101])
def test_other_names_are_refused_with_what_they_are_made_of(study, name):
    with pytest.raises(UsageError, match="begin with a letter or digit, end in one, _ or"):
        review_people.give_token(study, name, review_people.Role.REVIEWER, stamp=STAMP)


def test_a_second_token_takes_the_place_of_the_first_and_keeps_since_when(study):
    first = review_people.give_token(study, "Ada", review_people.Role.REVIEWER, stamp=STAMP)
    review_people.note_seen(study, "Ada", time="2026-01-02T00:00:00+00:00")
    later = Stamp("owner", "2026-02-01T00:00:00+00:00")
    second = review_people.give_token(study, "Ada", review_people.Role.ADMIN, stamp=later)
    assert (first.replaced, second.replaced) == (False, True)
    assert (second.person.since, second.person.seen, second.person.role) == (STAMP.time, "2026-01-02T00:00:00+00:00", "admin")
    assert review_people.by_token(study, first.token) is None
    assert review_people.by_token(study, second.token) == second.person == review_people.people(study)[0]
