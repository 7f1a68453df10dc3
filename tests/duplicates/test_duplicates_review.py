"""What reviewers see, and the review threshold, by the rule of the method (section 6)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.duplicates import (
    PUBLISHED_TARGETS,
    ReviewParameters,
    near_duplicate_pairs,
    neighbors_to_review,
    review_queue,
    review_threshold,
    review_thresholds,
    reviewed_references,
    sufficiently_reviewed,
)
from retest.errors import ConfigError, InputError
from retest.records import Neighbor, NeighborReview


def near(*pairs: tuple[str, float]) -> list[Neighbor]:
    return [Neighbor(reference, distance) for reference, distance in pairs]


NEIGHBORS = near(("me", 0.0), ("twin", 0.0), ("gone", 1.0), ("seen", 2.0), ("open", 3.0), ("edge", 4.0), ("far", 4.5))
PHOTOS = {"me": ("flickr", "1"), "twin": ("flickr", "1"), "gone": ("flickr", "2"), "open": ("commons", "1")}


def shown(**options) -> list[str]:
    return [n.reference for n in neighbors_to_review("me", NEIGHBORS, threshold=4.0, **options)]


def test_a_reviewer_sees_what_is_near_and_neither_itself_nor_the_same_photo_nor_excluded_nor_reviewed():
    assert shown(reviewed={"seen"}, excluded={"gone"}, photos=PHOTOS) == ["open", "edge"]
    assert shown(reviewed={"seen"}, excluded={"gone"}) == ["twin", "open", "edge"]
    assert shown() == ["twin", "gone", "seen", "open", "edge"]


def test_only_the_first_neighbours_count_and_the_candidate_itself_is_one_of_them():
    assert shown(num_neighbors=3, photos=PHOTOS) == ["gone"]
    assert review_threshold("me", NEIGHBORS, reviewed={"gone"}, photos=PHOTOS, num_neighbors=3) == math.inf


def test_review_threshold_is_the_nearest_unreviewed_distance():
    assert review_threshold("me", NEIGHBORS, reviewed={"gone", "seen"}, photos=PHOTOS) == 3.0
    assert review_threshold("me", NEIGHBORS, reviewed={"gone", "seen", "open", "edge", "far"}, photos=PHOTOS) == math.inf
    assert review_threshold("me", None) == 0.0
    assert review_threshold("me", []) == math.inf


def test_excluded_neighbours_hold_the_threshold_back_unless_asked_otherwise():
    # The published rule hides them from reviewers but does not skip them in the threshold.
    assert review_threshold("me", NEIGHBORS, photos=PHOTOS) == 1.0
    neighbors = {"l2": NEIGHBORS}
    literal = ReviewParameters(targets={"l2": 1.5})
    lenient = ReviewParameters(targets={"l2": 1.5}, excluded_count_as_reviewed=True)
    assert review_thresholds("me", neighbors, parameters=literal, excluded={"gone"}, photos=PHOTOS) == {"l2": 1.0}
    assert review_thresholds("me", neighbors, parameters=lenient, excluded={"gone"}, photos=PHOTOS) == {"l2": 2.0}


def test_neighbours_out_of_order_are_taken_by_distance():
    backwards = NEIGHBORS[::-1]
    assert review_threshold("me", backwards, photos=PHOTOS, num_neighbors=4, reviewed={"gone"}) == 2.0


def test_a_distance_that_is_no_number_is_refused():
    with pytest.raises(InputError, match=r"me: its distance to x is not a number\. Run the neighbour search again"):
        review_threshold("me", near(("x", math.nan)))


def test_sufficiently_reviewed_is_strict_and_asks_for_every_metric():
    assert sufficiently_reviewed({"l2": 1.2000001e8, "dssim": 0.3, "fc7": 1e100}, PUBLISHED_TARGETS)
    assert not sufficiently_reviewed({"l2": 1.2e8, "dssim": 0.3, "fc7": 1e100}, PUBLISHED_TARGETS)
    assert not sufficiently_reviewed({"l2": 2e8, "dssim": 0.3}, PUBLISHED_TARGETS)
    assert not sufficiently_reviewed({}, {"any": 0.0})
    assert sufficiently_reviewed({}, {})


def test_the_queue_is_sorted_by_candidate_then_metric_and_leaves_out_what_is_done():
    parameters = ReviewParameters(targets={"l2": 4.0, "phash": 1.0})
    neighbors = {
        "b": {"phash": near(("x", 1.0), ("y", 1.1)), "l2": near(("x", 3.0))},
        "a": {"l2": near(("x", 4.0)), "phash": near(("x", 1.5))},
        "c": {"l2": near(("x", 1.0))},
    }
    queue = list(review_queue(neighbors, parameters=parameters, reviewed={"c": {"l2": {"x"}}}))
    assert [(q.candidate_id, q.metric, [n.reference for n in q.neighbors]) for q in queue] == [
        ("a", "l2", ["x"]),
        ("b", "l2", ["x"]),
        ("b", "phash", ["x"]),
    ]
    wider = list(review_queue(neighbors, parameters=parameters, thresholds={"phash": 1.1, "l2": 0.5}))
    assert [(q.candidate_id, q.metric, len(q.neighbors)) for q in wider] == [("b", "phash", 2)]


def test_reviews_are_united_whatever_their_order():
    reviews = [
        NeighborReview("a", "l2", ("x", "y"), ("y",)),
        NeighborReview("a", "l2", ("z",)),
        NeighborReview("a", "fc7", ("y",), ("y",)),
    ]
    assert reviewed_references(reviews) == {"a": {"l2": {"x", "y", "z"}, "fc7": {"y"}}}
    assert reviewed_references(reviews[::-1]) == reviewed_references(reviews)
    assert near_duplicate_pairs(reviews) == [("a", "y")]


references = st.sampled_from("pqrstuvw")


@given(
    st.lists(st.tuples(references, st.integers(0, 6)), unique_by=lambda pair: pair[0], max_size=8),
    st.sets(references),
    st.integers(0, 7),
    st.integers(1, 8),
)
def test_after_reviewing_all_that_is_shown_the_candidate_is_sufficiently_reviewed(pairs, reviewed, target, count):
    """Without excluded neighbours: showing up to the target and reviewing it all lifts the threshold above the target."""
    neighbors = near(*sorted(((r, float(d)) for r, d in pairs), key=lambda pair: pair[1]))
    item = neighbors_to_review("me", neighbors, threshold=target, reviewed=reviewed, num_neighbors=count)
    before = review_threshold("me", neighbors, reviewed=reviewed, num_neighbors=count)
    after = review_threshold("me", neighbors, reviewed=reviewed | {n.reference for n in item}, num_neighbors=count)
    assert bool(item) == (before <= target)
    assert after > target
    plain = [float(d) for r, d in sorted(pairs, key=lambda pair: pair[1])[:count] if r not in reviewed]
    assert before == min(plain, default=math.inf)


def test_review_parameters_take_any_metric_and_refuse_nonsense():
    assert ReviewParameters().targets == {"l2": 1.2e8, "dssim": 0.2205, "fc7": 1.32e4}
    assert ReviewParameters(targets={"sscd": 1}).targets == {"sscd": 1.0}
    with pytest.raises(ConfigError, match="targets: the target of l2 must be a number of at least 0, not -1"):
        ReviewParameters(targets={"l2": -1})
    with pytest.raises(ConfigError, match="targets: a metric needs a name"):
        ReviewParameters(targets={"": 1.0})
    with pytest.raises(ConfigError, match="num_neighbors: must be a whole number of at least 1, not True"):
        ReviewParameters(num_neighbors=True)
    with pytest.raises(ConfigError, match="excluded_count_as_reviewed: must be true or false, not 'no'"):
        ReviewParameters(excluded_count_as_reviewed="no")
