import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.errors import InputError
from retest.labeling import AnswerRemark, answers_per_hit, count_answers, selection_frequencies
from retest.records import Assignment, AssignmentStatus, Hit, SelectionFrequency

SUBMITTED, APPROVED, REJECTED = AssignmentStatus.SUBMITTED, AssignmentStatus.APPROVED, AssignmentStatus.REJECTED


def hit(uuid, wnid, to_label, positive=(), negative=()):
    return Hit(uuid, wnid, tuple(to_label), tuple(positive), tuple(negative), (*negative, *to_label, *positive))


def answer(name, uuid, selected, status=SUBMITTED, worker="w"):
    return Assignment(name, uuid, worker, status, tuple(selected))


def test_a_small_study_by_hand():
    hits = [hit("u1", "n01", "ab", "p", "q"), hit("u2", "n01", "bc", "p"), hit("u3", "n02", "a")]
    answers = [
        answer("1", "u1", "ap"),
        answer("2", "u1", "abp", APPROVED),
        answer("3", "u1", "abpq", REJECTED),
        answer("4", "u2", "b"),
        answer("5", "u3", ""),
    ]
    assert selection_frequencies(hits, answers) == {
        ("a", "n01"): SelectionFrequency("a", "n01", 2, 2),
        ("b", "n01"): SelectionFrequency("b", "n01", 3, 2),
        ("p", "n01"): SelectionFrequency("p", "n01", 3, 2),
        ("q", "n01"): SelectionFrequency("q", "n01", 2, 0),
        ("c", "n01"): SelectionFrequency("c", "n01", 1, 0),
        ("a", "n02"): SelectionFrequency("a", "n02", 1, 0),
    }


def test_an_unanswered_image_has_frequency_zero():
    assert selection_frequencies([hit("u1", "n01", "a")], [])["a", "n01"].value == 0.0


def test_an_excluded_hit_counts_nowhere():
    hits = [hit("u1", "n01", "ab"), hit("u2", "n01", "bc")]
    answers = [answer("1", "u1", "ab"), answer("2", "u2", "c")]
    assert selection_frequencies(hits, answers, ["u1"]) == {
        ("b", "n01"): SelectionFrequency("b", "n01", 1, 0),
        ("c", "n01"): SelectionFrequency("c", "n01", 1, 1),
    }
    counter = count_answers(hits, answers, excluded_hits=["u1"])
    assert counter.report.counts["excluded_hit"] == 1
    with pytest.raises(InputError, match="HIT u1: is unknown or excluded"):
        counter.hit_frequencies("u1")


def test_what_is_not_counted_is_reported():
    hits = [hit("u1", "n01", "ab"), hit("u2", "n02", "c")]
    answers = [
        answer("1", "u1", "ac"),
        answer("1", "u1", "ac"),
        answer("2", "u1", "aa"),
        answer("3", "elsewhere", "a"),
        answer("4", "u1", "ab", REJECTED),
    ]
    counter = count_answers(hits, answers)
    assert {item.image_id: (item.num_assignments, item.num_selected) for item in counter.frequencies()} == {
        "a": (2, 2),
        "b": (2, 0),
        "c": (0, 0),
    }
    assert counter.report.counts == {
        "counted": 2,
        "rejected": 1,
        "excluded_hit": 0,
        "unknown_hit": 1,
        "not_in_hit": 1,
        "repeated_assignment": 1,
    }
    assert counter.report.examples == (
        AnswerRemark("not_in_hit", "1", "u1", "c"),
        AnswerRemark("repeated_assignment", "1", "u1"),
        AnswerRemark("unknown_hit", "3", "elsewhere"),
    )


def test_examples_are_bounded_and_counts_are_not():
    counter = count_answers([hit("u1", "n01", "a")], (answer(str(number), "gone", "a") for number in range(250)))
    assert counter.report.counts["unknown_hit"] == 250
    assert len(counter.report.examples) == 100


def test_an_image_shown_twice_counts_once_per_assignment():
    twice = Hit("u1", "n01", ("a", "b"), ("a",), (), ("a", "b", "a"))
    assert selection_frequencies([twice], [answer("1", "u1", "a")])["a", "n01"] == SelectionFrequency("a", "n01", 1, 1)


def test_frequencies_within_a_hit_follow_the_page():
    hits = [hit("u1", "n01", "ab", "p", "q"), hit("u2", "n01", "ba")]
    counter = count_answers(hits, [answer("1", "u1", "ap"), answer("2", "u2", "b"), answer("3", "u1", "b")])
    assert [(item.image_id, item.num_assignments, item.num_selected) for item in counter.hit_frequencies("u1")] == [
        ("q", 2, 0),
        ("a", 2, 1),
        ("b", 2, 1),
        ("p", 2, 1),
    ]
    assert [(item.image_id, item.num_selected) for item in counter.hit_frequencies("u2")] == [("b", 1), ("a", 0)]


def test_the_progress_histogram_always_has_all_rows():
    hits = [hit("u1", "n01", "a"), hit("u2", "n01", "b"), hit("u3", "n01", "c")]
    answers = [answer("1", "u1", ""), answer("2", "u1", "", APPROVED), answer("3", "u1", "", REJECTED), answer("4", "u2", "b")]
    assert answers_per_hit(count_answers(hits, answers)) == {0: 1, 1: 1, 2: 1, **dict.fromkeys(range(3, 11), 0)}


def test_hits_can_be_added_after_reading_frequencies():
    counter = count_answers([hit("u1", "n01", "a")], [answer("1", "u1", "a")])
    running = counter.frequencies()
    next(running)
    counter.add_hit(hit("u2", "n01", "ab"))
    counter.add_assignment(answer("2", "u2", "b"))
    assert [(item.image_id, item.num_assignments, item.num_selected) for item in counter.frequencies()] == [("a", 2, 1), ("b", 1, 1)]


def test_a_hit_given_twice_is_refused():
    with pytest.raises(InputError, match="HIT u1: appears twice"):
        selection_frequencies([hit("u1", "n01", "a"), hit("u1", "n01", "a")], [])


IMAGES = "abcdefghij"


@st.composite
def studies(draw):
    hits = []
    for number in range(draw(st.integers(0, 5))):
        page = draw(st.lists(st.sampled_from(IMAGES), min_size=1, max_size=6, unique=True))
        cut = sorted(draw(st.tuples(st.integers(0, len(page)), st.integers(0, len(page)))))
        parts = page[: cut[0]], page[cut[0] : cut[1]], page[cut[1] :]
        hits.append(Hit(f"u{number}", draw(st.sampled_from(["n01", "n02"])), *map(tuple, parts), tuple(page)))
    answers = [
        Assignment(
            str(number),
            f"u{draw(st.integers(0, 6))}",
            draw(st.sampled_from("xyz")),
            draw(st.sampled_from(list(AssignmentStatus))),
            tuple(draw(st.lists(st.sampled_from(IMAGES), max_size=6))),
        )
        for number in range(draw(st.integers(0, 15)))
    ]
    return hits, answers, draw(st.sets(st.sampled_from(["u0", "u1", "u2"])))


@given(studies(), st.randoms(use_true_random=False))
def test_equals_the_definition_word_for_word_in_any_order(study, rng):
    hits, answers, excluded = study
    result = selection_frequencies(iter(hits), iter(rng.sample(answers, len(answers))), excluded)
    counting = [each for each in hits if each.uuid not in excluded]
    assert set(result) == {(image, each.wnid) for each in counting for image in each.images_all}
    for (image, wnid), frequency in result.items():
        valid = [
            given_answer
            for each in counting
            if each.wnid == wnid and image in each.images_all
            for given_answer in answers
            if given_answer.hit_uuid == each.uuid and given_answer.status.value in ("Submitted", "Approved")
        ]
        assert frequency.num_assignments == len(valid)
        assert frequency.num_selected == sum(image in given_answer.selected for given_answer in valid)
        assert frequency.value == (frequency.num_selected / len(valid) if valid else 0)
